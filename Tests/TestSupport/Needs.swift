// What a test takes beside the build: root, or programs that the build does not need. A test states it with
// `.needs(…)`: `scripts/test --unit` leaves it out, and a run as an ordinary user lists what it could not do. A test
// that starts a program without having stated it fails.

internal import Foundation
package import Testing

/// Something that not every machine or user has.
package struct Need: Hashable, Sendable {
    /// As it is listed for people.
    package let name: String
    /// The programs that it is, by their names on PATH.
    package let programs: [String]
    package var isRoot = false

    package init(_ name: String, _ programs: [String]? = nil) {
        self.name = name
        self.programs = programs ?? [name]
    }

    /// Mounts and network namespaces.
    package static let root = {
        var need = Need("root", ["unshare", "mount"])
        need.isRoot = true
        return need
    }()
    /// A C compiler.
    package static let cc = Need("cc")
    package static let chromium = Need("chromium")
    package static let containerd = Need("containerd", ["containerd", "ctr"])
    package static let curl = Need("curl")
    package static let docker = Need("docker", ["dockerd", "docker"])
    package static let dockerRegistry = Need("docker-registry")
    package static let gnuplot = Need("gnuplot")
    package static let haproxy = Need("haproxy")
    package static let iproute2 = Need("iproute2", ["ip"])
    package static let nginx = Need("nginx")
    package static let nodeExporter = Need("prometheus-node-exporter")
    package static let openssl = Need("openssl")
    package static let podman = Need("podman")
    package static let prometheus = Need("prometheus", ["prometheus", "promtool"])
    package static let python3 = Need("python3")
    package static let setpriv = Need("setpriv")
    package static let shellcheck = Need("shellcheck")
    package static let skopeo = Need("skopeo")
    package static let strace = Need("strace")
    package static let umoci = Need("umoci")
    package static let wrk = Need("wrk")
    package static let zstd = Need("zstd")
    /// The images of `SampleImages`: the tools that make them, and the registry that they are in.
    package static let sampleImages = Need(
        "buildah, umoci, skopeo and docker-registry",
        [
            "buildah", "umoci", "skopeo", "docker-registry",
        ])

    private var missing: [String] { programs.filter { !Self.isInstalled($0) } }

    /// Why a test that needs it is not run; nil when it is.
    fileprivate var reasonNotToRun: String? {
        if TestScope.isUnit { return name }
        // Root has everything installed by scripts/test: there what is missing is a failure of the test.
        guard geteuid() != 0 else { return nil }
        if isRoot { return name }
        return missing.isEmpty ? nil : "\(missing.joined(separator: ", ")) (not installed)"
    }

    private static func isInstalled(_ program: String) -> Bool {
        (ProcessInfo.processInfo.environment["PATH"] ?? "").split(separator: ":").contains {
            access("\($0)/\(program)", X_OK) == 0
        }
    }
}

/// Which tests are to run, as scripts/test says.
private enum TestScope {
    package static let isUnit = ProcessInfo.processInfo.environment["TESTS_UNIT_ONLY"] != nil
    private static let listing = ProcessInfo.processInfo.environment["TESTS_NOT_RUN_FILE"]

    /// Lists a test or suite that is not run. Tests are prepared side by side; a line is one write to the file's end.
    package static func list(_ test: Test, _ reason: String) {
        guard let listing else { return }
        let line = Array("\(test.sourceLocation.fileName): \(test.displayName ?? test.name): \(reason)\n".utf8)
        let descriptor = open(listing, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0o644)
        let count = write(descriptor, line, line.count)
        close(descriptor)
        if count != line.count { Issue.record("cannot write to \(listing)") }
    }
}

/// States what a test, or all tests of a suite, take.
package struct NeedsTrait: TestTrait, SuiteTrait {
    package let needs: [Need]
    package var isRecursive: Bool { true }

    package func prepare(for test: Test) async throws {
        let reasons = needs.compactMap(\.reasonNotToRun)
        guard !reasons.isEmpty else { return }
        let reason = "needs \(reasons.joined(separator: ", "))"
        TestScope.list(test, reason)
        let skip: ConditionTrait = .disabled("\(reason)")
        try await skip.prepare(for: test)
    }
}

extension Trait where Self == NeedsTrait {
    package static func needs(_ needs: Need...) -> Self { Self(needs: needs) }
}

// MARK: - Holding tests to it

extension Need {
    /// What comes with the build's own packages, or is on every Debian and Ubuntu (packages marked essential).
    private static let everywhere: Set<String> = [
        "bash", "chmod", "cmp", "diff", "env", "gzip", "perl", "script", "sh", "tar",
    ]

    /// Records an issue when the running test starts a program that it has not stated.
    package static func expectStated(program: String) {
        guard let stated = statedByTest else { return }
        let name = String(program.split(separator: "/").last ?? "")
        // Built here, made by the test, or a script of the checkout, whose programs the test has to state by itself.
        guard !program.contains("/"), !everywhere.contains(name) else { return }
        if !stated.contains(where: { $0.programs.contains(name) }) {
            Issue.record("this test starts \(name) and does not state it: .needs(…)")
        }
    }

    /// Records an issue when the running test uses `thing` without having stated this need.
    package func expectStated(by thing: String) {
        guard let stated = Need.statedByTest, !stated.contains(self) else { return }
        Issue.record("\(thing) takes \(name), which this test does not state: .needs(…)")
    }

    /// Nil outside a test's own task, where nothing is known of it.
    private static var statedByTest: Set<Need>? {
        Test.current.map { Set($0.traits.compactMap { $0 as? NeedsTrait }.flatMap(\.needs)) }
    }
}

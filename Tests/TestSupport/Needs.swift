// The requirements of tests beyond the build: root, or programs that the build does not need. A test states them with
// `.needs(…)`: `scripts/test --unit` skips it, and a run as an ordinary user lists it as not run. A test that starts a
// program without stating it fails.

internal import Foundation
package import Testing

/// A requirement that not every machine or user meets.
package struct Need: Hashable, Sendable {
    /// The name in listings.
    package let name: String
    /// The required programs, by their names on PATH.
    package let programs: [String]
    package var isRoot = false

    package init(_ name: String, _ programs: [String]? = nil) {
        self.name = name
        self.programs = programs ?? [name]
    }

    /// Root, for mounts and network namespaces.
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
    /// kubectl, and the schemas of Kubernetes.
    package static let kubernetesTools = Need("kubernetes-tools", ["kubectl", "kubernetes-validate"])
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
    package static let systemd = Need("systemd", ["systemd-analyze"])
    package static let tinyproxy = Need("tinyproxy")
    package static let umoci = Need("umoci")
    package static let wrk = Need("wrk")
    package static let zstd = Need("zstd")
    /// For the images of `SampleImages`: the tools that make them, and the registry that holds them.
    package static let sampleImages = Need(
        "buildah, umoci, skopeo and docker-registry",
        [
            "buildah", "umoci", "skopeo", "docker-registry",
        ])

    private var missing: [String] { programs.filter { !Self.isInstalled($0) } }

    /// The reason why a test with this requirement is not run; nil when it is run.
    fileprivate var reasonNotToRun: String? {
        if TestScope.isUnit { return name }
        // For root, scripts/test has installed everything, so a missing program must fail the test.
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

/// The tests to run, as set by scripts/test.
private enum TestScope {
    package static let isUnit = ProcessInfo.processInfo.environment["TESTS_UNIT_ONLY"] != nil
    private static let listing = ProcessInfo.processInfo.environment["TESTS_NOT_RUN_FILE"]

    /// Lists a test or suite that is not run. Tests are prepared concurrently, so a line is one appending write.
    package static func list(_ test: Test, _ reason: String) {
        guard let listing else { return }
        let line = Array("\(test.sourceLocation.fileName): \(test.displayName ?? test.name): \(reason)\n".utf8)
        let descriptor = open(listing, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0o644)
        let count = write(descriptor, line, line.count)
        close(descriptor)
        if count != line.count { Issue.record("cannot write to \(listing)") }
    }
}

/// States the requirements of a test, or of all tests of a suite.
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

// MARK: - Enforcing the statements

extension Need {
    /// Programs that come with the build's packages, or with every Debian and Ubuntu (packages marked essential).
    private static let everywhere: Set<String> = [
        "bash", "chmod", "cmp", "diff", "env", "gzip", "perl", "script", "sh", "tar",
    ]

    /// Records an issue when the running test starts a program that it has not stated.
    package static func expectStated(program: String) {
        guard let stated = statedByTest else { return }
        let name = String(program.split(separator: "/").last ?? "")
        // A path is a program built here, made by the test, or a script, whose own programs the test must state.
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

    /// Nil outside a test's own task, where its requirements are unknown.
    private static var statedByTest: Set<Need>? {
        Test.current.map { Set($0.traits.compactMap { $0 as? NeedsTrait }.flatMap(\.needs)) }
    }
}

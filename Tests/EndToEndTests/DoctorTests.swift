// `ociregistry doctor` with real runtimes: a machine that pulls through the server, and faults made on purpose.

import Foundation
import TestSupport
import Testing

@testable import Registry

/// One run of `doctor --json`.
private struct Diagnosis {
    private struct Report: Decodable {
        let ok: Bool
        let checks: [DiagnosticReport.Check]
    }

    let ok: Bool
    let checks: [DiagnosticReport.Check]

    init(_ arguments: [String], launcher: [String] = [], environment: [String: String] = [:]) throws {
        let result = try Command.run(
            launcher + [Checkout.server, "doctor", "--json"] + arguments, environment: environment,
            patienceSeconds: 300)
        let report = try JSONDecoder().decode(Report.self, from: Data(result.output))
        (ok, checks) = (report.ok, report.checks)
        #expect(result.status == (ok ? 0 : 1), "\(result)")
    }

    func failed(_ name: String) -> [String] { checks.filter { $0.name == name && $0.state == .failed }.map(\.text) }
    func warnings(_ name: String) -> [String] { checks.filter { $0.name == name && $0.state == .warning }.map(\.text) }
    func good(_ name: String) -> [String] { checks.filter { $0.name == name && $0.state == .ok }.map(\.text) }
}

extension DiagnosticReport.Check {
    fileprivate var text: String { "\(subject): \(message) → \(remedy)" }
}

@Suite(.needs(.root)) struct DoctorTests {
    /// - Parameter mirror: `http://…` or `https://…`.
    private func examine(
        _ mirror: String, _ node: NodeDirectory, _ containerd: CRIContainerd?, _ more: String...
    ) throws -> Diagnosis {
        var arguments = ["--mirror", mirror, "--root", node.files.path, "--runtime", "containerd"] + more
        if let containerd { arguments += ["--socket", containerd.socket] }
        return try Diagnosis(arguments)
    }

    @Test(
        "a containerd that pulls through the server is in order, and its faults are named",
        .needs(.containerd, .curl, .sampleImages))
    func containerd() throws {
        let scene = try MirrorScene()
        let mirror = "http://\(scene.server.address)"
        let node = try NodeDirectory()
        let containerd = try CRIContainerd(node, ["--mirror", mirror])
        let whole = try examine(mirror, node, containerd)
        #expect(whole.ok, "\(whole.checks.map(\.text))")
        #expect(whole.good("canary").contains { $0.contains("pulls through this mirror: HEAD with ns=127.0.0.1:") })
        #expect(whole.good("upstream").contains { $0.hasPrefix("docker.io: answers in ") })
        #expect(whole.warnings("canary").contains { $0.contains("asks the registry itself") })
        // With the mirror as the only host, a refusal is final.
        let hosts = node.files.file("etc/containerd/certs.d/_default/hosts.toml")
        let text = try String(contentsOfFile: hosts, encoding: .utf8)
        try node.files.write("server = \"\(mirror)\"\n" + text, to: "etc/containerd/certs.d/_default/hosts.toml")
        let bound = try examine(mirror, node, containerd)
        #expect(bound.ok && bound.warnings("canary").isEmpty, "\(bound.checks.map(\.text))")
        // A wrong port.
        try node.files.write(
            text.replacingOccurrences(of: mirror, with: "http://127.0.0.1:9"),
            to: "etc/containerd/certs.d/_default/hosts.toml")
        let wrong = try examine(mirror, node, containerd)
        #expect(wrong.failed("configuration").contains { $0.contains("names http://127.0.0.1:9, and not \(mirror)") })
        #expect(wrong.failed("canary").contains { $0.contains("asked the registry itself, and not this mirror") })
        // The mirror is stopped.
        try node.files.write(text, to: "etc/containerd/certs.d/_default/hosts.toml")
        scene.server.process.stop()
        let stopped = try examine(mirror, node, containerd)
        #expect(stopped.failed("server").contains { $0.contains("nothing listens there") })
        #expect(stopped.warnings("canary").contains { $0.contains("not tried") })
    }

    @Test("a containerd whose configuration has no config_path is named", .needs(.containerd, .curl)) func noPath()
        throws
    {
        let server = try OciRegistryProcess(settings: "airGapped: true\n")
        let mirror = "http://\(server.address)"
        let node = try NodeDirectory()
        let containerd = try CRIContainerd(node, ["--mirror", mirror, "--hosts-only"])
        let found = try examine(mirror, node, containerd)
        #expect(found.failed("configuration").contains { $0.contains("config_path") }, "\(found.checks.map(\.text))")
        #expect(found.failed("canary").contains { $0.contains("asked the registry itself") })
    }

    @Test("an unknown certificate authority is named", .needs(.containerd, .curl, .nginx, .openssl)) func authority()
        throws
    {
        let server = try OciRegistryProcess(settings: "airGapped: true\n")
        let front = try TLSFront(to: server.address)
        let mirror = "https://\(front.address)"
        let node = try NodeDirectory()
        let containerd = try CRIContainerd(node, ["--mirror", mirror, "--ca", front.authority])
        let whole = try examine(mirror, node, containerd, "--ca", front.authority)
        #expect(whole.ok, "\(whole.checks.map(\.text))")
        let unknown = try examine(mirror, node, containerd)
        #expect(unknown.failed("server").contains { $0.contains("certificate is not trusted") && $0.contains("--ca") })
        // The runtime lacks it.
        try node.files.write(
            "[host.\"\(mirror)\"]\ncapabilities = [\"pull\", \"resolve\"]\n",
            to: "etc/containerd/certs.d/_default/hosts.toml")
        let lacking = try examine(mirror, node, containerd, "--ca", front.authority)
        #expect(lacking.failed("canary").count == 1, "\(lacking.checks.map(\.text))")
        let plain = try examine("http://\(front.address)", node, nil, "--no-canary")
        #expect(plain.failed("server").count == 1)
    }

    @Test("a full disk and an upstream that cannot be reached are named") func serverFaults() throws {
        let disk = try SmallDisk(sizeBytes: 4 << 20)
        let server = try OciRegistryProcess(upstreams: ["registry.test": "127.0.0.1:9"], imagePath: disk.path)
        let fill = FileManager.default.createFile(atPath: "\(disk.path)/fill", contents: nil)
        #expect(fill)
        let handle = try FileHandle(forWritingTo: URL(filePath: "\(disk.path)/fill"))
        // Until nothing more fits.
        while (try? handle.write(contentsOf: Data(count: 64 * 1024))) != nil {}
        let node = try NodeDirectory()
        let found = try examine("http://\(server.address)", node, nil, "--no-canary")
        #expect(found.failed("store").contains { $0.contains("no room") }, "\(found.checks.map(\.text))")
        #expect(
            found.failed("upstream").contains { $0.hasPrefix("registry.test: ") && $0.contains("cannot be reached") })
        #expect(found.failed("configuration").contains { $0.contains("ociregistry setup containerd --mirror") })
    }

    @Test("a server with diagnostics off gives no report, and no canary") func off() throws {
        let server = try OciRegistryProcess(settings: "airGapped: true\ndiagnostics: false\n")
        let found = try Diagnosis(["--mirror", "http://\(server.address)", "--runtime", "containerd", "--no-canary"])
        #expect(found.warnings("server").contains { $0.contains("diagnostics: false") })
    }

    @Test(
        "dockerd pulls the canary, and a server without a default namespace is named",
        .needs(.docker, .containerd, .sampleImages))
    func docker() throws {
        for hasDefault in [true, false] {
            let scene = try MirrorScene(arguments: hasDefault ? ["--default-ns", "docker.io"] : [])
            let mirror = "http://\(scene.server.address)"
            let node = try NodeDirectory()
            try node.setUp("docker", "--mirror", mirror)
            let docker = try Docker(configuration: node.files.file("etc/docker/daemon.json"))
            let found = try Diagnosis([
                "--mirror", mirror, "--root", node.files.path, "--runtime", "docker", "--socket", docker.socketPath,
            ])
            #expect(found.ok == hasDefault, "\(found.checks.map(\.text))")
            if hasDefault {
                #expect(found.good("canary").contains { $0.contains("the default namespace docker.io") })
            } else {
                #expect(found.failed("canary").contains { $0.contains("defaultNamespace: docker.io") })
            }
        }
    }

    @Test("podman pulls the canary", .needs(.podman, .sampleImages)) func podman() throws {
        let scene = try MirrorScene()
        let mirror = "http://\(scene.server.address)"
        let node = try NodeDirectory()
        try node.files.write("unqualified-search-registries = []\n", to: "etc/containers/registries.conf")
        try node.files.write(#"{"default":[{"type":"insecureAcceptAnything"}]}"#, to: "etc/containers/policy.json")
        try node.setUp("podman", "--mirror", mirror)
        let podman = try Podman(launcher: node.seeing("containers"))
        let found = try Diagnosis(
            ["--mirror", mirror, "--root", node.files.path, "--runtime", "podman"],
            launcher: node.seeing("containers"), environment: podman.environment.merging(try podman.storage) { $1 })
        #expect(found.ok, "\(found.checks.map(\.text))")
        #expect(found.good("canary").contains { $0.contains("with /v2/docker.io/") })
    }
}

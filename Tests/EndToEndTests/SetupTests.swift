// `ociregistry setup`: real runtimes read what it has written, and pull through the server by the registry's own names.

import Foundation
import TestSupport
import Testing

@testable import OCI

/// A node's `etc` in a directory, which a runtime sees in place of this machine's.
struct NodeDirectory {
    let files: TemporaryDirectory

    init() throws { files = try TemporaryDirectory() }

    /// Runs `setup` and returns what it prints.
    @discardableResult
    func setUp(_ arguments: String...) throws -> String {
        let output = try Command.check([Checkout.server, "setup"] + arguments + ["--root", files.path])
        return String(decoding: output, as: UTF8.self)
    }

    /// The start of a command line that sees a directory below `/etc` as it is here.
    func seeing(_ directory: String) throws -> [String] {
        [
            "unshare", "--mount", "sh", "-ec", "mount --bind \"$1\" \"$2\"; shift 2; exec \"$@\"", "sh",
            try files.directory("etc/\(directory)"), "/etc/\(directory)",
        ]
    }

    /// The arguments for a mirror, with TLS by nginx in front of it or without.
    func mirrorArguments(_ address: String, _ front: TLSFront?) -> [String] {
        guard let front else { return ["--mirror", "http://\(address)"] }
        return ["--mirror", "https://\(front.address)", "--ca", front.authority]
    }
}

/// nginx with a certificate of an authority that no machine knows.
struct TLSFront {
    let proxy: ReverseProxy
    private let certificates: TestCertificates

    var address: String { proxy.address }
    var authority: String { certificates.file("ca.pem") }

    init(to address: String) throws {
        let certificates = try TestCertificates()
        self.certificates = certificates
        proxy = try ReverseProxy.nginx { listen in
            """
            server {
                listen \(listen) ssl;
                ssl_certificate \(certificates.file("server.pem"));
                ssl_certificate_key \(certificates.file("server.key"));
                location / { proxy_pass http://\(address); proxy_set_header Host $host; }
            }
            """
        }
    }
}

/// A containerd with its CRI plugin, as the kubelet uses it.
final class CRIContainerd {
    let socket: String
    private let process: ChildProcess
    private let state: TemporaryDirectory

    /// - Parameter node: gets the configuration before `setup` runs.
    init(_ node: NodeDirectory, _ arguments: [String]) throws {
        state = try TemporaryDirectory()
        socket = state.file("containerd.sock")
        let off = ["btrfs", "zfs", "devmapper"].map { "\"io.containerd.snapshotter.v1.\($0)\"" }
        try node.files.write(
            """
            version = 2
            root = "\(state.file("root"))"
            state = "\(state.file("state"))"
            disabled_plugins = [\(off.joined(separator: ", "))]
            [grpc]
            address = "\(socket)"
            [ttrpc]
            address = "\(state.file("ttrpc.sock"))"
            [plugins."io.containerd.grpc.v1.cri"]
            enable_selinux = false
            [plugins."io.containerd.grpc.v1.cri".containerd]
            snapshotter = "native"
            """, to: "etc/containerd/config.toml")
        try Command.check([Checkout.server, "setup", "containerd", "--root", node.files.path] + arguments)
        process = try ChildProcess(try node.seeing("containerd") + ["containerd"])
        _ = try process.line(containing: "containerd successfully booted", in: process.errors)
    }

    deinit { process.stop() }

    /// What the kubelet sends: PullImageRequest { image: ImageSpec { image } } of runtime.v1, as gRPC by curl.
    func pull(_ image: String) throws {
        func field(_ bytes: [UInt8]) -> [UInt8] { [0x0A, UInt8(clamping: bytes.count)] + bytes }
        let message = field(field(Array(image.utf8)))
        let request = try state.write([0, 0, 0, 0, UInt8(clamping: message.count)] + message, to: "request")
        let headers = state.file("headers")
        try Command.check([
            "curl", "--silent", "--show-error", "--max-time", "60", "--http2-prior-knowledge", "--unix-socket", socket,
            "--header", "content-type: application/grpc", "--header", "te: trailers", "--data-binary", "@\(request)",
            "--dump-header", headers, "--output", state.file("body"),
            "http://localhost/runtime.v1.ImageService/PullImage",
        ])
        let answer = try String(contentsOfFile: headers, encoding: .utf8)
        #expect(answer.contains("grpc-status: 0"), "\(answer)")
    }
}

@Suite(.needs(.root, .sampleImages)) struct SetupTests {
    @Test(
        "the CRI plugin of containerd pulls through the mirror that setup has written",
        .needs(.containerd, .curl, .nginx, .openssl), arguments: [false, true])
    func containerd(_ isTLS: Bool) throws {
        let scene = try MirrorScene()
        let node = try NodeDirectory()
        let front = try isTLS ? TLSFront(to: scene.server.address) : nil
        let containerd = try CRIContainerd(node, node.mirrorArguments(scene.server.address, front))
        try containerd.pull("docker.io/\(SampleImage.multi)")
        #expect(scene.server.process.errors.text.contains("ns=docker.io"))
        try node.setUp("containerd", "--remove")
        #expect(!FileManager.default.fileExists(atPath: node.files.file("etc/containerd/certs.d/_default")))
    }

    @Test(
        "podman pulls through the mirrors that setup has written", .needs(.podman, .nginx, .openssl),
        arguments: [false, true])
    func podman(_ isTLS: Bool) throws {
        let scene = try MirrorScene()
        let node = try NodeDirectory()
        let front = try isTLS ? TLSFront(to: scene.server.address) : nil
        try node.files.write("unqualified-search-registries = []\n", to: "etc/containers/registries.conf")
        try node.files.write(
            #"{"default":[{"type":"insecureAcceptAnything"}]}"#, to: "etc/containers/policy.json")
        try Command.check(
            [Checkout.server, "setup", "podman", "--root", node.files.path]
                + node.mirrorArguments(scene.server.address, front))
        let podman = try Podman(launcher: node.seeing("containers"))
        try podman("pull", "--quiet", "docker.io/\(SampleImage.multi)")
        #expect(scene.server.process.errors.text.contains("/v2/docker.io/\(SampleImage.multi.repository)/manifests"))
    }

    @Test("dockerd pulls Docker Hub's images with the daemon.json that setup has written", .needs(.docker, .containerd))
    func docker() throws {
        let scene = try MirrorScene(arguments: ["--default-ns", "docker.io"])
        let node = try NodeDirectory()
        try node.files.write("{\n  \"debug\": false\n}\n", to: "etc/docker/daemon.json")
        let printed = try node.setUp("docker", "--mirror", "http://\(scene.server.address)")
        #expect(printed.contains("+  \"registry-mirrors\": [\"http://\(scene.server.address)\"],\n"))
        #expect(printed.hasSuffix("To use it: systemctl reload docker\n"))
        let docker = try Docker(configuration: node.files.file("etc/docker/daemon.json"))
        #expect(try docker("pull", "\(SampleImage.multi)").contains("Downloaded newer image"))
    }
}

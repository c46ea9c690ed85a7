// The hooks of the node overlay, run by the real program on a directory in place of the node's.

import Foundation
import TestSupport
import Testing

@testable import Configuration

@Suite(.needs(.kubernetesTools)) struct HookTests {
    private static let configuration = """
        version = 3
        [plugins."io.containerd.cri.v1.images".registry]
        config_path = "/etc/containerd/certs.d"

        """

    @Test(
        "the hooks add and remove the mirror of containerd, and change nothing else",
        arguments: [Manifests.node, .nodeWithHostsOnly])
    func hooks(manifests: Manifests) throws {
        let rendered = try manifests.render()
        let node = try TemporaryDirectory()
        try node.write(Self.configuration, to: "etc/containerd/config.toml")
        try node.directory("etc/containerd/certs.d")
        func run(_ arguments: some Sequence<String>) throws {
            try Command.check([Checkout.server] + arguments.map { $0 == "/host" ? node.path : $0 })
        }
        func hosts() -> String? {
            try? String(contentsOfFile: node.file("etc/containerd/certs.d/_default/hosts.toml"), encoding: .utf8)
        }
        let setup = try rendered.pod.named("setup", in: "initContainers").texts("args")
        let hooks = try #require(try rendered.server["lifecycle"])
        let start = try #require(hooks.at("postStart", "exec")).texts("command")
        let stop = try #require(hooks.at("preStop", "exec")).texts("command")
        try run(setup)
        let written = try #require(hosts())
        #expect(written.contains("[host.\"http://127.0.0.1:5050\"]"))
        // A restart of the server, then the end of the pod.
        try run(stop.dropFirst())
        #expect(hosts() == nil)
        try run(start.dropFirst())
        try run(start.dropFirst())
        #expect(hosts() == written)
        try run(stop.dropFirst())
        let left = try FileManager.default.subpathsOfDirectory(atPath: node.path).filter { !$0.hasSuffix("certs.d") }
        #expect(left.sorted() == ["etc", "etc/containerd", "etc/containerd/config.toml"])
        let file = node.file("etc/containerd/config.toml")
        #expect(try String(contentsOfFile: file, encoding: .utf8) == Self.configuration)
    }
}

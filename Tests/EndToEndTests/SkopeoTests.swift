// skopeo, which goes through containers/image as podman and CRI-O do, and can copy every platform's image byte for
// byte.

import Foundation
import TestSupport
import Testing

@Suite(.needs(.sampleImages)) struct SkopeoTests {
    private static func copy(_ source: String, to directory: String) throws {
        try Command.check([
            "skopeo", "--insecure-policy", "copy", "--quiet", "--all", "--src-tls-verify=false", "docker://\(source)",
            "dir:\(directory)",
        ])
    }

    private static func raw(_ source: String) throws -> [UInt8] {
        try Command.check(["skopeo", "inspect", "--raw", "--tls-verify=false", "docker://\(source)"])
    }

    @Test("skopeo copies an image byte for byte cold, warm and with the upstream gone", arguments: SampleImage.all)
    func copies(_ image: SampleImage) throws {
        let scene = try MirrorScene()
        let files = try TemporaryDirectory()
        let direct = files.file("direct")
        try Self.copy("\(scene.upstream.address)/\(image)", to: direct)
        let manifest = try Self.raw("\(scene.upstream.address)/\(image)")
        // The upstream's own log has those two in it: a second upstream keeps the counts clean.
        try scene.upstream.stop()
        let measured = try MirrorScene()
        try measured.pullThrice { stage in
            let name = "\(measured.server.address)/docker.io/\(image)"
            try Self.copy(name, to: files.file(stage.rawValue))
            try Command.check(["diff", "-r", direct, files.file(stage.rawValue)])
            #expect(try Self.raw(name) == manifest)
        }
    }

    /// Docker Hub's other names, and a one-segment name, are the same repository.
    @Test("all names of a Docker Hub repository share one upstream request") func dockerHubNames() throws {
        let scene = try MirrorScene(arguments: ["--default-ns", "docker.io"])
        let expected = try Self.raw("\(scene.server.address)/docker.io/library/multi:1.0")
        for name in ["docker.io/multi:1.0", "index.docker.io/library/multi:1.0", "library/multi:1.0", "multi:1.0"] {
            #expect(try Self.raw("\(scene.server.address)/\(name)") == expected, "\(name)")
        }
        let asked = try scene.upstream.stop().filter { $0.contains("/manifests/") && $0.hasPrefix("GET ") }
        #expect(asked == ["GET /v2/library/multi/manifests/1.0?ns=docker.io"])
    }

    @Test("skopeo reports an unknown image as unknown") func unknownImage() throws {
        let scene = try MirrorScene()
        let result = try Command.run([
            "skopeo", "inspect", "--raw", "--tls-verify=false",
            "docker://\(scene.server.address)/docker.io/library/none:1",
        ])
        #expect(result.status != 0)
        #expect(result.errors.contains("manifest unknown") || result.errors.contains("name unknown"), "\(result)")
    }

    @Test("the built-in hello-world is copied and runs without an upstream") func helloWorld() throws {
        let server = try OciRegistryProcess(arguments: ["--hello-world", "--air-gapped"])
        let files = try TemporaryDirectory()
        let name = "\(server.address)/docker.io/library/hello-world:latest"
        try Self.copy(name, to: files.file("hello"))
        let layout = files.file("layout")
        try Command.check([
            "skopeo", "--insecure-policy", "copy", "--quiet", "--src-tls-verify=false", "docker://\(name)",
            "oci:\(layout):latest",
        ])
        try Command.check(["umoci", "unpack", "--rootless", "--image", "\(layout):latest", files.file("bundle")])
        let greeting = String(decoding: try Command.check([files.file("bundle/rootfs/hello")]), as: UTF8.self)
        #expect(greeting.hasPrefix("Hello! "))
        #expect(try server.stop() == 0)
    }
}

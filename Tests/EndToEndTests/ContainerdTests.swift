// containerd, as a node of a cluster has it: a hosts.toml, and `ns=docker.io` on every request.

import Foundation
import TestSupport
import Testing

@Suite(.needs(.root, .containerd, .sampleImages)) struct ContainerdTests {
    @Test("containerd pulls an image through a hosts.toml mirror", arguments: SampleImage.all)
    func pulls(_ image: SampleImage) throws {
        let scene = try MirrorScene()
        try scene.pullThrice { _ in
            let containerd = try Containerd()
            let hosts = try containerd.mirror(through: scene.server.address)
            try containerd.ctr(
                "images", "pull", "--hosts-dir", hosts, "--snapshotter", "native", "docker.io/\(image)")
            #expect(try containerd.ctr("images", "list", "--quiet").contains("docker.io/\(image)"))
        }
        #expect(scene.server.process.errors.text.contains("ns=docker.io"))
    }

    @Test("containerd pulls all platforms of an index through the mirror") func allPlatforms() throws {
        let scene = try MirrorScene()
        try scene.pullThrice { _ in
            let containerd = try Containerd()
            let hosts = try containerd.mirror(through: scene.server.address)
            try containerd.ctr(
                "images", "pull", "--all-platforms", "--hosts-dir", hosts, "--snapshotter", "native",
                "docker.io/\(SampleImage.multi)")
        }
    }

    /// ctr reads the manifests and configs of all platforms, and the layers of one.
    @Test("a pull of one platform brings no layer of another", .needs(.skopeo))
    func onePlatform() throws {
        let scene = try MirrorScene()
        let containerd = try Containerd()
        let hosts = try containerd.mirror(through: scene.server.address)
        try containerd.ctr(
            "images", "pull", "--platform", "linux/amd64", "--hosts-dir", hosts, "--snapshotter", "native",
            "docker.io/\(SampleImage.multi)")
        let layers = try Self.layers(of: SampleImage.multi, in: scene.upstream.address)
        #expect(try scene.server.stop() == 0)
        let asked = try scene.upstream.stop().filter { $0.hasPrefix("GET ") && $0.contains("/blobs/") }
        let own = try #require(layers["amd64"])
        #expect(layers.count > 2 && own.allSatisfy { layer in asked.contains { $0.contains(layer) } })
        let others = Set(layers.values.joined()).subtracting(own)
        #expect(!others.isEmpty && others.allSatisfy { layer in !asked.contains { $0.contains(layer) } })
    }

    /// The digests of an index's layers, by architecture.
    private static func layers(of image: SampleImage, in registry: String) throws -> [String: [String]] {
        struct Entry: Decodable {
            struct Platform: Decodable { let architecture: String }
            let digest: String
            let platform: Platform?
        }
        struct Document: Decodable {
            let manifests: [Entry]?
            let layers: [Entry]?
        }
        func read(_ reference: String) throws -> Document {
            let raw = try Command.check(
                ["skopeo", "inspect", "--raw", "--tls-verify=false", "docker://\(registry)/\(reference)"])
            return try JSONDecoder().decode(Document.self, from: Data(raw))
        }
        var found: [String: [String]] = [:]
        for entry in try read("\(image)").manifests ?? [] {
            let manifest = try read("\(image.repository)@\(entry.digest)")
            found[entry.platform?.architecture ?? ""] = (manifest.layers ?? []).map(\.digest)
        }
        return found
    }
}

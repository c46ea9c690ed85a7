// A mirror behind a mirror: the second one takes its own default registry unless the request names one.

import Foundation
import TestSupport
import Testing

@Suite(.needs(.sampleImages)) struct MirrorChainTests {
    private static let image = SampleImage.multi

    private static func raw(_ address: String, _ name: String) throws -> [UInt8] {
        try Command.check(["skopeo", "inspect", "--raw", "--tls-verify=false", "docker://\(address)/\(name)"])
    }

    /// Docker Hub, a registry that has another image under the same name, and a mirror whose default is that registry.
    private struct Parent {
        let files: TemporaryDirectory
        let hub: DockerRegistry
        let other: DockerRegistry
        let mirror: OciRegistryProcess

        init() throws {
            files = try TemporaryDirectory()
            hub = try DockerRegistry(storing: SampleImages.storage())
            other = try DockerRegistry(storing: files.directory("other"))
            try Command.check([
                "skopeo", "--insecure-policy", "copy", "--quiet", "--all", "--src-tls-verify=false",
                "--dest-tls-verify=false", "docker://\(hub.address)/\(SampleImage.classic)",
                "docker://\(other.address)/\(image)",
            ])
            mirror = try OciRegistryProcess(
                upstreams: ["docker.io": hub.address, "registry.example": other.address],
                arguments: ["--default-ns", "registry.example"])
        }
    }

    @Test("a mirror behind a mirror with another default registry serves the right image")
    func rightImage() throws {
        let parent = try Parent()
        let right = try Self.raw(parent.hub.address, "\(Self.image)")
        let wrong = try Self.raw(parent.other.address, "\(Self.image)")
        #expect(right != wrong)

        let child = try OciRegistryProcess(
            upstreams: ["docker.io": parent.mirror.address, "registry.example": parent.mirror.address])
        #expect(try Self.raw(child.address, "docker.io/\(Self.image)") == right)
        #expect(try Self.raw(child.address, "registry.example/\(Self.image)") == wrong)
        let directory = parent.files.file("copied")
        try Command.check([
            "skopeo", "--insecure-policy", "copy", "--quiet", "--all", "--src-tls-verify=false",
            "docker://\(child.address)/docker.io/\(Self.image)", "dir:\(directory)",
        ])
        let tags = try Command.check([
            "skopeo", "list-tags", "--tls-verify=false", "docker://\(child.address)/docker.io/\(Self.image.repository)",
        ])
        #expect(String(decoding: tags, as: UTF8.self).contains("\"\(Self.image.tag)\""))
        // Everything came from the right one: the other registry was asked for its own image only.
        child.process.stop()
        parent.mirror.process.stop()
        let asked = try parent.other.stop().filter { $0.contains("/blobs/sha256") && $0.hasPrefix("GET") }
        let held = try parent.hub.stop().filter { $0.contains("/blobs/sha256") && $0.hasPrefix("GET") }
        #expect(asked.allSatisfy { !held.contains($0) } && !held.isEmpty)
    }

    @Test("sendNamespace: false leaves the choice to the server at the endpoint")
    func switchedOff() throws {
        let parent = try Parent()
        let child = try OciRegistryProcess(
            upstreams: ["docker.io": parent.mirror.address], upstreamSettings: "sendNamespace: false")
        #expect(
            try Self.raw(child.address, "docker.io/\(Self.image)") == Self.raw(parent.other.address, "\(Self.image)"))
        #expect(try child.stop() == 0)
        #expect(try parent.mirror.stop() == 0)
    }
}

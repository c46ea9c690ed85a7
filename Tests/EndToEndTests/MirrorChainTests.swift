// A mirror behind a mirror: the second one takes its own default registry unless the request names one.

import Foundation
import TestSupport
import Testing

@Suite(.needs(.sampleImages)) struct MirrorChainTests {
    private static let image = SampleImage.multi

    private static func raw(_ address: String, _ name: String) throws -> [UInt8] {
        try Command.check(["skopeo", "inspect", "--raw", "--tls-verify=false", "docker://\(address)/\(name)"])
    }

    /// A registry that has another image under the same name.
    private static func otherRegistry(_ source: String, in files: TemporaryDirectory) throws -> DockerRegistry {
        let registry = try DockerRegistry(storing: files.directory("other"))
        try Command.check([
            "skopeo", "--insecure-policy", "copy", "--quiet", "--all", "--src-tls-verify=false",
            "--dest-tls-verify=false", "docker://\(source)/\(SampleImage.classic)",
            "docker://\(registry.address)/\(image)",
        ])
        return registry
    }

    @Test("a mirror behind a mirror with another default registry serves the right image")
    func rightImage() throws {
        let files = try TemporaryDirectory()
        let hub = try DockerRegistry(storing: SampleImages.storage())
        let other = try Self.otherRegistry(hub.address, in: files)
        let parent = try OciRegistryProcess(
            upstreams: ["docker.io": hub.address, "registry.example": other.address],
            arguments: ["--default-ns", "registry.example"])
        let right = try Self.raw(hub.address, "\(Self.image)")
        let wrong = try Self.raw(other.address, "\(Self.image)")
        #expect(right != wrong)

        let child = try OciRegistryProcess(
            upstreams: ["docker.io": parent.address, "registry.example": parent.address])
        #expect(try Self.raw(child.address, "docker.io/\(Self.image)") == right)
        #expect(try Self.raw(child.address, "registry.example/\(Self.image)") == wrong)
        let directory = files.file("copied")
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
        parent.process.stop()
        let asked = try other.stop().filter { $0.contains("/blobs/sha256") && $0.hasPrefix("GET") }
        let held = try hub.stop().filter { $0.contains("/blobs/sha256") && $0.hasPrefix("GET") }
        #expect(asked.allSatisfy { !held.contains($0) } && !held.isEmpty)
    }

    @Test("sendNamespace: false leaves the choice to the server at the endpoint")
    func switchedOff() throws {
        let files = try TemporaryDirectory()
        let hub = try DockerRegistry(storing: SampleImages.storage())
        let other = try Self.otherRegistry(hub.address, in: files)
        let parent = try OciRegistryProcess(
            upstreams: ["docker.io": hub.address, "registry.example": other.address],
            arguments: ["--default-ns", "registry.example"])
        let child = try OciRegistryProcess(
            upstreams: ["docker.io": parent.address], upstreamSettings: "sendNamespace: false")
        #expect(try Self.raw(child.address, "docker.io/\(Self.image)") == Self.raw(other.address, "\(Self.image)"))
        #expect(try child.stop() == 0)
        #expect(try parent.stop() == 0)
    }
}

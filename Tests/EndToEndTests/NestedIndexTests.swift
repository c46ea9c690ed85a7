// An index whose entries are indexes themselves, each of an image and its attestation: what image builders write when
// attestations are on. Pulling, loading one platform, listing, exporting, pruning and an air gap see through it.

import Foundation
import TestSupport
import Testing

@testable import OCI
@testable import Registry

@Suite(.needs(.curl, .skopeo)) struct NestedIndexTests {
    private static let attestation = FakeImage(layerBytes: [300], seed: 110)
    private static let images = ["amd64": FakeImage(seed: 111), "arm64": FakeImage(seed: 112)]
    private static let name = "registry.test/team/app:v1"

    private static func entry(_ type: MediaType, _ bytes: [UInt8], _ os: String, _ architecture: String) -> String {
        let platform = "\"platform\":{\"os\":\"\(os)\",\"architecture\":\"\(architecture)\"}"
        return String(FakeImage.descriptor(type.text, bytes).dropLast()) + ",\(platform)}"
    }

    private static func index(_ entries: [String]) -> [UInt8] {
        Array(
            ("{\"schemaVersion\":2,\"mediaType\":\"\(MediaType.ociIndex.text)\",\"manifests\":["
                + entries.joined(separator: ",") + "]}").utf8)
    }

    private static func nested(_ architecture: String) -> [UInt8] {
        index([
            entry(.ociManifest, images[architecture]?.manifest ?? [], "linux", architecture),
            entry(.ociManifest, attestation.manifest, "unknown", "unknown"),
        ])
    }

    private static let top = index(["amd64", "arm64"].map { entry(.ociIndex, nested($0), "linux", $0) })

    private static func site() throws -> ScriptedSite {
        var answers: [String: [ScriptedSite.Answer]] = [:]
        func add(_ manifest: [UInt8], _ type: MediaType, _ tag: String? = nil) {
            let fields = [("Content-Type", type.text), ("Docker-Content-Digest", "\(digestOf(manifest))")]
            for reference in ["\(digestOf(manifest))", tag].compactMap({ $0 }) {
                answers["/v2/team/app/manifests/\(reference)"] = [.init(fields: fields, body: manifest)]
            }
        }
        add(top, .ociIndex, "v1")
        for (architecture, image) in images {
            add(nested(architecture), .ociIndex)
            add(image.manifest, .ociManifest)
        }
        add(attestation.manifest, .ociManifest)
        for blob in (images.values + [attestation]).flatMap(\.blobs) {
            answers["/v2/team/app/blobs/\(digestOf(blob))"] = [.init(body: blob)]
        }
        return try ScriptedSite(answers)
    }

    private func get(_ server: OciRegistryProcess, _ path: String) throws -> [UInt8] {
        try Command.check(["curl", "-sSf", "http://\(server.address)/v2/registry.test/team/app/\(path)"])
    }

    private func walk(_ server: OciRegistryProcess, _ architecture: String) throws {
        #expect(try get(server, "manifests/v1") == Self.top)
        let nested = Self.nested(architecture)
        #expect(try get(server, "manifests/\(digestOf(nested))") == nested)
        let image = try #require(Self.images[architecture])
        #expect(try get(server, "manifests/\(image.digest)") == image.manifest)
        for blob in image.blobs { #expect(try get(server, "blobs/\(digestOf(blob))") == blob) }
    }

    @Test("each platform and the attestation are pulled through nested indexes")
    func pulledThrough() throws {
        let site = try Self.site()
        let server = try OciRegistryProcess(upstreams: ["registry.test": site.address])
        for architecture in ["amd64", "arm64"] { try walk(server, architecture) }
        #expect(try get(server, "manifests/\(Self.attestation.digest)") == Self.attestation.manifest)
        #expect(try server.stop() == 0)
    }

    @Test("one platform of nested indexes is loaded, listed, exported, pruned and served offline")
    func onePlatform() throws {
        let site = try Self.site()
        let files = try TemporaryDirectory()
        let cache = try CacheDirectory()
        let list = try files.write("\(Self.name)\n", to: "list")
        try cache.check(
            "load", "--image-file", list, "--os", "linux", "--arch", "amd64",
            upstreams: ["registry.test": site.address])
        let types = try cache.check("list").split(separator: "\n").map { $0.split(separator: " ")[2] }
        #expect(types.sorted() == ["image", "list", "list"], "the index, the nested one and its image")
        #expect(cache.contentFiles(of: "blobs").count == 3)

        let server = try cache.serveAirGapped()
        try walk(server, "amd64")
        let other = try #require(Self.images["arm64"])
        let missing = try Command.run([
            "curl", "-sS", "-o", "/dev/null", "-w", "%{http_code}",
            "http://\(server.address)/v2/registry.test/team/app/manifests/\(other.digest)",
        ])
        #expect(missing.text == "404")
        #expect(try server.stop() == 0)

        let archive = files.file("out.tar")
        try cache.check("export", Self.name, "--output", archive)
        let raw = try Command.check(["skopeo", "inspect", "--raw", "oci-archive:\(archive):\(Self.name)"])
        #expect(raw == Self.top)
        #expect(try cache.run("verify").status == 0)
        let second = try CacheDirectory()
        let loaded = try second.run("load", "--image-file", archive, "--all-platforms")
        #expect(loaded.status == 0 && loaded.text.hasPrefix("1 loaded"), "\(loaded)")
        #expect(second.contentFiles(of: "blobs").count == 3 && second.contentFiles(of: "manifests").count == 3)

        try cache.check("prune", "--pattern", "team/app")
        #expect(cache.contentFiles(of: "blobs").isEmpty && cache.contentFiles(of: "manifests").isEmpty)
    }
}

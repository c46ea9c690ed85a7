// Blobs that come in their descriptors (`data`).

import Foundation
import TestSupport
import Testing

@testable import Configuration
@testable import OCI
@testable import Registry

@Suite struct InlineBlobTests {
    private static let content = Array("{}".utf8)

    private static func manifest(_ data: [UInt8], layer: [UInt8]) -> [UInt8] {
        let text = Data(data).base64EncodedString()
        let config = #"{"mediaType":"a/empty","digest":"\#(digestOf(content))","size":2,"data":"\#(text)"}"#
        let layers = "[\(FakeImage.descriptor("a/b", layer))]"
        return Array(
            #"{"schemaVersion":2,"mediaType":"\#(FakeImage.type)","config":\#(config),"layers":\#(layers)}"#.utf8)
    }

    @Test("a blob in its descriptor is served although the upstream lacks it")
    func served() throws {
        let mirror = try MirrorKit { $0.prefetchLayers = .manifest }
        let layer = pattern(100, seed: 81)
        let bytes = Self.manifest(Self.content, layer: layer)
        mirror.fake.on("/v2/team/app/manifests/v1", .manifest(bytes, type: FakeImage.type, digest: nil))
        mirror.fake.on("/v2/team/app/blobs/\(digestOf(layer))") { .blob(layer, for: $0) }
        #expect(mirror.get("/v2/team/app/manifests/v1").body == bytes)
        #expect(mirror.store.blobSize(digestOf(Self.content)) == .present(2), "before the manifest goes out")
        #expect(mirror.get("/v2/team/app/blobs/\(digestOf(Self.content))").body == Self.content)
        mirror.settle()
        #expect(!mirror.fake.requests.contains { $0.path.contains("\(digestOf(Self.content))") })
        mirror.close()
    }

    @Test("a blob in its descriptor that has another digest is not taken from there")
    func wrong() throws {
        let mirror = try MirrorKit()
        let bytes = Self.manifest(Array("[]".utf8), layer: [1])
        mirror.fake.on("/v2/team/app/manifests/v1", .manifest(bytes, type: FakeImage.type, digest: nil))
        #expect(mirror.get("/v2/team/app/manifests/v1").body == bytes)
        #expect(mirror.get("/v2/team/app/blobs/\(digestOf(Self.content))").status == 404)
        mirror.close()
    }

    @Test("what a descriptor's data is read as, and an index's entries that are no manifests")
    func decoding() throws {
        let digest = digestOf(Self.content)
        for (data, isInline) in [("e30=", true), ("W10=", false), ("%", false), ("", false), ("e30", false)] {
            let text = #"{"config":{"digest":"\#(digest)","data":"\#(data)"}}"#
            let manifest = try Manifest.decode(Array(text.utf8), contentType: FakeImage.type)
            #expect(manifest.inlineBlobs.map(\.bytes) == (isInline ? [Self.content] : []), "\(data)")
        }
        let types = [
            FakeImage.type, "", "application/vnd.docker.distribution.manifest.v1+json", "a/layer",
            "application/x.config",
        ]
        let entries = types.enumerated().map { FakeImage.descriptor($1, [UInt8($0)]) }.joined(separator: ",")
        let index = try Manifest.decode(
            Array(#"{"manifests":[\#(entries)]}"#.utf8), contentType: MediaType.ociIndex.text)
        #expect(index.manifests.count == 3 && index.ownBlobs.map(\.digest) == [digestOf([3]), digestOf([4])])
    }
}

import TestSupport
import Testing

@testable import OCI
@testable import Registry

@Suite struct ManifestTests {
    static let digest = "sha256:" + String(repeating: "ab", count: 32)
    static let descriptor = #"{"mediaType":"application/octet-stream","digest":"\#(digest)","size":3}"#
    static let foreign =
        #"{"mediaType":"x","digest":"sha256:\#(String(repeating: "cd", count: 32))","size":3,"urls":["http://x"]}"#

    static func image(type: String? = MediaType.ociManifest.text, schema: Int = 2) -> [UInt8] {
        let own = type.map { #","mediaType":"\#($0)""# } ?? ""
        return Array(
            #"{"schemaVersion":\#(schema)\#(own),"config":\#(descriptor),"layers":[\#(descriptor),\#(foreign)]}"#.utf8)
    }

    @Test("an image manifest is decoded with its media type, layers and blobs") func validImage() throws {
        let manifest = try Manifest.decode(
            Self.image(), contentType: "application/vnd.oci.image.manifest.v1+json; charset=x")
        #expect(manifest.mediaType == .ociManifest)
        #expect(manifest.layers.count == 2)
        #expect(manifest.ownBlobs.map(\.digest.description) == [Self.digest])
    }

    @Test("Content-Type decides a manifest's type only where the manifest does not name one")
    func mediaType() throws {
        #expect(try Manifest.decode(Self.image(), contentType: "text/plain").mediaType == .ociManifest)
        #expect(
            try Manifest.decode(Self.image(type: nil), contentType: MediaType.dockerManifest.text).mediaType
                == .dockerManifest)
    }

    @Test(
        "bytes that are no JSON object, or of no manifest type, are refused",
        arguments: [
            (Array("{".utf8), MediaType.ociManifest.text), (Array("[]".utf8), MediaType.ociManifest.text),
            (Array("<html>".utf8), "text/html"), (image(type: nil), "application/json"),
            (Array(String(repeating: "[", count: 100_000).utf8), MediaType.ociManifest.text),
        ])
    func refused(bytes: [UInt8], type: String) throws {
        let error = #expect(throws: RegistryError.self) { try Manifest.decode(bytes, contentType: type) }
        #expect(error?.status == 502)
        #expect(error?.code == .manifestInvalid)
    }

    @Test("the upstream's type is kept where the body contradicts it, or lacks what the type has")
    func contradictions() throws {
        #expect(try Manifest.decode(Self.image(), contentType: MediaType.dockerManifest.text).layers.count == 2)
        #expect(try Manifest.decode(Self.image(schema: 1), contentType: MediaType.ociManifest.text).config != nil)
        let index = try Manifest.decode(
            Self.image(type: MediaType.ociIndex.text), contentType: MediaType.dockerManifestList.text)
        #expect(index.mediaType == .dockerManifestList && index.manifests.isEmpty && index.layers.isEmpty)
        for text in [#"{}"#, #"{"layers":null,"config":null,"manifests":7}"#, #"{"layers":{"a":1},"config":""}"#] {
            for type in MediaType.allCases {
                let manifest = try Manifest.decode(Array(text.utf8), contentType: type.text)
                #expect(manifest.mediaType == type && manifest.ownBlobs.isEmpty && manifest.manifests.isEmpty)
                #expect((manifest.missingPart == nil) == (type == .ociArtifact))
            }
        }
    }

    @Test(
        "a descriptor that cannot be read is left out, and the others are read",
        arguments: [
            #"{"digest":"sha256:0","size":1}"#, #"{"digest":"blake3:\#(String(repeating: "ab", count: 32))"}"#,
            #"{"size":5}"#, #"{"digest":7}"#, "null", "5", "[]", #""text""#,
        ])
    func unreadDescriptors(_ odd: String) throws {
        let text = #"{"config":\#(Self.descriptor),"layers":[\#(odd),\#(Self.foreign)]}"#
        let manifest = try Manifest.decode(Array(text.utf8), contentType: MediaType.ociManifest.text)
        #expect(manifest.skippedDescriptorCount == 1 && manifest.layers.count == 1 && manifest.config != nil)
        let index = Array(#"{"manifests":[\#(odd),\#(Self.descriptor)]}"#.utf8)
        let read = try Manifest.decode(index, contentType: MediaType.ociIndex.text)
        #expect(read.layers.count == 1 && read.skippedDescriptorCount == 1)
    }

    @Test("members of another shape count as missing")
    func oddMembers() throws {
        let text = #"{"config":{"digest":"\#(Self.digest)","size":3,"urls":null,"mediaType":9,"annotations":null}}"#
        let manifest = try Manifest.decode(Array(text.utf8), contentType: MediaType.ociManifest.text)
        let digest = try #require(Digest(Self.digest))
        #expect(manifest.config == Descriptor(mediaType: "", digest: digest, sizeBytes: 3, urls: []))
    }

    @Test("few of a manifest's inline blobs are taken")
    func inlineBlobsAreBounded() throws {
        let layers = (0..<100).map { number in
            let data = Array("\(number)".utf8)
            return #"{"digest":"\#(digestOf(data))","data":"\#(Base64.encode("\(number)"))"}"#
        }
        let text = #"{"layers":[\#(layers.joined(separator: ","))]}"#
        let manifest = try Manifest.decode(Array(text.utf8), contentType: MediaType.ociManifest.text)
        #expect(manifest.ownBlobs.count == 100 && manifest.inlineBlobs.count == InlineBlob.maximumPerManifest)
    }

    @Test("an artifact manifest has no schemaVersion, and blobs in place of layers")
    func artifact() throws {
        let text = #"{"mediaType":"\#(MediaType.ociArtifact.text)","blobs":[\#(Self.descriptor)]}"#
        let manifest = try Manifest.decode(Array(text.utf8), contentType: "application/octet-stream")
        #expect(manifest.mediaType == .ociArtifact && manifest.ownBlobs.count == 1 && manifest.config == nil)
    }

    @Test(
        "a descriptor's size is a whole number up to 16 TiB or absent, and the manifest decodes",
        arguments: Extremes.json)
    func descriptorSizes(_ size: String) throws {
        let other = "sha256:" + String(repeating: "ef", count: 32)
        let odd = #"{"digest":"\#(other)","size":\#(size)}"#
        let text = #"{"schemaVersion":2,"config":\#(Self.descriptor),"layers":[\#(odd),\#(odd),\#(Self.foreign)]}"#
        let manifest = try Manifest.decode(Array(text.utf8), contentType: MediaType.ociManifest.text)
        let bytes = manifest.layers[0].sizeBytes
        switch size {
        case "5.0": #expect(bytes == 5)
        case "5e2": #expect(bytes == 500)
        case "-0.0": #expect(bytes == 0)
        default: #expect(bytes == OutsideNumber.decimal(size, in: 0...ContentSize.maximum))
        }
        #expect(manifest.ownBlobs.map(\.digest.description) == [Self.digest, other], "it belongs to the image")
        #expect(manifest.prefetchedBlobs.count == (bytes == nil ? 1 : 2), "what states no size is not fetched ahead")
        let index = Array(#"{"schemaVersion":2,"manifests":[\#(odd)]}"#.utf8)
        #expect(try Manifest.decode(index, contentType: MediaType.ociIndex.text).manifests[0].sizeBytes == bytes)
    }

    @Test("nothing of a build cache is fetched ahead, and all of it belongs to it")
    func buildCache() throws {
        let config = Self.descriptor.replacing("octet-stream", with: "vnd.buildkit.cacheconfig.v0")
        let text = #"{"schemaVersion":2,"config":\#(config),"layers":[\#(Self.descriptor)]}"#
        let manifest = try Manifest.decode(Array(text.utf8), contentType: MediaType.ociManifest.text)
        #expect(manifest.config?.mediaType == "application/vnd.buildkit.cacheconfig.v0")
        #expect(manifest.ownBlobs.count == 1 && manifest.prefetchedBlobs.isEmpty)
    }

    @Test("a manifest with a descriptor without a size decodes")
    func missingSize() throws {
        let text = #"{"schemaVersion":2,"config":{"digest":"\#(Self.digest)"}}"#
        let manifest = try Manifest.decode(Array(text.utf8), contentType: MediaType.ociManifest.text)
        #expect(manifest.config?.sizeBytes == nil && manifest.prefetchedBlobs.isEmpty && manifest.ownBlobs.count == 1)
    }

    @Test("an error is written in the JSON form of the distribution specification") func errorJSON() {
        let error = RegistryError(status: 404, code: .blobUnknown, message: "a \"quote\"\n", detail: "\u{1}")
        #expect(
            String(decoding: error.json, as: UTF8.self)
                == #"{"errors":[{"code":"BLOB_UNKNOWN","message":"a \"quote\"\n","detail":"\u0001"}]}"# + "\n")
    }
}

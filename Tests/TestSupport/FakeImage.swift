// An image of generated content, and its manifests as an upstream holds them.

package import OCI
internal import Registry

/// Manifests of one image in one repository, as an upstream holds them.
package struct FakeImage {
    package let config: [UInt8]
    package let layers: [[UInt8]]
    package let manifest: [UInt8]
    package static let type = MediaType.ociManifest.text
    package static let foreignURL = "https://elsewhere.test/layer"

    /// - Parameter foreign: whether there is a layer that only another host has.
    package init(layerBytes: [Int] = [1000, 50_000], seed: UInt64 = 1, foreign: Bool = false) {
        config = Array("{\"architecture\":\"amd64\",\"os\":\"linux\",\"seed\":\(seed)}".utf8)
        layers = layerBytes.enumerated().map { pattern($1, seed: seed &* 100 &+ UInt64($0)) }
        var entries = layers.map { Self.descriptor("application/vnd.oci.image.layer.v1.tar+gzip", $0) }
        if foreign {
            let digest = digestOf(Array("foreign".utf8))
            entries.append(
                "{\"mediaType\":\"application/vnd.docker.image.rootfs.foreign.diff.tar.gzip\",\"digest\":\"\(digest)\","
                    + "\"size\":7,\"urls\":[\"\(Self.foreignURL)\"]}")
        }
        let type = "application/vnd.oci.image.config.v1+json"
        let text =
            "{\"schemaVersion\":2,\"mediaType\":\"\(Self.type)\",\"config\":\(Self.descriptor(type, config)),"
            + "\"layers\":[\(entries.joined(separator: ","))]}"
        manifest = Array(text.utf8)
    }

    package var digest: Digest { digestOf(manifest) }
    package var blobs: [[UInt8]] { [config] + layers }

    package static func descriptor(_ type: String, _ bytes: [UInt8]) -> String {
        "{\"mediaType\":\"\(type)\",\"digest\":\"\(digestOf(bytes))\",\"size\":\(bytes.count)}"
    }

    /// An index of images.
    package static func index(_ images: [FakeImage]) -> [UInt8] {
        let entries = images.map { descriptor(type, $0.manifest) }.joined(separator: ",")
        return Array(
            "{\"schemaVersion\":2,\"mediaType\":\"\(MediaType.ociIndex.text)\",\"manifests\":[\(entries)]}".utf8)
    }

    package var answer: FakeAnswer { .manifest(manifest, type: Self.type, digest: "\(digest)") }

    /// Serves the image from an upstream under a tag.
    package func put(on fake: FakeUpstream, repository: String = "team/app", tag: String) {
        fake.on("/v2/\(repository)/manifests/\(tag)", answer)
        fake.on("/v2/\(repository)/manifests/\(digest)", answer)
        for blob in blobs { fake.on("/v2/\(repository)/blobs/\(digestOf(blob))", { .blob(blob, for: $0) }) }
    }
}

// A build cache as BuildKit's registry exporter writes it (cache/remotecache/v1/doc.go in its sources).

package import OCI

/// Layers of build steps, and a config that says which step each is of. Nothing else names the layers.
package struct FakeBuildCache: Sendable {
    /// The forms in which BuildKit stores it.
    package enum Form: String, Sendable, CaseIterable {
        /// The usual one: an index whose entries are layers.
        case index
        /// With `oci-mediatypes=false`.
        case dockerList
        /// With `image-manifest=true`.
        case image
    }

    package let config: [UInt8]
    package let layers: [[UInt8]]
    package let form: Form
    package let manifest: [UInt8]

    package init(_ form: Form = .index, layerBytes: [Int] = [3000, 40_000], seed: UInt64 = 1) {
        self.form = form
        let layers = layerBytes.enumerated().map { pattern($1, seed: seed &* 1000 &+ UInt64($0)) }
        self.layers = layers
        let steps = layers.enumerated().map { "{\"blob\":\"\(digestOf($1))\",\"parent\":\($0 - 1)}" }
        let records = layers.indices.map { number in
            "{\"digest\":\"\(digestOf([UInt8(number & 0xFF)]))\","
                + "\"layers\":[{\"layer\":\(number),\"createdat\":\"2026-01-02T03:04:05Z\"}]}"
        }
        config = Array(
            "{\"layers\":[\(steps.joined(separator: ","))],\"records\":[\(records.joined(separator: ","))]}".utf8)
        let layerType =
            form == .dockerList
            ? "application/vnd.docker.image.rootfs.diff.tar.gzip" : "application/vnd.oci.image.layer.v1.tar+gzip"
        let entries = layers.map { layer in
            FakeImage.descriptor(layerType, layer).dropLast()
                + ",\"annotations\":{\"buildkit/createdat\":\"2026-01-02T03:04:05Z\","
                + "\"containerd.io/uncompressed\":\"\(digestOf(Array("\(digestOf(layer))".utf8)))\"}}"
        }
        let configEntry = FakeImage.descriptor("application/vnd.buildkit.cacheconfig.v0", config)
        let start = "{\"schemaVersion\":2,\"mediaType\":\"\(Self.mediaType(form).text)\","
        let list = entries.joined(separator: ",")
        manifest = Array(
            (form == .image
                ? "\(start)\"config\":\(configEntry),\"layers\":[\(list)]}"
                : "\(start)\"manifests\":[\(list),\(configEntry)]}").utf8)
    }

    private static func mediaType(_ form: Form) -> MediaType {
        switch form {
        case .index: .ociIndex
        case .dockerList: .dockerManifestList
        case .image: .ociManifest
        }
    }

    package var mediaType: MediaType { Self.mediaType(form) }
    package var digest: Digest { digestOf(manifest) }
    package var blobs: [[UInt8]] { [config] + layers }
    package var blobBytes: Int64 { Int64(blobs.map(\.count).reduce(0, +)) }

    /// Serves the cache from an upstream under a tag.
    package func put(on fake: FakeUpstream, repository: String = "team/app", tag: String) {
        let answer = FakeAnswer.manifest(manifest, type: mediaType.text, digest: "\(digest)")
        fake.on("/v2/\(repository)/manifests/\(tag)", answer)
        fake.on("/v2/\(repository)/manifests/\(digest)", answer)
        for blob in blobs { fake.on("/v2/\(repository)/blobs/\(digestOf(blob))", { .blob(blob, for: $0) }) }
    }
}

// The parts of a manifest that the server reads: its type and the content of a whole image. The bytes themselves are
// stored and served verbatim.

internal import FoundationEssentials

/// A reference from one piece of content to another (image-spec, descriptor.md).
package struct Descriptor: Sendable, Equatable {
    package let mediaType: String
    package let digest: Digest
    /// The stated size; nil when it is absent or not a valid size (`ContentSize`). Such content is not prefetched and
    /// not counted.
    package let sizeBytes: Int64?
    /// Where a foreign layer can be downloaded; such layers are not prefetched.
    package let urls: [String]

    package init(mediaType: String, digest: Digest, sizeBytes: Int64?, urls: [String]) {
        self.mediaType = mediaType
        self.digest = digest
        self.sizeBytes = sizeBytes
        self.urls = urls
    }
}

/// A decoded manifest or index.
package struct Manifest: Sendable {
    /// Largest manifest accepted, in bytes: the specification asks registries to accept at least this size, and
    /// containerd and containers/image refuse larger ones.
    package static let maximumSizeBytes = 4 * 1024 * 1024

    package let mediaType: MediaType
    package let config: Descriptor?
    package let layers: [Descriptor]
    /// An index's entries; empty for an image manifest.
    package let manifests: [Descriptor]

    /// Decodes and classifies manifest bytes.
    /// - Parameter contentType: the upstream's `Content-Type`; when it is missing or unusable, the body's own
    ///   `mediaType` decides.
    /// - Throws: `MANIFEST_INVALID` as a 502, with the reason: it is the upstream's fault, not the client's.
    package static func decode(_ bytes: [UInt8], contentType: String?) throws(RegistryError) -> Manifest {
        let body: Body
        do {
            body = try JSONDecoder().decode(Body.self, from: Data(bytes))
        } catch {
            throw .badManifest("the upstream's answer is not a manifest: it does not decode as JSON of that shape")
        }
        guard body.schemaVersion == 2 else {
            throw .badManifest("manifest schema version \(body.schemaVersion) is not supported; only version 2 is")
        }
        let mediaType = try classify(body, contentType: contentType)
        if mediaType.isIndex {
            guard let entries = body.manifests else { throw .badManifest("an index without a list of manifests") }
            return Manifest(mediaType: mediaType, config: nil, layers: [], manifests: try read(entries))
        }
        if mediaType == .ociArtifact {
            return Manifest(mediaType: mediaType, config: nil, layers: try read(body.blobs ?? []), manifests: [])
        }
        guard let config = body.config else { throw .badManifest("an image manifest without a config") }
        return Manifest(
            mediaType: mediaType, config: try config.read(), layers: try read(body.layers ?? []), manifests: [])
    }

    /// Config and layers that an upstream should hold: everything except foreign layers, each digest once.
    package var ownBlobs: [Descriptor] {
        var seen: Set<Digest> = []
        return ([config].compactMap { $0 } + layers).filter { $0.urls.isEmpty && seen.insert($0.digest).inserted }
    }

    /// The blobs of `ownBlobs` that may be prefetched: their descriptors state a size.
    package var prefetchedBlobs: [Descriptor] { ownBlobs.filter { $0.sizeBytes != nil } }

    private static func read(_ list: [Body.Entry]) throws(RegistryError) -> [Descriptor] {
        var result: [Descriptor] = []
        result.reserveCapacity(list.count)
        for entry in list { result.append(try entry.read()) }
        return result
    }

    private static func classify(_ body: Body, contentType: String?) throws(RegistryError) -> MediaType {
        let stated = contentType.flatMap { MediaType($0) }
        let own = body.mediaType.flatMap { MediaType($0) }
        if let stated, let own, stated != own {
            throw .badManifest("Content-Type \(stated.text) contradicts the manifest's own mediaType \(own.text)")
        }
        if let type = stated ?? own { return type }
        throw .badManifest("Content-Type \(contentType ?? "(none)") is not a manifest type")
    }

    private struct Body: Decodable {
        var schemaVersion: Int
        var mediaType: String?
        var config: Entry?
        var layers: [Entry]?
        var blobs: [Entry]?
        var manifests: [Entry]?

        struct Entry: Decodable {
            var mediaType: String?
            var digest: String
            var size: StatedSize?
            var urls: [String]?

            func read() throws(RegistryError) -> Descriptor {
                guard let digest = Digest(digest) else { throw .badManifest("a descriptor's digest does not parse") }
                return Descriptor(
                    mediaType: mediaType ?? "", digest: digest, sizeBytes: size?.bytes, urls: urls ?? [])
            }
        }
    }
}

/// A descriptor's `size` in JSON. An invalid value is no error: the manifest is served verbatim anyway.
package struct StatedSize: Decodable {
    /// Nil for any value except a whole number from 0 to `ContentSize.maximum`.
    package let bytes: Int64?

    package init(from decoder: any Decoder) throws {
        let value = try decoder.singleValueContainer()
        bytes = (try? value.decode(Int64.self)).flatMap { ContentSize.accepted($0) }
    }
}

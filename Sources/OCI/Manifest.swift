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
    /// The content itself, which small descriptors may bring along (`data`), unverified; nil without it.
    package let data: [UInt8]?

    package init(mediaType: String, digest: Digest, sizeBytes: Int64?, urls: [String], data: [UInt8]? = nil) {
        self.mediaType = mediaType
        self.digest = digest
        self.sizeBytes = sizeBytes
        self.urls = urls
        self.data = data
    }

    /// Whether it refers to a manifest or index, as an index's entries usually do. One without a media type is assumed
    /// to be one.
    package var isManifest: Bool { mediaType.isEmpty || MediaType(mediaType) != nil || mediaType.contains("manifest") }
}

/// A decoded manifest or index.
///
/// Its bytes are stored and served verbatim. So decoding is lenient: a descriptor or list that cannot be read is left
/// out, and only what the cache does ahead (prefetch, accounting, lists) lacks it.
package struct Manifest: Sendable {
    /// Largest manifest accepted, in bytes: what the specification asks registries to take at least, and what
    /// containerd and containers/image refuse beyond.
    package static let maximumSizeBytes = 4 * 1024 * 1024

    package let mediaType: MediaType
    package let config: Descriptor?
    package let layers: [Descriptor]
    /// An index's entries that are manifests; empty for an image manifest. Its other entries are in `layers`.
    package let manifests: [Descriptor]
    /// The manifest that this one is about, as a signature or an SBOM is (image-spec 1.1, "subject"); nil without one.
    package let subject: Digest?
    /// Descriptors left out: their digest is missing, or of an algorithm that is not registered.
    package let skippedDescriptorCount: Int
    /// The required member that is missing (`config` or `manifests`), as text; nil if none is.
    package let missingPart: String?

    /// Decodes and classifies manifest bytes.
    /// - Parameter contentType: the upstream's; where it is no manifest type, the body's own `mediaType` decides.
    /// - Throws: `MANIFEST_INVALID` as a 502, with the reason, for bytes that are no JSON object, and where neither the
    ///   `Content-Type` nor the body names a manifest type.
    package static func decode(_ bytes: [UInt8], contentType: String?) throws(RegistryError) -> Manifest {
        let body: Body
        do {
            body = try JSONDecoder().decode(Body.self, from: Data(bytes))
        } catch {
            throw .badManifest("the upstream's answer is not a manifest: it does not decode as a JSON object")
        }
        guard let type = contentType.flatMap({ MediaType($0) }) ?? body.mediaType.flatMap({ MediaType($0) }) else {
            throw .badManifest("Content-Type \(contentType ?? "(none)") is not a manifest type")
        }
        return Manifest(body, type)
    }

    private init(_ body: Body, _ type: MediaType) {
        mediaType = type
        var unread = 0
        func read(_ list: [Body.Entry]) -> [Descriptor] {
            let descriptors = list.compactMap(\.descriptor)
            unread += list.count - descriptors.count
            return descriptors
        }
        let entries = type.isIndex ? read(body.manifests) : []
        manifests = entries.filter(\.isManifest)
        // BuildKit keeps a cache as an index whose entries are layers.
        layers =
            type.isIndex
            ? entries.filter { !$0.isManifest } : read(type == .ociArtifact ? body.blobs : body.layers)
        config = type.isIndex || type == .ociArtifact ? nil : read(body.config.map { [$0] } ?? []).first
        // Outside the count: what the cache does ahead does not need it.
        subject = body.subject?.descriptor?.digest
        skippedDescriptorCount = unread
        missingPart =
            type.isIndex
            ? (body.hasManifests ? nil : "an index without a list of manifests")
            : type == .ociArtifact || config != nil ? nil : "an image manifest without a config"
    }

    /// Config and layers that an upstream is expected to hold: everything but foreign layers, each digest once.
    package var ownBlobs: [Descriptor] {
        var seen: Set<Digest> = []
        return ([config].compactMap { $0 } + layers).filter { $0.urls.isEmpty && seen.insert($0.digest).inserted }
    }

    /// Blobs whose content is in their descriptors and has their digests: no upstream needs to be asked for them.
    package var inlineBlobs: [InlineBlob] {
        ownBlobs.lazy.filter { $0.data != nil }.prefix(InlineBlob.maximumPerManifest).compactMap { blob in
            guard let data = blob.data else { return nil }
            let found = data.withUnsafeBytes { Digest.of($0, blob.digest.algorithm) }
            return found == blob.digest ? InlineBlob(digest: blob.digest, bytes: data) : nil
        }
    }

    /// Those of `ownBlobs` that may be prefetched: their descriptors state a size. A build cache has none: its clients
    /// request only the layers of the steps that they find in it.
    package var prefetchedBlobs: [Descriptor] { isBuildCache ? [] : ownBlobs.filter { $0.sizeBytes != nil } }

    /// Whether it is a build cache in the form of an image (`image-manifest=true` of BuildKit's exporter). In the older
    /// form it is an index of layers with this config (BuildKit, cache/remotecache/v1/doc.go).
    private var isBuildCache: Bool { config?.mediaType == "application/vnd.buildkit.cacheconfig.v0" }

    /// The members of a manifest's JSON object that are read. A member of another shape counts as missing.
    private struct Body: Decodable {
        let mediaType: String?
        let config: Entry?
        let subject: Entry?
        let layers: [Entry]
        let blobs: [Entry]
        let manifests: [Entry]
        let hasManifests: Bool

        private enum Key: String, CodingKey { case mediaType, config, subject, layers, blobs, manifests }

        init(from decoder: any Decoder) throws {
            let values = try decoder.container(keyedBy: Key.self)
            func list(_ key: Key) -> [Entry] { (try? values.decode([Entry].self, forKey: key)) ?? [] }
            mediaType = try? values.decode(String.self, forKey: .mediaType)
            config = try? values.decodeIfPresent(Entry.self, forKey: .config)
            subject = try? values.decodeIfPresent(Entry.self, forKey: .subject)
            (layers, blobs, manifests) = (list(.layers), list(.blobs), list(.manifests))
            hasManifests = (try? values.decode([Entry].self, forKey: .manifests)) != nil
        }

        /// A descriptor, as far as it can be read.
        struct Entry: Decodable {
            let descriptor: Descriptor?

            private enum Key: String, CodingKey { case mediaType, digest, size, urls, data }

            init(from decoder: any Decoder) throws {
                guard let values = try? decoder.container(keyedBy: Key.self),
                    let digest = (try? values.decode(String.self, forKey: .digest)).flatMap({ Digest($0) })
                else {
                    descriptor = nil
                    return
                }
                descriptor = Descriptor(
                    mediaType: (try? values.decode(String.self, forKey: .mediaType)) ?? "", digest: digest,
                    sizeBytes: (try? values.decode(StatedSize.self, forKey: .size))?.bytes,
                    urls: (try? values.decode([String].self, forKey: .urls)) ?? [],
                    data: (try? values.decode(Data.self, forKey: .data)).map { Array($0) })
            }
        }
    }
}

/// A blob that came in its descriptor, verified.
package struct InlineBlob: Sendable {
    /// Inline blobs taken of one manifest; artifacts have one or two. Each is a file and an fsync, and a manifest can
    /// name 30,000: the others are left to pulls.
    package static let maximumPerManifest = 16

    package let digest: Digest
    package let bytes: [UInt8]
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

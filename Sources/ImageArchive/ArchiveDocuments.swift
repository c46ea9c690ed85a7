// The parts of an image archive's JSON documents that are read.
//
// Sources: image-spec 1.1 (image-layout.md, image-index.md, config.md); docker's image/tarexport for `manifest.json`.

internal import FoundationEssentials
package import OCI

/// An index's entry with the parts that `Manifest` leaves out: the platform and the annotations.
package struct IndexEntry: Sendable, Decodable {
    private struct PlatformObject: Decodable {
        let os: String
        let architecture: String
        let variant: String?
    }

    let mediaType: String
    package let digest: Digest
    /// Nil when the size is absent or invalid.
    let sizeBytes: Int64?
    package let platform: Platform?
    let annotations: [String: String]

    package var descriptor: Descriptor {
        Descriptor(mediaType: mediaType, digest: digest, sizeBytes: sizeBytes, urls: [])
    }

    private enum Key: String, CodingKey { case mediaType, digest, size, platform, annotations }

    package init(from decoder: any Decoder) throws {
        let values = try decoder.container(keyedBy: Key.self)
        mediaType = try values.decodeIfPresent(String.self, forKey: .mediaType) ?? ""
        let text = try values.decode(String.self, forKey: .digest)
        guard let digest = Digest(text) else {
            throw DecodingError.dataCorruptedError(forKey: .digest, in: values, debugDescription: "not a digest")
        }
        self.digest = digest
        sizeBytes = try values.decodeIfPresent(StatedSize.self, forKey: .size)?.bytes
        let object = try values.decodeIfPresent(PlatformObject.self, forKey: .platform)
        platform = object.map { Platform(os: $0.os, architecture: $0.architecture, variant: $0.variant) }
        annotations = try values.decodeIfPresent([String: String].self, forKey: .annotations) ?? [:]
    }
}

/// `index.json` of a layout, or any image index.
package struct IndexDocument: Sendable, Decodable {
    package let manifests: [IndexEntry]
}

/// One image of docker's `manifest.json`.
package struct SavedImage: Sendable, Decodable {
    let config: String
    let repoTags: [String]?
    let layers: [String]?

    private enum CodingKeys: String, CodingKey {
        case config = "Config"
        case repoTags = "RepoTags"
        case layers = "Layers"
    }
}

/// An image's config.
struct ConfigDocument: Sendable, Decodable {
    struct RootFS: Sendable, Decodable {
        let diffIDs: [String]?

        private enum CodingKeys: String, CodingKey { case diffIDs = "diff_ids" }
    }

    let rootfs: RootFS
}

package enum ArchiveDocuments {
    /// Decodes a document after checking its nesting depth: decoders recurse for every level.
    package static func decode<Document: Decodable>(
        _ type: Document.Type, _ bytes: [UInt8], depth: Int
    ) throws(ArchiveError.Problem) -> Document {
        try checkDepth(bytes, depth)
        do { return try JSONDecoder().decode(type, from: Data(bytes)) } catch {
            throw .badDocument("does not decode as JSON of the expected shape")
        }
    }

    /// Refuses objects and arrays nested more than `limit` deep. The decoder checks whether the text is JSON.
    static func checkDepth(_ bytes: [UInt8], _ limit: Int) throws(ArchiveError.Problem) {
        var depth = 0
        var isInString = false
        var isEscaped = false
        for byte in bytes {
            if isEscaped {
                isEscaped = false
            } else if isInString {
                isEscaped = byte == 0x5C
                isInString = byte != 0x22
            } else {
                switch byte {
                case 0x22: isInString = true
                case 0x7B, 0x5B: depth += 1
                case 0x7D, 0x5D: depth -= 1
                default: break
                }
                if depth > limit { throw .limit("JSON nested more than \(limit) deep") }
            }
        }
    }
}

// Lists of referrers as upstreams send them: indexes whose entries are handed on as their authors wrote them. A member
// that this server does not know, or does not expect, must not hide a signature.

internal import FoundationEssentials
package import OCI

/// An entry of a list of referrers (distribution-spec 1.1, "Listing Referrers").
package struct ReferrerEntry: Sendable, Equatable {
    /// Its JSON text, verbatim.
    package let text: [UInt8]
    /// As stated: it may be of an algorithm that this server does not know.
    package let digest: String
    package let artifactType: String?
    /// The size as stated; nil if it is absent or invalid.
    package let sizeBytes: Int64?
    package let mediaType: String
}

/// One page of a list of referrers.
package struct ReferrersIndex: Sendable, Equatable {
    package let entries: [ReferrerEntry]
    /// The index's own annotations, as JSON text; nil without any.
    package let annotations: [UInt8]?

    package init(entries: [ReferrerEntry], annotations: [UInt8]? = nil) {
        self.entries = entries
        self.annotations = annotations
    }

    /// Parses an index.
    /// - Throws: when the bytes are not an index, or an entry has no digest or media type.
    package init(_ bytes: [UInt8]) throws {
        let document = try JSONDecoder().decode(Document.self, from: Data(bytes))
        let places = try JSONScan.members(of: bytes, named: ["manifests", "annotations"])
        var texts: [Range<Int>] = []
        // Some Go programs write an empty list as null.
        if let list = places["manifests"], bytes[list.lowerBound] == UInt8(ascii: "[") {
            texts = try JSONScan.elements(of: bytes, at: list.lowerBound)
        }
        // They differ only for texts that decoders read in different ways, such as escaped names.
        guard texts.count == document.manifests.count else { throw JSONScan.Failure() }
        entries = zip(texts, document.manifests).map { place, entry in
            ReferrerEntry(
                text: Array(bytes[place]), digest: entry.digest, artifactType: entry.artifactType,
                sizeBytes: entry.size?.bytes, mediaType: entry.mediaType)
        }
        annotations = places["annotations"].flatMap { place in
            bytes[place.lowerBound] == UInt8(ascii: "{") ? Array(bytes[place]) : nil
        }
    }

    /// The index as JSON.
    package var body: [UInt8] {
        var body = Array("{\"schemaVersion\":2,\"mediaType\":\"\(MediaType.ociIndex.text)\",\"manifests\":[".utf8)
        body.reserveCapacity(body.count + entries.reduce(64) { $0 + $1.text.count + 1 })
        for (index, entry) in entries.enumerated() {
            if index > 0 { body.append(UInt8(ascii: ",")) }
            body += entry.text
        }
        body.append(UInt8(ascii: "]"))
        if let annotations { body += Array(",\"annotations\":".utf8) + annotations }
        body.append(UInt8(ascii: "}"))
        return body
    }

    /// The tag under which clients keep the list where the API is missing (distribution-spec 1.1, "Referrers Tag
    /// Schema").
    package static func fallbackTag(of subject: Digest) -> String {
        "\(subject.algorithm.name)-\(subject.hex.prefix(64))"
    }

    /// The tags under which clients keep what refers to a manifest: the list of referrers, and cosign's signatures,
    /// attestations and SBOMs.
    package static func tags(of subject: Digest) -> [String] {
        ["", ".sig", ".att", ".sbom"].map { fallbackTag(of: subject) + $0 }
    }

    /// The manifest that one of these tags is about; nil for other tags. The tags of a sha512 digest have only a part
    /// of it, so they name none.
    package static func subject(ofTag tag: String) -> Digest? {
        guard let dash = tag.firstIndex(of: "-") else { return nil }
        let hex = tag[tag.index(after: dash)...].prefix { $0 != "." }
        guard let subject = Digest("\(tag[..<dash]):\(hex)") else { return nil }
        return tags(of: subject).contains(tag) ? subject : nil
    }

    /// The members that are read. The media type may be absent (image-spec, image-index.md).
    private struct Document: Decodable {
        struct Entry: Decodable {
            let mediaType: String
            let digest: String
            let size: StatedSize?
            let artifactType: String?
        }

        private enum Key: String, CodingKey { case schemaVersion, mediaType, manifests }

        let manifests: [Entry]

        init(from decoder: any Decoder) throws {
            let values = try decoder.container(keyedBy: Key.self)
            let type = try values.decodeIfPresent(String.self, forKey: .mediaType) ?? MediaType.ociIndex.text
            guard try values.decode(Int.self, forKey: .schemaVersion) == 2, type == MediaType.ociIndex.text,
                values.contains(.manifests)
            else { throw RegistryError.badManifest("not an index") }
            manifests = try values.decodeIfPresent([Entry].self, forKey: .manifests) ?? []
        }
    }
}

extension ReferrerEntry {
    /// The entry for a cached manifest that has a subject, as a registry makes it (distribution-spec 1.1): the artifact
    /// type is the manifest's own, or else the media type of its config.
    /// - Throws: when the manifest cannot be read.
    package init(manifest bytes: [UInt8], digest: Digest, mediaType: MediaType) throws {
        struct Typed: Decodable {
            let mediaType: String?
        }
        struct Document: Decodable {
            let artifactType: String?
            let config: Typed?
        }
        let document = try JSONDecoder().decode(Document.self, from: Data(bytes))
        let places = try JSONScan.members(of: bytes, named: ["annotations"])
        let own = document.artifactType.flatMap { $0.isEmpty ? nil : $0 }
        let type = own ?? (mediaType.isIndex ? nil : document.config?.mediaType)
        var text = "{\"mediaType\":\"\(mediaType.text)\",\"digest\":\"\(digest)\",\"size\":\(bytes.count)"
        if let type { text += ",\"artifactType\":" + String(decoding: try JSONEncoder().encode(type), as: UTF8.self) }
        if let place = places["annotations"] {
            text += ",\"annotations\":" + String(decoding: bytes[place], as: UTF8.self)
        }
        self.init(
            text: Array((text + "}").utf8), digest: "\(digest)", artifactType: type, sizeBytes: Int64(bytes.count),
            mediaType: mediaType.text)
    }
}

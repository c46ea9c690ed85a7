// The second piece of a response head: the fields of the content, with the empty line that ends the head. Hit and miss,
// GET and HEAD, whole and range all use `entity`, so they cannot diverge. For a cached manifest the piece is made once
// and kept.

package import OCI

package enum ResponseFields {
    /// For 200 and 206, GET and HEAD: a manifest or blob of `sizeBytes`, or its `range`.
    ///
    /// With `sizeBytes` nil (a pull whose upstream states no size) there is no `Content-Length` and no range: the body
    /// is chunked, or, for a client without chunks (HTTP/1.0), `delimitedByClose`.
    package static func entity(
        contentType: String, digest: Digest, sizeBytes: Int64?, range: (first: Int64, last: Int64)? = nil,
        delimitedByClose: Bool = false
    ) -> [UInt8] {
        var block = FieldBlock()
        block.add("Content-Type", contentType)
        if let sizeBytes {
            block.add("Content-Length", range.map { $0.last - $0.first + 1 } ?? sizeBytes)
        } else if !delimitedByClose {
            block.add("Transfer-Encoding", "chunked")
        }
        block.addIdentity(digest)
        if let sizeBytes {
            block.add("Accept-Ranges", "bytes")
            if let range { block.add("Content-Range", "bytes \(range.first)-\(range.last)/\(sizeBytes)") }
        }
        return block.ended
    }

    /// For 206 with several ranges; their Content-Range is in the parts (RFC 9110 §15.3.7.2).
    package static func multipart(_ parts: MultipartRanges, digest: Digest) -> [UInt8] {
        var block = FieldBlock()
        block.add("Content-Type", parts.contentType)
        block.add("Content-Length", parts.lengthBytes)
        block.addIdentity(digest)
        block.add("Accept-Ranges", "bytes")
        return block.ended
    }

    /// For 304: the identity fields that the 200 would have (RFC 9110 §15.4.5), and no length.
    package static func notModified(digest: Digest) -> [UInt8] {
        var block = FieldBlock()
        block.addIdentity(digest)
        return block.ended
    }

    /// For 416, with an empty body.
    package static func unsatisfiable(sizeBytes: Int64) -> [UInt8] {
        var block = FieldBlock()
        block.add("Content-Range", "bytes */\(sizeBytes)")
        block.add("Content-Length", 0)
        return block.ended
    }

    /// For a JSON body of `length` bytes: errors, tag lists.
    package static func json(length: Int, extra: [(String, String)] = []) -> [UInt8] {
        plain(contentType: "application/json", length: length, extra: extra)
    }

    /// For any other body of `length` bytes; `contentType` is nil when there is no body.
    package static func plain(contentType: String?, length: Int, extra: [(String, String)] = []) -> [UInt8] {
        var block = FieldBlock()
        if let contentType { block.add("Content-Type", contentType) }
        block.add("Content-Length", Int64(length))
        for (name, value) in extra { block.add(name, value) }
        return block.ended
    }

    /// For a chunked body that must not be stored by caches.
    package static func chunked(contentType: String) -> [UInt8] {
        var block = FieldBlock()
        block.add("Content-Type", contentType)
        block.add("Transfer-Encoding", "chunked")
        block.add("Cache-Control", "no-store")
        return block.ended
    }
}

/// Builds field lines. No value can end its line early, whatever it contains: some come from upstreams.
private struct FieldBlock {
    private var bytes: [UInt8] = []

    init() {
        // The longest entity block, with a sha512 digest twice, is about 500 bytes; the usual one is 320.
        bytes.reserveCapacity(384)
    }

    /// The block with its final empty line.
    var ended: [UInt8] { bytes + [0x0D, 0x0A] }

    mutating func add(_ name: String, _ value: String) {
        bytes.append(contentsOf: name.utf8)
        bytes.append(contentsOf: [0x3A, 0x20])
        for byte in value.utf8 where byte == 0x09 || (byte >= 0x20 && byte != 0x7F) { bytes.append(byte) }
        bytes.append(contentsOf: [0x0D, 0x0A])
    }

    mutating func add(_ name: String, _ value: Int64) {
        add(name, "\(value)")
    }

    mutating func addIdentity(_ digest: Digest) {
        let text = digest.description
        add("Docker-Content-Digest", text)
        add("ETag", "\"\(text)\"")
    }
}

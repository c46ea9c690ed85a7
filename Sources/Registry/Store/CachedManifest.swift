// A manifest as it goes out: response fields and body in one piece of memory, made once, written with one call.

/// A manifest in memory. Immutable; the bytes live as long as the object.
package final class CachedManifest {
    package let digest: Digest
    package let mediaType: MediaType
    /// Bytes of the body.
    package let sizeBytes: Int
    /// Response fields (with the empty line) and body, contiguous.
    package let wire: UnsafeRawBufferPointer
    /// Bytes of `wire` that are response fields.
    package let fieldsCount: Int

    /// When (on the loop's clock) the image is next checked for being whole; `.max` once it is known to be.
    /// An index starts nothing, so there is nothing to check.
    package var nextWholeCheckMilliseconds: UInt64

    /// When (on the loop's clock) its next use is noted.
    package var nextTouchMilliseconds: UInt64 = 0

    /// The manifest itself, verbatim.
    package var body: UnsafeRawBufferPointer { UnsafeRawBufferPointer(rebasing: wire[fieldsCount...]) }

    /// The response fields alone: what a HEAD is answered with.
    package var fields: UnsafeRawBufferPointer { UnsafeRawBufferPointer(rebasing: wire[..<fieldsCount]) }

    init(digest: Digest, mediaType: MediaType, body: [UInt8]) {
        let fields = ResponseFields.entity(
            contentType: mediaType.text, digest: digest, sizeBytes: Int64(body.count), range: nil)
        let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: fields.count + body.count, alignment: 16)
        memory.copyBytes(from: fields)
        UnsafeMutableRawBufferPointer(rebasing: memory[fields.count...]).copyBytes(from: body)
        self.digest = digest
        self.mediaType = mediaType
        sizeBytes = body.count
        nextWholeCheckMilliseconds = mediaType.isIndex ? .max : 0
        fieldsCount = fields.count
        wire = UnsafeRawBufferPointer(memory)
    }

    deinit { wire.deallocate() }

    /// What it costs the budget: the bytes, and about what the object, its slot and its index entries take.
    var weight: Int { wire.count + 256 }
}

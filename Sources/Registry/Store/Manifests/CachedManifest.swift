// A manifest as it goes out, and what is known of its image.

package import OCI

/// A manifest in memory.
package final class CachedManifest: ReadyAnswer {
    package let digest: Digest
    package let mediaType: MediaType

    /// When (on the loop's clock) the image is next checked for being whole; `.max` once it is known to be.
    /// An index starts nothing, so there is nothing to check.
    package var nextWholeCheckMilliseconds: UInt64

    /// When (on the loop's clock) its next use is noted.
    package var nextTouchMilliseconds: UInt64 = 0

    init(digest: Digest, mediaType: MediaType, body: [UInt8]) {
        self.digest = digest
        self.mediaType = mediaType
        nextWholeCheckMilliseconds = mediaType.isIndex ? .max : 0
        super.init(
            fields: ResponseFields.entity(
                contentType: mediaType.text, digest: digest, sizeBytes: Int64(body.count), range: nil),
            body: body)
    }

    /// Bytes of the body.
    package var sizeBytes: Int { wire.count - fieldsCount }

    /// What it costs the budget: the bytes, and about what the object, its slot and its index entries take.
    var weight: Int { ReadyAnswer.roomBytes + wire.count + 256 }
}

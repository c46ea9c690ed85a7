// A manifest ready to be sent, and what is known about its image.

package import OCI

/// A manifest in memory.
package final class CachedManifest: ReadyAnswer {
    package let digest: Digest
    package let mediaType: MediaType

    /// When the image is next checked for completeness, on the loop's clock; `.max` once it is known to be complete,
    /// and for an index, which has nothing to check.
    package var nextWholeCheckMilliseconds: UInt64
    /// The same for each source, while the image is not whole.
    package var nextWholeChecks: [PullKey: UInt64] = [:]

    /// When its next use is recorded, on the loop's clock.
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

    /// Its weight in the cache's budget: the bytes, and the approximate size of the object, its slot and its index
    /// entries.
    var weight: Int { ReadyAnswer.roomBytes + wire.count + 256 }
}

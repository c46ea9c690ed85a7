// Small blobs ready to be sent from memory, like cached manifests. Configs and attestations are requested with every
// pull and have a few kilobytes; reading one from its open file would be a third of the system calls of a response,
// even with all pages in memory.

package import OCI

/// A small blob in memory.
package final class CachedBlob: ReadyAnswer {
    /// Larger blobs are read from their file each time: compared with copying them, one more call costs little.
    static let maximumBytes: Int64 = 16 * 1024

    package let digest: Digest
    /// When the blob's next use is recorded, on the loop's clock.
    var nextTouchMilliseconds: UInt64 = 0

    /// Reads the file from the page cache; nil if not all of it is there.
    init?(_ digest: Digest, _ file: OpenFile, fields: [UInt8]) {
        self.digest = digest
        super.init(fields: fields, bodyBytes: Int(file.sizeBytes)) { body in
            PageCache.read(file.descriptor, into: body, body.count, at: 0) == body.count
        }
    }

    /// Its weight in the cache's budget: the bytes, and the approximate size of the object and its table entries.
    var weight: Int { ReadyAnswer.roomBytes + wire.count + 128 }
}

extension Store {
    /// A small blob ready to be sent: from memory, or read from its open file if that does not block. Nil for other
    /// blobs.
    /// - Parameter fields: makes the response fields for a digest and a size.
    package func smallBlob(_ digest: Digest, fields: (Digest, Int64) -> [UInt8]) -> CachedBlob? {
        if let blob = smallBlobs.value(for: digest) { return blob }
        guard let file = openFiles.value(for: digest), file.sizeBytes <= CachedBlob.maximumBytes,
            let blob = CachedBlob(digest, file, fields: fields(digest, file.sizeBytes))
        else { return nil }
        // The digest is checked once, before the blob stays in memory: 10 µs, as for a manifest.
        guard Digest.of(blob.body, digest.algorithm) == digest else {
            file.report(.wrongContent)
            return nil
        }
        smallBlobs.insert(blob, for: digest, weight: blob.weight)
        return blob
    }
}

// A small blob as it goes out, like a cached manifest. Configs and attestations are asked for with every pull and are a
// few kilobytes; reading one from its open file, though the kernel has it in memory, would be a third of the system
// calls of its answer.

package import OCI

/// A small blob in memory.
package final class CachedBlob: ReadyAnswer {
    /// Larger ones are read from their file each time: beside copying so much, one more call is little.
    static let maximumBytes: Int64 = 16 * 1024

    /// Reads the file, as far as the kernel has it in memory; nil where it has not all of it.
    init?(_ file: OpenFile, fields: [UInt8]) {
        super.init(fields: fields, bodyBytes: Int(file.sizeBytes)) { body in
            PageCache.read(file.descriptor, into: body, body.count, at: 0) == body.count
        }
    }

    /// What it costs the budget: the bytes, and about what the object and its place in the tables take.
    var weight: Int { ReadyAnswer.roomBytes + wire.count + 128 }
}

extension Store {
    /// A small blob ready to be sent. One that is open is read, if that can be done without waiting. Nil for any other.
    /// - Parameter fields: makes the fields of its answer.
    package func smallBlob(_ digest: Digest, fields: (Digest, Int64) -> [UInt8]) -> CachedBlob? {
        if let blob = smallBlobs.value(for: digest) { return blob }
        guard let file = openFiles.value(for: digest), file.sizeBytes <= CachedBlob.maximumBytes,
            let blob = CachedBlob(file, fields: fields(digest, file.sizeBytes))
        else { return nil }
        // What is kept for long is looked at closely once: 10 µs, as for a manifest.
        guard Digest.of(blob.body, digest.algorithm) == digest else {
            file.report(.wrongContent)
            return nil
        }
        smallBlobs.insert(blob, for: digest, weight: blob.weight)
        return blob
    }
}

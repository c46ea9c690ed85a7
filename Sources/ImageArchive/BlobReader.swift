// The blobs of an archive, one pass from front to back, in the archive's own order. It is pulled from, so that the
// loop decides the pace: each step is a job in the pool, and its piece goes to an `Ingest`, whose refusals hold the
// next step back.

package import OCI

/// Reads chosen blobs and verifies them. May block; used by one thread at a time.
package final class BlobReader: @unchecked Sendable {
    // @unchecked: handed from job to job, never in two at once, as an ingest's writer is.

    /// What comes next.
    package enum Step: Sendable {
        case begin(Digest, sizeBytes: Int64)
        /// More of the blob that began last.
        case bytes([UInt8])
        /// The blob is whole and hashes to its digest.
        case end(Digest)
    }

    /// Bytes of one step: a piece of a size that one job may take.
    package static let stepBytes = 512 * 1024

    private let archive: ImageArchive
    private let cursor: any EntryCursor
    private var wanted: [String: Digest] = [:]
    private var current: (digest: Digest, entry: ArchiveEntry, hash: ContentHash)?
    /// The current blob's last byte was given; whether its digest is right is the next step.
    private var isAtEnd = false

    /// - Throws: `missing` when one of the blobs is not in the archive.
    package init(_ archive: ImageArchive, blobs: some Sequence<Digest>) throws(ArchiveError) {
        self.archive = archive
        cursor = try archive.place.cursor()
        for digest in blobs {
            guard let file = archive.file(digest) else {
                throw ArchiveError(archive.path, entry: EntryName.blob(digest), .missing)
            }
            wanted[file.name] = digest
        }
    }

    /// The next step; nil when all blobs were read. After an error there is none.
    package func next() throws(ArchiveError) -> Step? {
        guard let (digest, entry, hash) = current else { return try begin() }
        if !isAtEnd {
            var bytes: [UInt8] = []
            bytes.reserveCapacity(Int(min(entry.sizeBytes, Int64(BlobReader.stepBytes))))
            while bytes.count < BlobReader.stepBytes {
                guard let piece = try cursor.piece() else {
                    isAtEnd = true
                    break
                }
                bytes.append(contentsOf: piece)
            }
            bytes.withUnsafeBytes { hash.update($0) }
            if !bytes.isEmpty { return .bytes(bytes) }
        }
        current = nil
        let found = hash.digest()
        guard found == digest else {
            throw ArchiveError(archive.path, entry: entry.name, .wrongDigest(expected: digest, found: found))
        }
        return .end(digest)
    }

    private func begin() throws(ArchiveError) -> Step? {
        while !wanted.isEmpty {
            guard let entry = try cursor.next() else {
                throw ArchiveError(archive.path, entry: wanted.keys.min(), .changed)
            }
            guard entry.kind == .file, let digest = wanted.removeValue(forKey: entry.name) else { continue }
            isAtEnd = false
            current = (digest, entry, ContentHash(digest.algorithm))
            return .begin(digest, sizeBytes: entry.sizeBytes)
        }
        return nil
    }
}

extension ImageArchive {
    /// Reads blobs in one go, for callers that have a thread to themselves: `sink` gets every piece of every blob.
    package func readBlobs(
        _ blobs: some Sequence<Digest>,
        _ sink: (Digest, UnsafeRawBufferPointer) throws(ArchiveError) -> Void
    ) throws(ArchiveError) {
        let reader = try BlobReader(self, blobs: blobs)
        var current: Digest?
        while let step = try reader.next() {
            switch step {
            case .begin(let digest, _): current = digest
            case .bytes(let bytes):
                guard let current else { continue }
                let result = bytes.withUnsafeBytes { raw in
                    Result { () throws(ArchiveError) in try sink(current, raw) }
                }
                try result.get()
            case .end: current = nil
            }
        }
    }
}

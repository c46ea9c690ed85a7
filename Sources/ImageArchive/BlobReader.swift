// Reads the blobs of an archive in one pass, in the archive's order. The caller pulls each step, so that the loop
// controls the pace: each step is a job in the pool, and its piece goes to an `Ingest`, whose back-pressure delays the
// next step.

package import OCI

/// Reads chosen blobs and verifies them. May block; used by one thread at a time.
package final class BlobReader: @unchecked Sendable {
    // @unchecked: passed from job to job and never used by two at once, like an ingest's writer.

    /// One event of reading.
    package enum Step: Sendable {
        case begin(Digest, sizeBytes: Int64)
        /// More bytes of the current blob.
        case bytes([UInt8])
        /// The blob is complete and hashes to its digest.
        case end(Digest)
    }

    /// Bytes of one step, a suitable amount for one pool job.
    package static let stepBytes = 512 * 1024

    private let archive: ImageArchive
    private let cursor: any EntryCursor
    private var wanted: [String: Digest] = [:]
    private var current: (digest: Digest, entry: ArchiveEntry, hash: ContentHash)?
    /// Whether the current blob's last byte was returned; the next step checks its digest.
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

    /// The next step; nil after all blobs have been read. No step follows an error.
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
    /// Reads blobs in one call, for callers with a thread of their own: `sink` gets every piece of every blob.
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

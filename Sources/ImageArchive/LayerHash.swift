// Reads a compressed layer once for two digests: of its bytes, by which registries identify it, and of its decompressed
// content, by which the image's config does.

internal import CArchive
internal import OCI

enum LayerHash {
    struct Result: Sendable {
        /// Digest of the file's bytes.
        let digest: Digest
        fileprivate let content: [Digest]

        /// Digest of the decompressed content.
        func contentDigest(_ algorithm: Digest.Algorithm) -> Digest {
            // `read` computes one digest per algorithm, in the order of the algorithms.
            content[Int(algorithm.rawValue)]
        }
    }

    /// Reads the current entry of `cursor` to its end.
    static func read(
        _ entry: ArchiveEntry, _ cursor: any EntryCursor, of place: ArchiveContents.Place
    ) throws(ArchiveError) -> Result {
        let source = Source(cursor)
        let hashes = Digest.Algorithm.allCases.map { ContentHash($0) }
        let limit = place.limits.uncompressedBytes(of: entry.sizeBytes)
        let archive = ReadArchive()
        archive_read_support_format_raw(archive.pointer)
        archive_read_support_format_empty(archive.pointer)
        var header: OpaquePointer?
        // `source` outlives every call that may use it: its last use is below.
        let context = Unmanaged.passUnretained(source).toOpaque()
        guard archive_read_open(archive.pointer, context, nil, readMore, nil) == ARCHIVE_OK,
            archive_read_next_header(archive.pointer, &header) == ARCHIVE_OK
        else { throw source.failure ?? ArchiveError(place.path, entry: entry.name, .unreadable(archive.message)) }
        if archive.isCompressedTwice {
            throw ArchiveError(place.path, entry: entry.name, .limit("compressed more than once"))
        }
        var isOpen = true
        while isOpen {
            switch archive.block() {
            case .bytes(let bytes, _):
                if archive.uncompressedBytes > limit {
                    throw ArchiveError(
                        place.path, entry: entry.name, .limit("it decompresses to more than \(limit) bytes"))
                }
                for hash in hashes { hash.update(bytes) }
            case .end: isOpen = false
            case .failed:
                throw source.failure ?? ArchiveError(place.path, entry: entry.name, .unreadable(archive.message))
            }
        }
        // Bytes after the compressed content belong to the file and to its digest.
        while source.next() != nil {}
        if let failure = source.failure { throw failure }
        return Result(digest: source.hash.digest(), content: hashes.map { $0.digest() })
    }

    /// Passes the entry's bytes to libarchive.
    private final class Source {
        let hash = ContentHash(.sha256)
        private(set) var failure: ArchiveError?
        private let cursor: any EntryCursor

        init(_ cursor: any EntryCursor) { self.cursor = cursor }

        func next() -> UnsafeRawBufferPointer? {
            do throws(ArchiveError) {
                guard let piece = try cursor.piece() else { return nil }
                hash.update(piece)
                return piece
            } catch {
                failure = error
                return nil
            }
        }
    }

    /// Source: archive_read_callback(3): returns the number of bytes, 0 at the end, or a negative number for a failure.
    private static let readMore:
        @convention(c) (
            OpaquePointer?, UnsafeMutableRawPointer?, UnsafeMutablePointer<UnsafeRawPointer?>?
        ) -> Int = { _, context, buffer in
            guard let context, let buffer else { return -1 }
            let source = Unmanaged<Source>.fromOpaque(context).takeUnretainedValue()
            guard let piece = source.next() else { return source.failure == nil ? 0 : -1 }
            buffer.pointee = piece.baseAddress
            return piece.count
        }
}

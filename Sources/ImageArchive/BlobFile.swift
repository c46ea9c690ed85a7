// A blob's file while it is copied: read in pieces, hashed, and checked against its digest and size at the end. Errors
// name the file.

internal import Glibc
internal import OCI

final class BlobFile {
    private static let bufferBytes = 256 * 1024

    private let blob: LayoutBlob
    private let descriptor: Int32
    private let hash: ContentHash
    private var readBytes: Int64 = 0
    private let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: bufferBytes, alignment: 16)

    init(_ blob: LayoutBlob) throws(ArchiveError) {
        self.blob = blob
        hash = ContentHash(blob.digest.algorithm)
        descriptor = try FileAccess.openFile(blob.path)
    }

    deinit {
        close(descriptor)
        buffer.deallocate()
    }

    /// The next bytes, valid until the next call; nil at the end, when the digest matches.
    func piece() throws(ArchiveError) -> UnsafeRawBufferPointer? {
        let count = try FileAccess.read(descriptor, into: buffer, blob.path)
        readBytes += Int64(count)
        let isWrong = count == 0 ? readBytes != blob.sizeBytes : readBytes > blob.sizeBytes
        if isWrong { throw ArchiveError(blob.path, .wrongSize(expected: blob.sizeBytes, found: readBytes)) }
        if count > 0 {
            let piece = UnsafeRawBufferPointer(rebasing: buffer[..<count])
            hash.update(piece)
            return piece
        }
        let found = hash.digest()
        guard found == blob.digest else {
            throw ArchiveError(blob.path, .wrongDigest(expected: blob.digest, found: found))
        }
        return nil
    }
}

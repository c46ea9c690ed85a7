// One file of the store, hashed again and compared with its name, a step at a time. Off the loop.

internal import Glibc
internal import OCI

/// A file that is not what its name says.
struct ContentFault: Sendable {
    let path: String
    let reason: String
    let digest: Digest
    /// Nil for a blob.
    let type: MediaType?
    /// The file that was found wrong; nil when it could not be asked.
    let identity: InodeIdentity?
}

/// The result of a check of one file.
enum ContentVerdict: Sendable {
    case right
    case wrong(ContentFault)
    /// Not read, so neither right nor wrong.
    case unknown(StoreError)
}

/// Checks one file. Used by one thread at a time.
final class ContentCheck: @unchecked Sendable {
    // @unchecked: handed from job to job, never in two at once.

    let content: StoredContent
    private let descriptor: Int32
    private let hash: ContentHash
    private(set) var offset: Int64 = 0

    /// Opens the file.
    /// - Parameter isBackground: no client waits for the content, so that the kernel need not keep it in memory.
    /// - Throws: also when there is no regular file of that name.
    init(_ content: StoredContent, isBackground: Bool = false) throws(StoreError) {
        let path = content.path
        guard try Disk.status(at: path).isRegular else { throw .unusable(path: path, reason: "not a regular file") }
        self.content = content
        descriptor = try Disk.open(path, O_RDONLY)
        hash = ContentHash(content.digest.algorithm)
        // posix_fadvise(2): before Linux 6.3 this does nothing.
        if isBackground { posix_fadvise(descriptor, 0, 0, POSIX_FADV_NOREUSE) }
    }

    deinit { close(descriptor) }

    /// Hashes the next bytes, at most `count` of them and what the buffer holds.
    /// - Returns: nil when there is more to hash.
    func step(_ count: Int, _ buffer: UnsafeMutableRawBufferPointer) -> ContentVerdict? {
        let piece = UnsafeMutableRawBufferPointer(rebasing: buffer[..<min(max(count, 1), buffer.count)])
        let read: Int
        do throws(StoreError) {
            read = try Disk.read(descriptor, into: piece, at: offset, content.path)
        } catch {
            // A sector that cannot be read counts as wrong content.
            return error.isDamage ? .wrong(fault("cannot be read")) : .unknown(error)
        }
        hash.update(UnsafeRawBufferPointer(rebasing: UnsafeRawBufferPointer(piece)[..<read]))
        offset += Int64(read)
        guard read < piece.count else { return nil }
        let isTooLarge = content.type != nil && offset > Manifest.maximumSizeBytes
        return hash.digest() == content.digest && !isTooLarge ? .right : .wrong(fault("hash mismatch"))
    }

    private func fault(_ reason: String) -> ContentFault {
        ContentFault(
            path: content.path, reason: reason, digest: content.digest, type: content.type,
            identity: try? Disk.status(of: descriptor, content.path).identity)
    }
}

// The check of one file: it is hashed again, step by step, and compared with its name. Runs off the loop.

internal import Glibc
internal import OCI

/// A file whose content does not match its name.
struct ContentFault: Sendable {
    let path: String
    let reason: String
    let digest: Digest
    /// Nil for a blob.
    let type: MediaType?
    /// Identifies the damaged file; nil when it could not be read.
    let identity: InodeIdentity?
}

/// The result of a check of one file.
enum ContentVerdict: Sendable {
    case right
    case wrong(ContentFault)
    /// The file could not be read, so its state is unknown.
    case unknown(StoreError)
}

/// Checks one file. Only one thread may use it at a time.
final class ContentCheck: @unchecked Sendable {
    // @unchecked: passed from job to job, never used by two at once.

    let content: StoredContent
    private let descriptor: Int32
    private let hash: ContentHash
    private(set) var offset: Int64 = 0

    /// Opens the file.
    /// - Parameter isBackground: whether no client waits for the content, so the kernel need not keep it in memory.
    /// - Throws: also when the path is not a regular file.
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

    /// Hashes the next bytes, at most `count` and at most the buffer's size.
    /// - Returns: nil when there is more to hash.
    func step(_ count: Int, _ buffer: UnsafeMutableRawBufferPointer) -> ContentVerdict? {
        let piece = UnsafeMutableRawBufferPointer(rebasing: buffer[..<min(max(count, 1), buffer.count)])
        let read: Int
        do throws(StoreError) {
            read = try Disk.read(descriptor, into: piece, at: offset, content.path)
        } catch {
            // An unreadable sector counts as damaged content.
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

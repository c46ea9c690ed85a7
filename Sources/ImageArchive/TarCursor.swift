// Reads a tarball's entries by libarchive, with the checks that every use needs: a bound on the decompressed size, no
// holes, no names that lead outside the archive, and the same file in every pass.
//
// Skipped content is seeked over when the file is not compressed; otherwise it is decompressed in steps, so that a
// decompression bomb is detected early.

internal import CArchive
internal import Glibc
internal import OCI

/// The identity of a file when it was first opened. An archive is read several times, always from the same file.
struct FileIdentity: Sendable, Equatable {
    let device: UInt64
    let node: UInt64
    let sizeBytes: Int64
    let modifiedSeconds: Int64
    let modifiedNanoseconds: Int64

    init(_ status: stat) {
        device = UInt64(truncatingIfNeeded: status.st_dev)
        node = UInt64(truncatingIfNeeded: status.st_ino)
        sizeBytes = Int64(status.st_size)
        modifiedSeconds = Int64(status.st_mtim.tv_sec)
        modifiedNanoseconds = Int64(status.st_mtim.tv_nsec)
    }
}

final class TarCursor: EntryCursor {
    /// Bytes per read of libarchive: large enough for few calls, small enough for scanning headers.
    private static let blockBytes = 128 * 1024

    let identity: FileIdentity
    private let path: String
    private let limits: ArchiveLimits
    private let archive = ReadArchive()
    private let descriptor: Int32
    private let allowedBytes: Int64
    private var current: ArchiveEntry?
    private var positionBytes: Int64 = 0
    private var entries = 0

    /// Opens a regular file; with `expected`, only the file of that identity.
    init(path: String, limits: ArchiveLimits, expected: FileIdentity? = nil) throws(ArchiveError) {
        self.path = path
        self.limits = limits
        let descriptor = try FileAccess.openFile(path)
        do throws(ArchiveError) {
            identity = FileIdentity(try FileAccess.status(of: descriptor, path))
            if let expected, expected != identity { throw ArchiveError(path, .changed) }
        } catch {
            close(descriptor)
            throw error
        }
        self.descriptor = descriptor
        allowedBytes = limits.uncompressedBytes(of: identity.sizeBytes)
        archive_read_support_format_tar(archive.pointer)
        guard archive_read_open_fd(archive.pointer, descriptor, TarCursor.blockBytes) == ARCHIVE_OK else {
            throw unreadable()
        }
    }

    deinit { close(descriptor) }

    func next() throws(ArchiveError) -> ArchiveEntry? {
        // For an uncompressed file, libarchive itself seeks over the content at the next header.
        if current != nil, archive.isCompressed { while try piece() != nil {} }
        current = nil
        var header: OpaquePointer?
        switch archive_read_next_header(archive.pointer, &header) {
        case ARCHIVE_EOF: return nil
        // A warning concerns names or attributes that are unused or checked below.
        case ARCHIVE_OK, ARCHIVE_WARN: break
        default: throw unreadable()
        }
        if archive.isCompressedTwice { throw ArchiveError(path, .limit("compressed more than once")) }
        guard let header else { throw unreadable() }
        let entry = try read(header)
        entries += 1
        guard entries <= limits.entries else {
            throw ArchiveError(path, .limit("more than \(limits.entries) entries"))
        }
        current = entry
        positionBytes = 0
        return entry
    }

    func piece() throws(ArchiveError) -> UnsafeRawBufferPointer? {
        guard let current, current.kind == .file else { return nil }
        while true {
            switch archive.block() {
            case .failed: throw unreadable(current.name)
            case .end:
                guard positionBytes == current.sizeBytes else {
                    throw wrongSize(current, positionBytes)
                }
                return nil
            case .bytes(let bytes, let offset):
                try checkExpansion()
                if bytes.isEmpty { continue }
                let left = current.sizeBytes.subtractingSaturated(positionBytes)
                guard offset == positionBytes, Int64(bytes.count) <= left else {
                    throw wrongSize(current, offset.addingSaturated(Int64(bytes.count)))
                }
                positionBytes += Int64(bytes.count)
                return bytes
            }
        }
    }
}

extension TarCursor {
    private func read(_ header: OpaquePointer) throws(ArchiveError) -> ArchiveEntry {
        let raw = archive_entry_pathname(header) ?? archive_entry_pathname_utf8(header)
        guard let raw else { throw ArchiveError(path, entry: "", .badName) }
        let text = String(cString: raw)
        guard text.utf8.count <= limits.nameBytes else {
            throw ArchiveError(path, entry: text, .limit("a name longer than \(limits.nameBytes) bytes"))
        }
        guard let name = EntryName.normalized(text) else { throw ArchiveError(path, entry: text, .badName) }
        let kind = TarCursor.kind(of: header)
        if case .other(let what) = kind { throw ArchiveError(path, entry: name, .notAFile(what)) }
        let sizeBytes = kind == .file ? archive_entry_size(header) : 0
        try checkSize(name, sizeBytes)
        return ArchiveEntry(name: name, kind: kind, sizeBytes: sizeBytes)
    }

    private static func kind(of header: OpaquePointer) -> ArchiveEntry.Kind {
        // A hard link would be a second name for content elsewhere in the archive; no image tool writes one.
        if archive_entry_hardlink(header) != nil { return .other("a hard link") }
        switch archive_entry_filetype(header) {
        case S_IFREG: return archive_entry_sparse_count(header) > 0 ? .other("a sparse file") : .file
        case S_IFDIR: return .directory
        case S_IFLNK: return .link(archive_entry_symlink(header).map { String(cString: $0) } ?? "")
        case S_IFIFO: return .other("a FIFO")
        case S_IFCHR, S_IFBLK: return .other("a device")
        default: return .other("of an unknown kind")
        }
    }

    /// Refuses an impossible or excessive size at the header, before any content is read.
    private func checkSize(_ name: String, _ sizeBytes: Int64) throws(ArchiveError) {
        guard sizeBytes >= 0 else { throw ArchiveError(path, entry: name, .unreadable("a negative size")) }
        guard sizeBytes <= ContentSize.maximum else {
            throw ArchiveError(path, entry: name, .limit("a file of more than \(ContentSize.maximum) bytes"))
        }
        if archive.isCompressed {
            if sizeBytes > allowedBytes { throw tooMuch(name) }
            return try checkExpansion()
        }
        let left = identity.sizeBytes.subtractingSaturated(archive_read_header_position(archive.pointer))
        if sizeBytes > left { throw ArchiveError(path, entry: name, .unreadable("the archive is cut short in it")) }
    }

    private func checkExpansion() throws(ArchiveError) {
        if archive.isCompressed, archive.uncompressedBytes > allowedBytes { throw tooMuch(current?.name) }
    }

    private func tooMuch(_ name: String?) -> ArchiveError {
        ArchiveError(path, entry: name, .limit("it decompresses to more than \(allowedBytes) bytes"))
    }

    private func wrongSize(_ entry: ArchiveEntry, _ found: Int64) -> ArchiveError {
        ArchiveError(path, entry: entry.name, .wrongSize(expected: entry.sizeBytes, found: found))
    }

    private func unreadable(_ name: String? = nil) -> ArchiveError {
        ArchiveError(path, entry: name, .unreadable(archive.message))
    }
}

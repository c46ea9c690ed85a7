// The outputs of a layout: a directory or a tarball. Both are written under a temporary name beside the target, and are
// renamed when they are complete and on the disk.

internal import CArchive
internal import Glibc

protocol LayoutOutput: AnyObject {
    /// Starts a file of exactly this size.
    func begin(_ name: String, sizeBytes: Int64) throws(ArchiveError)
    func append(_ bytes: UnsafeRawBufferPointer) throws(ArchiveError)
    func end() throws(ArchiveError)
    /// Makes the output durable and renames it to the target.
    func finish() throws(ArchiveError)
    /// Removes the written files.
    func abandon()
}

extension LayoutOutput {
    /// Writes a whole file.
    func write(_ name: String, _ bytes: [UInt8]) throws(ArchiveError) {
        try begin(name, sizeBytes: Int64(bytes.count))
        let result = bytes.withUnsafeBytes { raw in Result { () throws(ArchiveError) in try append(raw) } }
        try result.get()
        try end()
    }
}

/// Helpers shared by both outputs.
enum LayoutTarget {
    /// The temporary name, recognizable after a crash.
    static func unfinished(_ target: String) -> String { withoutSlash(target) + ".part" }

    /// Renames the finished output to the target, unless that name exists by now, and makes the rename durable.
    static func publish(_ unfinished: String, as target: String) throws(ArchiveError) {
        if FileAccess.exists(target) { throw ArchiveError(target, .exists) }
        try FileAccess.retry("rename", target) { rename(unfinished, withoutSlash(target)) }
        let parent = withoutSlash(target).split(separator: "/", omittingEmptySubsequences: false).dropLast()
        try sync(parent.isEmpty ? "." : parent.joined(separator: "/") + "/", of: target)
    }

    /// Makes a directory's entries durable. (Some file systems have no fsync for directories and return EINVAL.)
    static func sync(_ directory: String, of target: String) throws(ArchiveError) {
        let descriptor = try FileAccess.retry("open", target) { open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC) }
        defer { close(descriptor) }
        do throws(ArchiveError) { try FileAccess.retry("fsync", target) { fsync(descriptor) } } catch {
            if error.problem != .system(call: "fsync", code: EINVAL) { throw error }
        }
    }

    private static func withoutSlash(_ path: String) -> String {
        var path = path
        while path.utf8.count > 1, path.utf8.last == 0x2F { path.removeLast() }
        return path
    }
}

/// A layout as a directory.
final class DirectoryOutput: LayoutOutput {
    private let target: String
    private let root: String
    private var current: (name: String, descriptor: Int32)?
    private var files: [String] = []
    /// Created directories, outer ones first; `""` is the root.
    private var directories: [String] = []

    init(target: String) throws(ArchiveError) {
        self.target = target
        root = LayoutTarget.unfinished(target)
        try makeDirectory("")
    }

    deinit { if let current { close(current.descriptor) } }

    func begin(_ name: String, sizeBytes: Int64) throws(ArchiveError) {
        var directory = ""
        for segment in name.split(separator: "/").dropLast() {
            directory += (directory.isEmpty ? "" : "/") + segment
            if !directories.contains(directory) { try makeDirectory(directory) }
        }
        let path = "\(root)/\(name)"
        let descriptor = try FileAccess.retry("open", target, entry: name) {
            open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0o644)
        }
        files.append(name)
        current = (name, descriptor)
    }

    func append(_ bytes: UnsafeRawBufferPointer) throws(ArchiveError) {
        guard let current else { return }
        try FileAccess.write(bytes, to: current.descriptor, target, entry: current.name)
    }

    func end() throws(ArchiveError) {
        guard let (name, descriptor) = current else { return }
        current = nil
        defer { close(descriptor) }
        try FileAccess.retry("fsync", target, entry: name) { fsync(descriptor) }
    }

    func finish() throws(ArchiveError) {
        for directory in directories.reversed() { try LayoutTarget.sync("\(root)/\(directory)", of: target) }
        try LayoutTarget.publish(root, as: target)
    }

    func abandon() {
        // Only files and directories created here are removed, so that no other file can be lost.
        for name in files { unlink("\(root)/\(name)") }
        for directory in directories.reversed() { rmdir("\(root)/\(directory)") }
    }

    private func makeDirectory(_ name: String) throws(ArchiveError) {
        try FileAccess.retry("mkdir", target, entry: name.isEmpty ? nil : name) { mkdir("\(root)/\(name)", 0o755) }
        directories.append(name)
    }
}

/// A layout as a tarball, uncompressed, since its layers are compressed already.
///
/// Source: archive_write(3), tar(5). The format is ustar, with a pax header only for what ustar cannot express: the
/// name of a sha512 digest, a blob of 8 GiB.
final class TarOutput: LayoutOutput {
    private let target: String
    private let unfinished: String
    private let descriptor: Int32
    private let archive: OpaquePointer
    private var name: String?

    init(target: String) throws(ArchiveError) {
        self.target = target
        let unfinished = LayoutTarget.unfinished(target)
        self.unfinished = unfinished
        descriptor = try FileAccess.retry("open", unfinished) {
            open(unfinished, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0o644)
        }
        // Fails only when memory runs out, which Swift does not survive elsewhere either.
        guard let archive = archive_write_new() else { preconditionFailure("archive_write_new: out of memory") }
        self.archive = archive
        archive_write_set_format_pax_restricted(archive)
        archive_write_add_filter_none(archive)
        guard archive_write_open_fd(archive, descriptor) == ARCHIVE_OK else {
            unlink(unfinished)
            throw failure()
        }
    }

    deinit {
        archive_write_free(archive)
        close(descriptor)
    }

    func begin(_ name: String, sizeBytes: Int64) throws(ArchiveError) {
        self.name = name
        // Fails only when memory runs out, as above.
        guard let entry = archive_entry_new() else { preconditionFailure("archive_entry_new: out of memory") }
        defer { archive_entry_free(entry) }
        archive_entry_set_pathname(entry, name)
        archive_entry_set_filetype(entry, Glibc.S_IFREG)
        archive_entry_set_perm(entry, 0o644)
        archive_entry_set_size(entry, sizeBytes)
        archive_entry_set_mtime(entry, 0, 0)
        archive_entry_set_uid(entry, 0)
        archive_entry_set_gid(entry, 0)
        guard archive_write_header(archive, entry) == ARCHIVE_OK else { throw failure() }
    }

    func append(_ bytes: UnsafeRawBufferPointer) throws(ArchiveError) {
        guard archive_write_data(archive, bytes.baseAddress, bytes.count) == bytes.count else { throw failure() }
    }

    func end() throws(ArchiveError) {
        guard archive_write_finish_entry(archive) == ARCHIVE_OK else { throw failure() }
        name = nil
    }

    func finish() throws(ArchiveError) {
        guard archive_write_close(archive) == ARCHIVE_OK else { throw failure() }
        try FileAccess.retry("fsync", target) { fsync(descriptor) }
        try LayoutTarget.publish(unfinished, as: target)
    }

    func abandon() {
        // Without this, freeing the archive would write the end of an incomplete archive.
        archive_write_fail(archive)
        unlink(unfinished)
    }

    private func failure() -> ArchiveError {
        let code = archive_errno(archive)
        if code == ENOSPC || code == EDQUOT || code == EIO || code == EFBIG {
            return ArchiveError(target, entry: name, .system(call: "write", code: code))
        }
        let reason = archive_error_string(archive).map { String(cString: $0) } ?? "no reason given"
        return ArchiveError(target, entry: name, .unwritable(reason))
    }
}

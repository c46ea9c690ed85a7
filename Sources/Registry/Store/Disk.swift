// The system calls of the store, with errors as values. All but `openAtOnce` may block, so they run in `Offload` jobs
// (or at start, before the loop runs). Nothing here depends on what a file contains.

internal import CLinux
internal import Glibc
internal import OCI

/// The fields of `fstat` and `lstat` that the store needs.
struct FileStatus: Sendable {
    let isRegular: Bool
    let isDirectory: Bool
    /// Limited to `ContentSize.maximum`, since a sparse file can have any size.
    let sizeBytes: Int64
    let linkCount: UInt64
    /// Since 1970, within `OutsideNumber.seconds`.
    let modifiedSeconds: Int64
    /// Permission bits, without the file type.
    let mode: mode_t
    let owner: uid_t
    let group: gid_t
    /// The file system that holds it.
    let device: UInt64
    let identity: InodeIdentity

    init(_ status: stat) {
        isRegular = status.st_mode & S_IFMT == S_IFREG
        isDirectory = status.st_mode & S_IFMT == S_IFDIR
        sizeBytes = ContentSize.nearest(status.st_size)
        linkCount = UInt64(clamping: status.st_nlink)
        modifiedSeconds = OutsideNumber.nearestSeconds(status.st_mtim.tv_sec)
        mode = status.st_mode & 0o7777
        owner = status.st_uid
        group = status.st_gid
        device = UInt64(truncatingIfNeeded: status.st_dev)
        identity = InodeIdentity(
            inode: UInt64(truncatingIfNeeded: status.st_ino), changedSeconds: Int64(status.st_ctim.tv_sec),
            changedNanoseconds: Int64(status.st_ctim.tv_nsec))
    }
}

/// Identifies an unchanged file: an inode's number alone may be used again.
struct InodeIdentity: Sendable, Equatable {
    let inode: UInt64
    let changedSeconds: Int64
    let changedNanoseconds: Int64
}

/// System calls on files and directories. Errors are thrown as `StoreError`.
enum Disk {
    /// Files are world-readable and directories world-searchable, since the content is public and operators inspect it.
    /// `GroupAccess` adds the group's permissions.
    static let fileMode: mode_t = 0o644
    static let directoryMode: mode_t = 0o755

    /// Opens a file closed on exec, without following a link in the last component or waiting for a FIFO's other end.
    static func open(_ path: String, _ flags: Int32) throws(StoreError) -> Int32 {
        try retry("open", path) {
            Glibc.open(path, flags | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY, fileMode)
        }
    }

    /// Opens a file, and creates it if it is missing.
    static func create(_ path: String, _ flags: Int32, _ group: GroupAccess) throws(StoreError) -> Int32 {
        let descriptor = try open(path, flags | O_CREAT)
        group.apply(to: descriptor, path)
        return descriptor
    }

    /// Opens a file for reading outside the pool; nil if that would block or fails. On success all directories of the
    /// path and the file's inode are in memory, so `fstat` does not block either.
    static func openAtOnce(_ path: String) -> Int32? {
        let descriptor = linux_open_cached(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY)
        return descriptor < 0 ? nil : descriptor
    }

    static func status(of descriptor: Int32, _ path: String) throws(StoreError) -> FileStatus {
        var raw = stat()
        _ = try retry("fstat", path) { fstat(descriptor, &raw) }
        return FileStatus(raw)
    }

    /// The status of the name itself: a symbolic link is not followed.
    static func status(at path: String) throws(StoreError) -> FileStatus {
        var raw = stat()
        _ = try retry("lstat", path) { lstat(path, &raw) }
        return FileStatus(raw)
    }

    /// Flushes a file's (or a directory's) data and metadata to the device.
    static func sync(_ descriptor: Int32, _ path: String) throws(StoreError) {
        _ = try retry("fsync", path) { fsync(descriptor) }
    }

    /// Makes the names in a directory durable.
    static func syncDirectory(_ path: String) throws(StoreError) {
        let descriptor = try open(path, O_RDONLY | O_DIRECTORY)
        defer { close(descriptor) }
        // Some file systems (FUSE, overlay on them) cannot fsync a directory and return EINVAL; nothing more can be
        // done there.
        do throws(StoreError) { try sync(descriptor, path) } catch {
            if case .system(_, _, EINVAL) = error { return }
            throw error
        }
    }

    static func rename(_ from: String, _ to: String) throws(StoreError) {
        _ = try retry("rename", to) { Glibc.rename(from, to) }
    }

    /// Gives a file a second name.
    static func link(_ from: String, _ to: String) throws(StoreError) {
        _ = try retry("link", to) { Glibc.link(from, to) }
    }

    /// Removes a file; a missing file is not an error.
    static func unlink(_ path: String) throws(StoreError) {
        do throws(StoreError) { _ = try retry("unlink", path) { Glibc.unlink(path) } } catch {
            if !error.isMissing { throw error }
        }
    }

    /// Makes a directory and its missing parents.
    static func makeDirectories(_ path: String, _ group: GroupAccess) throws(StoreError) {
        if try makeDirectory(path, group) { return }
        guard let slash = path.utf8.lastIndex(of: 0x2F), slash > path.startIndex else {
            throw .from(ENOENT, call: "mkdir", path: path)
        }
        try makeDirectories(String(path[..<slash]), group)
        guard try makeDirectory(path, group) else { throw .from(ENOENT, call: "mkdir", path: path) }
    }

    /// - Returns: false when the parent is missing.
    private static func makeDirectory(_ path: String, _ group: GroupAccess) throws(StoreError) -> Bool {
        if mkdir(path, directoryMode) == 0 {
            if let status = try? status(at: path) { group.apply(to: status, at: path) }
            return true
        }
        switch errno {
        case EEXIST: return true
        case ENOENT: return false
        default: throw .from(errno, call: "mkdir", path: path)
        }
    }

    /// Writes all the bytes at `offset`.
    static func write(
        _ bytes: UnsafeRawBufferPointer, to descriptor: Int32, at offset: Int64, _ path: String
    ) throws(StoreError) {
        var done = 0
        while done < bytes.count {
            let rest = UnsafeRawBufferPointer(rebasing: bytes[done...])
            let position = off_t(offset) + done
            let count = try retry("write", path) { pwrite(descriptor, rest.baseAddress, rest.count, position) }
            // A write of 0 bytes without an error would loop for ever; POSIX excludes it for files.
            guard count > 0 else { throw .system(call: "write", path: path, code: EIO) }
            done += count
        }
    }

    /// Reads up to `buffer.count` bytes at `offset`; fewer only at the end of the file.
    static func read(
        _ descriptor: Int32, into buffer: UnsafeMutableRawBufferPointer, at offset: Int64, _ path: String
    ) throws(StoreError) -> Int {
        var done = 0
        while done < buffer.count {
            let rest = UnsafeMutableRawBufferPointer(rebasing: buffer[done...])
            let position = off_t(offset) + done
            let count = try retry("read", path) { pread(descriptor, rest.baseAddress, rest.count, position) }
            if count == 0 { break }
            done += count
        }
        return done
    }

    /// fallocate(2): the file system or the kernel has no such call (EOPNOTSUPP, ENOSYS), does not know this mode
    /// (EINVAL), or a system-call filter refuses it (EPERM).
    private static let reservationRefusals: Set<Int32> = [EOPNOTSUPP, ENOSYS, EINVAL, EPERM]

    /// Reserves room for `length` bytes at `offset` without changing the file's size. The free space is checked first:
    /// ext4 would allocate all remaining blocks before it fails, and until they are freed no other program can write.
    /// Without fallocate this check is the only one, so a full disk is still refused.
    static func reserve(_ descriptor: Int32, offset: Int64, length: Int64, _ path: String) throws(StoreError) {
        guard length > 0 else { return }
        if try freeSpace(descriptor, path) < length { throw .noSpace(call: "statvfs", path: path) }
        do throws(StoreError) { _ = try retry("fallocate", path) { linux_reserve(descriptor, offset, length) } } catch {
            guard case .system(_, _, let code) = error else { throw error }
            // EFBIG: larger than any file on this file system, so there will never be room.
            if code == EFBIG { throw .noSpace(call: "fallocate", path: path) }
            guard Disk.reservationRefusals.contains(code) else { throw error }
        }
    }

    /// Bytes that an unprivileged process may still write.
    static func freeSpace(_ descriptor: Int32, _ path: String) throws(StoreError) -> Int64 {
        try space(descriptor, path).freeBytes
    }

    static func space(_ descriptor: Int32, _ path: String) throws(StoreError) -> DiskSpace {
        var raw = statvfs()
        _ = try retry("fstatvfs", path) { fstatvfs(descriptor, &raw) }
        return DiskSpace(raw)
    }

    /// Repeats a call that a signal interrupted; a negative result becomes the error.
    private static func retry<N: SignedInteger>(
        _ call: String, _ path: String, _ body: () -> N
    ) throws(StoreError) -> N {
        while true {
            let result = body()
            if result >= 0 { return result }
            let code = errno
            if code != EINTR { throw .from(code, call: call, path: path) }
        }
    }
}

extension Disk {
    static func write(_ bytes: [UInt8], to descriptor: Int32, _ path: String) throws(StoreError) {
        // withUnsafeBytes rethrows untyped errors in some toolchains: carry the result out instead.
        let result = bytes.withUnsafeBytes { raw in
            Result { () throws(StoreError) in try write(raw, to: descriptor, at: 0, path) }
        }
        try result.get()
    }

    /// Reads a small file whole, if it is a regular file of at most `maximumBytes`.
    static func readFile(_ path: String, maximumBytes: Int) throws(StoreError) -> [UInt8] {
        let descriptor = try open(path, O_RDONLY)
        defer { close(descriptor) }
        let status = try status(of: descriptor, path)
        guard status.isRegular else { throw .unusable(path: path, reason: "not a regular file") }
        guard status.sizeBytes <= maximumBytes else { throw .unusable(path: path, reason: "too large") }
        var failure: StoreError?
        let bytes = [UInt8](unsafeUninitializedCapacity: Int(status.sizeBytes)) { buffer, count in
            do throws(StoreError) {
                count = try read(descriptor, into: UnsafeMutableRawBufferPointer(buffer), at: 0, path)
            } catch {
                failure = error
            }
        }
        if let failure { throw failure }
        return bytes
    }

    /// Fsyncs a directory and its parents up to and including `root`.
    static func syncDirectories(from directory: String, upTo root: String) throws(StoreError) {
        var path = directory
        while true {
            try syncDirectory(path)
            guard path.utf8.count > root.utf8.count, let slash = path.utf8.lastIndex(of: 0x2F) else { return }
            path = String(path[..<slash])
        }
    }

    /// Names of a directory's entries.
    static func names(in directory: String) throws(StoreError) -> [String] {
        guard let stream = opendir(directory) else { throw .from(errno, call: "opendir", path: directory) }
        defer { closedir(stream) }
        var names: [String] = []
        while let name = nextName(stream) { names.append(name) }
        // readdir(3): nil means the end or an error; only an error sets errno.
        guard errno == 0 else { throw .from(errno, call: "readdir", path: directory) }
        return names
    }

    /// The next entry except `.` and `..`; nil at the end, with `errno` set if the rest cannot be read.
    static func nextName(_ stream: OpaquePointer) -> String? {
        errno = 0
        while let entry = readdir(stream) {
            let name = withUnsafePointer(to: &entry.pointee.d_name) { tuple in
                tuple.withMemoryRebound(to: CChar.self, capacity: Int(NAME_MAX) + 1) { String(cString: $0) }
            }
            if name != "." && name != ".." { return name }
            errno = 0
        }
        return nil
    }
}

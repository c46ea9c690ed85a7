// Wrappers of the system calls of this layer, with errors as values. All may block and run off the loop.

internal import Glibc

enum FileAccess {
    /// Opens a regular file for reading. O_NONBLOCK: opening a FIFO must not wait for another program.
    static func openFile(_ path: String) throws(ArchiveError) -> Int32 {
        let descriptor = try retry("open", path) { Glibc.open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY) }
        do throws(ArchiveError) {
            let status = try status(of: descriptor, path)
            guard status.st_mode & S_IFMT == S_IFREG else { throw ArchiveError(path, .notAFile(words(status))) }
            return descriptor
        } catch {
            close(descriptor)
            throw error
        }
    }

    /// Opens a name in a directory without following a link.
    static func open(_ name: String, in directory: Int32, _ flags: Int32, _ path: String) throws(ArchiveError) -> Int32
    {
        try retry("open", path, entry: name) {
            openat(directory, name, flags | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY)
        }
    }

    static func status(of descriptor: Int32, _ path: String) throws(ArchiveError) -> stat {
        var raw = stat()
        _ = try retry("fstat", path) { fstat(descriptor, &raw) }
        return raw
    }

    /// The status of a path. Links are followed, since the caller named the path.
    static func status(at path: String) throws(ArchiveError) -> stat {
        var raw = stat()
        _ = try retry("stat", path) { stat(path, &raw) }
        return raw
    }

    static func isDirectory(_ status: stat) -> Bool { status.st_mode & S_IFMT == S_IFDIR }

    /// Reads up to `buffer.count` bytes at the descriptor's position; fewer only at the end of the file.
    static func read(
        _ descriptor: Int32, into buffer: UnsafeMutableRawBufferPointer, _ path: String, entry: String? = nil
    ) throws(ArchiveError) -> Int {
        var done = 0
        while done < buffer.count {
            let rest = UnsafeMutableRawBufferPointer(rebasing: buffer[done...])
            let count = try retry("read", path, entry: entry) { Glibc.read(descriptor, rest.baseAddress, rest.count) }
            if count == 0 { break }
            done += count
        }
        return done
    }

    /// Writes all the bytes at the descriptor's position.
    static func write(
        _ bytes: UnsafeRawBufferPointer, to descriptor: Int32, _ path: String, entry: String? = nil
    ) throws(ArchiveError) {
        var done = 0
        while done < bytes.count {
            let rest = UnsafeRawBufferPointer(rebasing: bytes[done...])
            let count = try retry("write", path, entry: entry) { Glibc.write(descriptor, rest.baseAddress, rest.count) }
            // A write that returns 0 would loop for ever; POSIX excludes it for files.
            guard count > 0 else { throw ArchiveError(path, entry: entry, .system(call: "write", code: EIO)) }
            done += count
        }
    }

    /// Whether the name exists, even as a dangling link.
    static func exists(_ path: String) -> Bool {
        var raw = stat()
        return lstat(path, &raw) == 0
    }

    /// Repeats a call that a signal interrupted; throws an error for a negative result.
    @discardableResult
    static func retry<N: SignedInteger>(
        _ call: String, _ path: String, entry: String? = nil, _ body: () -> N
    ) throws(ArchiveError) -> N {
        while true {
            let result = body()
            if result >= 0 { return result }
            let code = errno
            if code != EINTR { throw ArchiveError(path, entry: entry, .system(call: call, code: code)) }
        }
    }

    /// The kind of file, as text for people.
    private static func words(_ status: stat) -> String {
        switch status.st_mode & S_IFMT {
        case S_IFDIR: "a directory"
        case S_IFIFO: "a FIFO"
        case S_IFCHR, S_IFBLK: "a device"
        case S_IFSOCK: "a socket"
        default: "of an unknown kind"
        }
    }
}

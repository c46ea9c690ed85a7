// The log's system calls: opening a file for appending, and writing a whole buffer to any kind of descriptor.

import Glibc

/// The log cannot be opened.
package struct LogFileError: Error, CustomStringConvertible {
    let path: String
    let errorNumber: Int32

    package var description: String { "\(path): \(String(cString: strerror(errorNumber)))" }
}

package enum LogFile {
    /// Writable by its owner and readable by its group: request lines show who pulls which image.
    private static let mode: mode_t = 0o640

    /// Opens a file for appending, and makes it if there is none. Blocks.
    /// - Returns: the descriptor.
    package static func open(_ path: String) throws(LogFileError) -> Int32 {
        let descriptor = Glibc.open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY, mode)
        guard descriptor >= 0 else { throw LogFileError(path: path, errorNumber: errno) }
        return descriptor
    }

    /// Why `open` would fail, found without creating the file; nil when it would not.
    package static func openingProblem(_ path: String) -> String? {
        var status = stat()
        if stat(path, &status) == 0 {
            if status.st_mode & S_IFMT == S_IFDIR { return reason(path, EISDIR) }
            return access(path, W_OK) == 0 ? nil : reason(path, errno)
        }
        guard errno == ENOENT else { return reason(path, errno) }
        let directory = path.lastIndex(of: "/").map { $0 == path.startIndex ? "/" : String(path[..<$0]) } ?? "."
        return access(directory, W_OK | X_OK) == 0 ? nil : reason(path, errno)
    }

    private static func reason(_ path: String, _ number: Int32) -> String {
        LogFileError(path: path, errorNumber: number).description
    }

    /// For messages before the log is opened or after it is closed.
    package static func writeToStandardError(_ text: String) { _ = write(Array(text.utf8), to: STDERR_FILENO) }

    /// For the output of a sub-command.
    package static func writeToStandardOutput(_ bytes: [UInt8]) { _ = write(bytes, to: STDOUT_FILENO) }

    /// Blocks until everything is written; false on an error. Another process that shares stderr may have made it
    /// non-blocking, so EAGAIN waits for room.
    static func write(_ bytes: [UInt8], to descriptor: Int32) -> Bool {
        bytes.withUnsafeBytes { buffer in
            var rest = buffer[...]
            while !rest.isEmpty {
                let count = Glibc.write(descriptor, UnsafeRawBufferPointer(rebasing: rest).baseAddress, rest.count)
                if count >= 0 {
                    rest = rest.dropFirst(count)
                } else if errno == EAGAIN {
                    var waiting = pollfd(fd: descriptor, events: Int16(POLLOUT), revents: 0)
                    poll(&waiting, 1, -1)
                } else if errno != EINTR {
                    return false
                }
            }
            return true
        }
    }
}

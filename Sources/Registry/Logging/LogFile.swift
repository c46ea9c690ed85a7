// The log's system calls: opening a file to append to, and writing all of a buffer whatever kind of descriptor it is.

import Glibc

/// The log cannot be opened.
package struct LogFileError: Error, CustomStringConvertible {
    let path: String
    let errorNumber: Int32

    package var description: String { "\(path): \(String(cString: strerror(errorNumber)))" }
}

package enum LogFile {
    /// For its owner to write and its group to read: request lines tell who pulls what.
    private static let mode: mode_t = 0o640

    static func open(_ path: String) throws(LogFileError) -> Int32 {
        let descriptor = Glibc.open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY, mode)
        guard descriptor >= 0 else { throw LogFileError(path: path, errorNumber: errno) }
        return descriptor
    }

    /// For what must be said before there is a log, or after.
    package static func writeToStandardError(_ text: String) { _ = write(Array(text.utf8), to: STDERR_FILENO) }

    /// For what a sub-command was asked for.
    package static func writeToStandardOutput(_ bytes: [UInt8]) { _ = write(bytes, to: STDOUT_FILENO) }

    /// Blocks until all is written; false on an error. stderr may have been made non-blocking by a process that shares
    /// it, so EAGAIN waits for room.
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

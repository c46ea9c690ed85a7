// Reads small files that others write, such as tokens and profiles. It blocks, so it runs in the pool (`Offload`).

internal import Glibc

/// Why a file was not read.
package struct SmallFileFailure: Error, Sendable, Equatable {
    package let isMissing: Bool
    /// The reason, without the path.
    package let reason: String
}

package enum SmallFile {
    /// The content of a regular file of at most `maximumBytes`.
    package static func read(_ path: String, atMost maximumBytes: Int) throws(SmallFileFailure) -> [UInt8] {
        // Without waiting: opening a named pipe would block until somebody writes to it.
        let descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY)
        guard descriptor >= 0 else { throw failure(errno) }
        defer { close(descriptor) }
        var status = stat()
        guard fstat(descriptor, &status) == 0 else { throw failure(errno) }
        guard status.st_mode & S_IFMT == S_IFREG else {
            throw SmallFileFailure(isMissing: false, reason: "it is not a file")
        }
        // One byte more than is accepted, to see whether the file is longer.
        var bytes = [UInt8](repeating: 0, count: maximumBytes + 1)
        var count = 0
        while count < bytes.count {
            let got = bytes.withUnsafeMutableBytes { buffer in
                Glibc.read(descriptor, buffer.baseAddress?.advanced(by: count), buffer.count - count)
            }
            if got < 0, errno == EINTR { continue }
            guard got >= 0 else { throw failure(errno) }
            if got == 0 { break }
            count += got
        }
        guard count <= maximumBytes else {
            throw SmallFileFailure(isMissing: false, reason: "it is longer than \(maximumBytes) bytes")
        }
        return Array(bytes[..<count])
    }

    private static func failure(_ number: Int32) -> SmallFileFailure {
        SmallFileFailure(isMissing: number == ENOENT || number == ENOTDIR, reason: String(cString: strerror(number)))
    }
}

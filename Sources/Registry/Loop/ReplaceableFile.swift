// Small files that others replace while this server runs, such as mounted secrets. The calls block, so they run in
// `Offload` jobs.

internal import Glibc
internal import OCI

/// Reads a file anew by its path. Links are followed: Kubernetes replaces a mounted secret by changing one.
package enum ReplaceableFile {
    /// Identifies a file's content without reading it.
    package struct Stamp: Sendable, Equatable {
        private let device: UInt64
        private let inode: UInt64
        private let bytes: Int64
        private let modified: Time
        private let changed: Time

        private struct Time: Sendable, Equatable {
            let seconds: Int64
            let nanoseconds: Int64

            init(_ time: timespec) {
                seconds = OutsideNumber.nearestSeconds(time.tv_sec)
                nanoseconds = Int64(time.tv_nsec)
            }
        }

        init(_ status: stat) {
            device = UInt64(truncatingIfNeeded: status.st_dev)
            inode = UInt64(truncatingIfNeeded: status.st_ino)
            bytes = ContentSize.nearest(status.st_size)
            modified = Time(status.st_mtim)
            changed = Time(status.st_ctim)
        }

        /// Whether a later change would change the stamp. A file's times are those of the kernel's last timer tick, so
        /// a second write may leave them as they are.
        func isSettled(nowSeconds: Int64) -> Bool { nowSeconds.subtractingSaturated(changed.seconds) > 1 }
    }

    /// Why a file was not read, without its path, which clients need not see.
    package struct Failure: Error, Equatable {
        package let reason: String
    }

    package enum Content: Sendable {
        /// It is the same as when the known stamp was made.
        case unchanged(Stamp)
        /// - Parameter stamp: nil when the file has changed so recently that its stamp says nothing.
        case new([UInt8], stamp: Stamp?)
    }

    /// - Parameter known: the stamp of a content that the caller has.
    package static func read(
        _ path: String, maximumBytes: Int, known: Stamp? = nil
    ) throws(Failure) -> Content {
        // Opening a FIFO must not wait for its other end.
        let descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY)
        guard descriptor >= 0 else { throw lastFailure() }
        defer { close(descriptor) }
        var status = stat()
        guard fstat(descriptor, &status) == 0 else { throw lastFailure() }
        guard status.st_mode & S_IFMT == S_IFREG else { throw Failure(reason: "not a regular file") }
        let stamp = Stamp(status)
        if stamp == known { return .unchanged(stamp) }
        let isSettled = stamp.isSettled(nowSeconds: EventLoop.unixSeconds)
        let bytes = try read(descriptor, maximumBytes: maximumBytes)
        return .new(bytes, stamp: isSettled ? stamp : nil)
    }

    private static func read(_ descriptor: Int32, maximumBytes: Int) throws(Failure) -> [UInt8] {
        var bytes: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: 16 * 1024)
        while true {
            let count = Glibc.read(descriptor, &chunk, chunk.count)
            if count < 0 && errno == EINTR { continue }
            guard count >= 0 else { throw lastFailure() }
            if count == 0 { return bytes }
            bytes.append(contentsOf: chunk.prefix(count))
            guard bytes.count <= maximumBytes else {
                throw Failure(reason: "larger than \(maximumBytes / 1024) KiB")
            }
        }
    }

    private static func lastFailure() -> Failure { Failure(reason: String(cString: strerror(errno))) }
}

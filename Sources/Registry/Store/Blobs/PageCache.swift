// What the kernel has of a file in memory: asked before the loop reads or sends, so that it never waits for a disk.

internal import CLinux
internal import Glibc

/// Reads of files by way of the page cache. Counts are negative where there is nothing to be had at once.
enum PageCache {
    /// What is read in at a time when a reader meets cold pages.
    static let fillBytes = 1024 * 1024
    /// What the kernel is advised will be wanted after that.
    static let readAheadBytes = 4 * fillBytes

    /// Where bytes of a file are.
    enum Residency {
        case memory
        /// On the disk, or the file system cannot tell.
        case disk
        /// The file ends before them.
        case beyondEnd
    }

    /// Looks at the first and last of `count` bytes: the bytes between are almost surely in the same place.
    static func residency(_ descriptor: Int32, _ count: Int, at position: Int64) -> Residency {
        let first = residency(descriptor, at: position)
        guard case .memory = first, count > 1 else { return first }
        return residency(descriptor, at: position + Int64(count) - 1)
    }

    /// Where one byte is. The end of the file is known without its pages.
    static func residency(_ descriptor: Int32, at position: Int64) -> Residency {
        var byte: UInt8 = 0
        let count = linux_read_cached(descriptor, &byte, 1, position)
        return count > 0 ? .memory : count == 0 ? .beyondEnd : .disk
    }

    /// Reads what is in memory, at most `count` bytes, without waiting.
    static func read(
        _ descriptor: Int32, into buffer: UnsafeMutableRawBufferPointer, _ count: Int, at position: Int64
    ) -> Int {
        linux_read_cached(descriptor, buffer.baseAddress, min(count, buffer.count), position)
    }

    /// Reads as anybody does: for what is known to be in memory.
    static func readPlainly(
        _ descriptor: Int32, into buffer: UnsafeMutableRawBufferPointer, _ count: Int, at position: Int64
    ) -> Int {
        pread(descriptor, buffer.baseAddress, min(count, buffer.count), off_t(position))
    }

    /// The result of `fill`.
    enum Filled: Sendable {
        /// So many bytes are in memory now: at most `fillBytes`, fewer before the end of the file or an error.
        case bytes(Int)
        case fault(FileFault)
    }

    /// Reads a stretch into memory. Waits for the disk: for the pool.
    /// - Parameter end: the file must be at least so long.
    static func fill(_ descriptor: Int32, from start: Int64, end: Int64) -> Filled {
        posix_fadvise(descriptor, off_t(start), off_t(readAheadBytes), POSIX_FADV_WILLNEED)
        var (total, code) = (0, Int32(0))
        withUnsafeTemporaryAllocation(byteCount: 128 * 1024, alignment: 4096) { buffer in
            while total < fillBytes {
                let count = pread(descriptor, buffer.baseAddress, buffer.count, off_t(start) + off_t(total))
                if count < 0, errno == EINTR { continue }
                if count < 0 { code = errno }
                guard count > 0 else { break }
                total += count
            }
        }
        // What came before the error is of use; the next call meets the error first.
        if total == 0, code > 0 { return .fault(.unreadable(code)) }
        var status = stat()
        guard fstat(descriptor, &status) == 0 else { return .fault(.unreadable(errno)) }
        return total == 0 || Int64(status.st_size) < end ? .fault(.tooShort) : .bytes(total)
    }
}

// The page cache: checked before the loop reads or sends a file, so that the loop never waits for a disk.

internal import CLinux
internal import Glibc

/// Reads files through the page cache. A negative count means that nothing can be read without waiting.
enum PageCache {
    /// Bytes read into memory at a time when a reader needs pages that are not there.
    static let fillBytes = 1024 * 1024
    /// Bytes after the current position that the kernel is advised to read ahead.
    static let readAheadBytes = 4 * fillBytes

    /// The location of bytes of a file.
    enum Residency {
        case memory
        /// On the disk, or unknown.
        case disk
        /// After the end of the file.
        case beyondEnd
    }

    /// The location of `count` bytes, from the first and last one: the others are almost certainly in the same place.
    static func residency(_ descriptor: Int32, _ count: Int, at position: Int64) -> Residency {
        let first = residency(descriptor, at: position)
        guard case .memory = first, count > 1 else { return first }
        return residency(descriptor, at: position + Int64(count) - 1)
    }

    /// The location of one byte. The kernel knows the end of the file without reading pages.
    static func residency(_ descriptor: Int32, at position: Int64) -> Residency {
        var byte: UInt8 = 0
        let count = linux_read_cached(descriptor, &byte, 1, position)
        return count > 0 ? .memory : count == 0 ? .beyondEnd : .disk
    }

    /// Reads at most `count` bytes from memory, without waiting.
    static func read(
        _ descriptor: Int32, into buffer: UnsafeMutableRawBufferPointer, _ count: Int, at position: Int64
    ) -> Int {
        linux_read_cached(descriptor, buffer.baseAddress, min(count, buffer.count), position)
    }

    /// Reads with a plain `pread`, for bytes that are known to be in memory.
    static func readPlainly(
        _ descriptor: Int32, into buffer: UnsafeMutableRawBufferPointer, _ count: Int, at position: Int64
    ) -> Int {
        pread(descriptor, buffer.baseAddress, min(count, buffer.count), off_t(position))
    }

    /// The result of `fill`.
    enum Filled: Sendable {
        /// This many bytes are in memory now: at most `fillBytes`, fewer before the end of the file or an error.
        case bytes(Int)
        case fault(FileFault)
    }

    /// Reads a range into memory. Waits for the disk, so it must run in the pool.
    /// - Parameter end: the minimum length that the file must have.
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
        // The bytes before an error are usable; the next call starts at the error.
        if total == 0, code > 0 { return .fault(.unreadable(code)) }
        var status = stat()
        guard fstat(descriptor, &status) == 0 else { return .fault(.unreadable(errno)) }
        return total == 0 || Int64(status.st_size) < end ? .fault(.tooShort) : .bytes(total)
    }
}

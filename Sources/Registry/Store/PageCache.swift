// What the kernel has of a file in memory: asked before the loop reads or sends, so that it never waits for a disk.

internal import CLinux
internal import Glibc

/// Reads of files by way of the page cache. Counts are negative where there is nothing to be had at once.
enum PageCache {
    /// What is read in at a time when a reader meets cold pages.
    static let fillBytes = 1024 * 1024
    /// What the kernel is told will be wanted after that.
    static let readAheadBytes = 4 * fillBytes

    /// Whether the first and last of `count` bytes are in memory, and so, almost surely, what lies between.
    static func has(_ descriptor: Int32, _ count: Int, at position: Int64) -> Bool {
        var byte: UInt8 = 0
        return linux_read_cached(descriptor, &byte, 1, position) >= 0
            && linux_read_cached(descriptor, &byte, 1, position + Int64(count) - 1) >= 0
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

    /// Reads a stretch into memory. Waits for the disk: for the pool.
    /// - Returns: the bytes read; fewer than `fillBytes` at the end of the file or when the disk fails.
    static func fill(_ descriptor: Int32, from start: Int64) -> Int {
        posix_fadvise(descriptor, off_t(start), off_t(readAheadBytes), POSIX_FADV_WILLNEED)
        var total = 0
        withUnsafeTemporaryAllocation(byteCount: 128 * 1024, alignment: 4096) { buffer in
            while total < fillBytes {
                let count = pread(descriptor, buffer.baseAddress, buffer.count, off_t(start) + off_t(total))
                guard count > 0 else { break }
                total += count
            }
        }
        return total
    }
}

// Settings of the C library's allocator, for the whole process.

internal import CLinux

/// Settings of the allocator (mallopt(3)).
package enum Heap {
    /// Blocks of at least this size are mapped individually, so that freeing one returns its memory to the system at
    /// once: buffers of pulls and of libcurl's transfers.
    static let mappedBytes: Int32 = 128 * 1024

    /// Must be called once, at the start. By default glibc raises this threshold when a large block is freed
    /// (mallopt(3), M_MMAP_THRESHOLD) and then keeps such blocks in the heap: after some pulls it stays megabytes
    /// larger.
    package static func configure() {
        linux_map_from(mappedBytes)
    }
}

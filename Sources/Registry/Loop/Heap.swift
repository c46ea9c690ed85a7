// The allocator's habits, for the whole process.

internal import CLinux

package enum Heap {
    /// Blocks from this size on are mapped each by itself, and so go back to the system as soon as they are freed:
    /// buffers of pulls, libcurl's of transfers.
    static let mappedBytes: Int32 = 128 * 1024

    /// Once, at the start. Left alone, the C library takes the first large block that is freed as a sign that more will
    /// come, and keeps such blocks in the heap from then on: after some pulls at a time it stays megabytes larger.
    package static func configure() {
        linux_map_from(mappedBytes)
    }
}

// What a store may take, and what it must keep.

package import Configuration
internal import Glibc

/// Limits of a store.
package struct StoreLimits: Sendable {
    /// Memory for manifests with their response fields, in bytes: enough for some ten thousand of the usual few
    /// kilobytes, more than a node's working set, and little compared with the size of the images.
    package var manifestMemoryBytes = 64 * 1024 * 1024
    /// Open descriptors of blob files, so that a hit opens nothing. See `defaultOpenFiles`.
    package var openFiles = StoreLimits.defaultOpenFiles
    /// Bytes of all kinds in memory that are not on disk yet: enough for twenty pulls at full speed, and little enough
    /// for a node's mirror with 256 MB. At this limit upstreams wait for the disk.
    package var backlogBytes = 64 * 1024 * 1024
    /// Memory for small blobs, in bytes: the configs of a thousand images.
    package var smallBlobBytes = 4 * 1024 * 1024
    /// Images served this recently are not removed, see `Store.leaseSeconds`.
    package var leaseSeconds = Store.leaseSeconds
    /// The size limit of the cache.
    package var budget = Budget()
    /// Whether an image must never be evicted. Called off the loop.
    package var isPinned: @Sendable (CachedImage) throws -> Bool = { _ in false }

    package init() {}

    /// An eighth of the process's descriptors (the rest is for connections), at most 1024.
    package static var defaultOpenFiles: Int {
        var limit = rlimit()
        guard getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0 else { return 128 }
        return Int(min(1024, max(16, limit.rlim_cur / 8)))
    }
}

// Back-off for evictions. In a full cache where everything is pinned or in use, an eviction scan walks the whole store
// and finds nothing to remove; it must not be repeated for every pull.

/// Decides whether an eviction could find anything to remove. Times are the loop's milliseconds.
struct EvictionBackOff {
    /// The longest time between two scans: files removed by another process and changes of the clock are not noticed
    /// otherwise.
    static let maximumMilliseconds: UInt64 = 600_000
    /// Back-off after a failed pull, which is likely to be retried soon and would protect its image again; and after a
    /// failed scan, since the next one is likely to fail too.
    static let afterFailureMilliseconds: UInt64 = 10_000

    /// Number of scans since the start that found too little.
    private(set) var inVain: UInt64 = 0
    private var endsAt: UInt64?
    /// No scan runs before this time.
    private var earliest: UInt64 = 0
    /// Whether an image stayed only because one of its blobs was being pulled.
    private var awaitsPulls = false

    /// Converts seconds to milliseconds, with a limit: times from a file or a clock can have any value.
    static func milliseconds(_ seconds: Int64) -> UInt64 {
        min(UInt64(clamping: seconds), maximumMilliseconds / 1000 + 1) * 1000
    }

    /// Whether a scan would find nothing.
    func isActive(now: UInt64) -> Bool { endsAt.map { now < $0 } ?? false }

    /// Records that a scan found less than was wanted, and that everything it found was removed.
    /// - Parameters:
    ///   - startedAt: when the scan began. The next one waits for as long as this one took, so that scans use at most
    ///     half of a thread's time, however large the store is.
    ///   - leaseEndsAt: when the first lease of the images in use ends; nil when none was in use.
    ///   - awaitsPulls: whether an image stayed only because one of its blobs was being pulled.
    mutating func begin(now: UInt64, startedAt: UInt64, leaseEndsAt: UInt64?, awaitsPulls: Bool) {
        inVain &+= 1
        earliest = now &+ (now &- min(startedAt, now))
        endsAt = max(earliest, min(leaseEndsAt ?? .max, now &+ EvictionBackOff.maximumMilliseconds))
        self.awaitsPulls = awaitsPulls
    }

    /// Records that content may become removable after this time.
    mutating func mayLeave(inMilliseconds: UInt64, now: UInt64) {
        guard let end = endsAt else { return }
        endsAt = min(end, max(earliest, now &+ min(inMilliseconds, EvictionBackOff.maximumMilliseconds)))
    }

    /// Records that a pull has ended, with or without its blob.
    mutating func pullEnded(isStored: Bool, now: UInt64) {
        guard awaitsPulls else { return }
        mayLeave(inMilliseconds: isStored ? 0 : EvictionBackOff.afterFailureMilliseconds, now: now)
    }

    /// Ends the back-off: images were removed, so content that they used may be removable now.
    mutating func end() { endsAt = nil }
}

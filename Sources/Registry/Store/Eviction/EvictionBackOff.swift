// In a full cache where everything is pinned or in use, an eviction (a "look" below) walks the whole store and finds
// nothing to remove. It is then not repeated for every pull.

/// Decides whether an eviction could find anything to remove. Times are the loop's, in milliseconds.
struct EvictionBackOff {
    /// The longest time between two looks: neither files that another process removes nor a clock that is set are
    /// noticed here.
    static let maximumMilliseconds: UInt64 = 600_000
    /// After a failed pull, which is likely to be tried again soon and would keep its image from leaving again; and
    /// after a look that failed, since the next is likely to fail as well.
    static let afterFailureMilliseconds: UInt64 = 10_000

    /// Looks that found too little, since the start.
    private(set) var inVain: UInt64 = 0
    private var endsAt: UInt64?
    /// No look before this time.
    private var earliest: UInt64 = 0
    /// Whether an image has stayed only because a blob of it was being pulled.
    private var awaitsPulls = false

    /// Seconds in milliseconds, as far as they matter here: times can be anything that a file or a clock says.
    static func milliseconds(_ seconds: Int64) -> UInt64 {
        min(UInt64(clamping: seconds), maximumMilliseconds / 1000 + 1) * 1000
    }

    /// Whether a look would find nothing.
    func isActive(now: UInt64) -> Bool { endsAt.map { now < $0 } ?? false }

    /// A look has found less than was wanted, and all that it found has been removed.
    /// - Parameters:
    ///   - startedAt: when it began. The next one waits for as long as it took, so that at most half of a thread's time
    ///     goes into looks, however large the store is.
    ///   - leaseEndsAt: when the first lease ends of what was in use; nil when nothing was.
    ///   - awaitsPulls: whether something has stayed only because a blob of it was being pulled.
    mutating func begin(now: UInt64, startedAt: UInt64, leaseEndsAt: UInt64?, awaitsPulls: Bool) {
        inVain &+= 1
        earliest = now &+ (now &- min(startedAt, now))
        endsAt = max(earliest, min(leaseEndsAt ?? .max, now &+ EvictionBackOff.maximumMilliseconds))
        self.awaitsPulls = awaitsPulls
    }

    /// Something may be removed after so long.
    mutating func mayLeave(inMilliseconds: UInt64, now: UInt64) {
        guard let end = endsAt else { return }
        endsAt = min(end, max(earliest, now &+ min(inMilliseconds, EvictionBackOff.maximumMilliseconds)))
    }

    /// A pull has ended, with or without its blob.
    mutating func pullEnded(isStored: Bool, now: UInt64) {
        guard awaitsPulls else { return }
        mayLeave(inMilliseconds: isStored ? 0 : EvictionBackOff.afterFailureMilliseconds, now: now)
    }

    /// The next look may succeed: images have been removed, and their content may be removed now.
    mutating func end() { endsAt = nil }
}

// The back-off after a 429 or refused credentials (401): pauses of 1, 2, 4 … 60 s, each followed by one try.

/// A pause that doubles each time the try after it is refused. Times are the loop's milliseconds.
struct DoublingPause: Sendable {
    /// Rate limits per second have room again after this time, and a client hardly notices it.
    static let firstMilliseconds: UInt64 = 1_000
    /// Quotas are counted per minute, and accounts are locked after a few failures per minute.
    static let maximumMilliseconds: UInt64 = 60_000
    /// After this time without an outcome another try may be made, since a response may never come.
    static let tryMilliseconds: UInt64 = 1_000
    /// A pause that ended this long ago no longer counts, and the next one begins at the first step.
    static let memoryMilliseconds: UInt64 = 60_000

    private(set) var startMilliseconds: UInt64
    private(set) var endMilliseconds: UInt64
    /// The length that this server chose; 0 while every pause had a length named by the upstream.
    private var ownMilliseconds: UInt64 = 0
    private var triedMilliseconds: UInt64?

    /// Begins a pause.
    /// - Parameters:
    ///   - previous: the pause before it; nil if there was none that still counts.
    ///   - namedMilliseconds: the length that the upstream named; nil if it named none.
    init(after previous: DoublingPause?, namedMilliseconds: UInt64? = nil, now: UInt64) {
        let last = previous?.ownMilliseconds ?? 0
        ownMilliseconds = last
        if namedMilliseconds == nil {
            ownMilliseconds =
                last == 0 ? DoublingPause.firstMilliseconds : min(last * 2, DoublingPause.maximumMilliseconds)
        }
        startMilliseconds = now
        endMilliseconds = now + (namedMilliseconds ?? ownMilliseconds)
    }

    /// Extends the pause to `milliseconds`, if it would end earlier.
    mutating func extend(to milliseconds: UInt64) { endMilliseconds = max(endMilliseconds, milliseconds) }

    func isOver(now: UInt64) -> Bool { now >= endMilliseconds }

    /// Whether it ended so long ago that it no longer counts.
    func isForgotten(now: UInt64) -> Bool { now >= endMilliseconds + DoublingPause.memoryMilliseconds }

    /// When the next try may be made: at the end of the pause, then one at a time.
    var nextTryMilliseconds: UInt64 {
        max(endMilliseconds, triedMilliseconds.map { $0 + DoublingPause.tryMilliseconds } ?? 0)
    }

    /// Takes the next try; false when none may be made now.
    mutating func takeTry(now: UInt64) -> Bool {
        guard now >= nextTryMilliseconds else { return false }
        triedMilliseconds = now
        return true
    }
}

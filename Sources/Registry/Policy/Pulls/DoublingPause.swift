// The back-off after a refusal, of requests (429) or of credentials (401): 1, 2, 4 … 60 s, and one try when it is over.

/// A pause that doubles each time the try after it is refused as well. Times are the loop's milliseconds.
struct DoublingPause: Sendable {
    /// Limits by the second have room again after this, and a client hardly notices it.
    static let firstMilliseconds: UInt64 = 1_000
    /// Quotas are counted in minutes, and accounts are locked after a few failures in a minute.
    static let maximumMilliseconds: UInt64 = 60_000
    /// A try whose outcome is not known after this is followed by another one: its answer may never come.
    static let tryMilliseconds: UInt64 = 1_000
    /// A pause that ended this long ago says nothing any more, and the next one begins at the first step.
    static let memoryMilliseconds: UInt64 = 60_000

    private(set) var startMilliseconds: UInt64
    private(set) var endMilliseconds: UInt64
    /// The length by this server's own count; 0 before the first that it chose itself.
    private var ownMilliseconds: UInt64 = 0
    private var triedMilliseconds: UInt64?

    /// Begins a pause.
    /// - Parameters:
    ///   - previous: the pause before it; nil where there was none, or none that still counts.
    ///   - namedMilliseconds: how long it has to be, where the upstream has named a time.
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

    /// Makes it last until `milliseconds`, if it would end before.
    mutating func extend(to milliseconds: UInt64) { endMilliseconds = max(endMilliseconds, milliseconds) }

    func isOver(now: UInt64) -> Bool { now >= endMilliseconds }

    /// Whether it ended so long ago that it says nothing any more.
    func isForgotten(now: UInt64) -> Bool { now >= endMilliseconds + DoublingPause.memoryMilliseconds }

    /// When the next try may be made: at its end, and then one at a time.
    var nextTryMilliseconds: UInt64 {
        max(endMilliseconds, triedMilliseconds.map { $0 + DoublingPause.tryMilliseconds } ?? 0)
    }

    /// Takes the try that may be made now; false where none may.
    mutating func takeTry(now: UInt64) -> Bool {
        guard now >= nextTryMilliseconds else { return false }
        triedMilliseconds = now
        return true
    }
}

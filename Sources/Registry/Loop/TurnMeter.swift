// How long the loop works at a time, and the clock that requests are timed by.

internal import CLibuv

/// Measures each iteration of a loop: from the end of a wait to the next wait.
final class TurnMeter {
    private(set) var turns = HistogramTable(.turns)
    /// Time spent waiting for events.
    private(set) var idleNanoseconds: UInt64 = 0
    /// When somebody last looked at the clock; in a turn, not before the turn began.
    private(set) var recentNanoseconds = uv_hrtime()
    private var wokeNanoseconds: UInt64
    private var sleptNanoseconds: UInt64 = 0

    init() { wokeNanoseconds = recentNanoseconds }

    /// The loop is about to wait for events.
    func sleep() {
        let now = read()
        turns.observe(now &- wokeNanoseconds)
        sleptNanoseconds = now
    }

    /// The wait has ended.
    /// - Returns: when.
    func wake() -> UInt64 {
        wokeNanoseconds = read()
        idleNanoseconds &+= wokeNanoseconds &- sleptNanoseconds
        return wokeNanoseconds
    }

    /// Looks at the clock.
    func read() -> UInt64 {
        recentNanoseconds = uv_hrtime()
        return recentNanoseconds
    }
}

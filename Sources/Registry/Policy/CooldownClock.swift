// The clock by which the waits of `cooldown` end. The system's clock can be set, lost with a battery, or corrected by
// NTP: none of that may shorten a wait while the server runs.

internal import OCI

/// The present for waits. It never goes back. When the system's clock is set forward, what waits is moved with it.
package struct CooldownClock: Sendable {
    /// Both clocks at one moment, in seconds.
    package struct Reading: Sendable {
        /// Since 1970.
        package var wallSeconds: Int64
        /// From any start; counts the time in which the machine is suspended (CLOCK_BOOTTIME, clock_gettime(2)).
        package var monotonicSeconds: Int64

        package init(wallSeconds: Int64, monotonicSeconds: Int64) {
            self.wallSeconds = wallSeconds
            self.monotonicSeconds = monotonicSeconds
        }
    }

    /// 2026-01-01: a clock before it has been lost.
    package static let earliestSeconds: Int64 = 1_767_225_600
    /// Corrections of this size are normal: they are not followed, and entries may be ahead of the present by it.
    static let slackSeconds: Int64 = 60
    /// What the two clocks may drift apart in `driftPeriodSeconds`: more than a crystal does.
    static let driftSeconds: Int64 = 5
    static let driftPeriodSeconds: Int64 = 3600

    private var anchor: Reading
    private var adjustedSeconds: Int64
    /// The latest present so far, also of earlier processes.
    package private(set) var reachedSeconds: Int64

    /// - Parameter reachedSeconds: what an earlier process had reached; 0 for none.
    package init(_ start: Reading, reachedSeconds: Int64) {
        anchor = start
        adjustedSeconds = start.monotonicSeconds
        self.reachedSeconds = reachedSeconds
    }

    /// Follows the system's clock.
    /// - Returns: the seconds by which it has been set forward. They have to be added to the times of all entries that
    ///   wait: if it was behind before, these are too early, and otherwise the waits would end too early.
    package mutating func follow(_ reading: Reading) -> Int64 {
        let ahead = reading.wallSeconds.subtractingSaturated(continued(reading))
        guard ahead > 0, reading.wallSeconds >= CooldownClock.earliestSeconds else { return 0 }
        let isDrift =
            ahead <= CooldownClock.driftSeconds
            && reading.monotonicSeconds.subtractingSaturated(adjustedSeconds) >= CooldownClock.driftPeriodSeconds
        guard isDrift || ahead > CooldownClock.slackSeconds else { return 0 }
        anchor.wallSeconds = anchor.wallSeconds.addingSaturated(ahead)
        guard !isDrift else {
            adjustedSeconds = reading.monotonicSeconds
            return 0
        }
        // While the clock was behind what had been reached, waits stood still there, and new entries got that time.
        return min(ahead, max(0, reading.wallSeconds.subtractingSaturated(reachedSeconds)))
    }

    /// The present for waits, in seconds since 1970.
    /// - Parameter newestSeconds: the newest entry of the ledger. While the clock is behind it, no wait ends.
    package mutating func present(_ reading: Reading, newestSeconds: Int64) -> Int64 {
        if !isBehind(reading, newestSeconds: newestSeconds) {
            reachedSeconds = max(reachedSeconds, min(reading.wallSeconds, continued(reading)))
        }
        return reachedSeconds
    }

    /// Whether the system's clock has been lost, or is behind the newest entry of the ledger, so that no wait ends.
    package func isBehind(_ reading: Reading, newestSeconds: Int64) -> Bool {
        let present = min(reading.wallSeconds, continued(reading))
        return reading.wallSeconds < CooldownClock.earliestSeconds
            || present.addingSaturated(CooldownClock.slackSeconds) < newestSeconds
    }

    /// The time for a new entry; nil while the clock has been lost, since the entry would be too old once it is right.
    package func stamp(_ reading: Reading) -> Int64? {
        guard reading.wallSeconds >= CooldownClock.earliestSeconds else { return nil }
        return max(reading.wallSeconds, continued(reading), reachedSeconds)
    }

    /// The wall time if the clock had not been set since the start, or since the last change that was followed.
    private func continued(_ reading: Reading) -> Int64 {
        let passed = max(0, reading.monotonicSeconds.subtractingSaturated(anchor.monotonicSeconds))
        return anchor.wallSeconds.addingSaturated(passed)
    }
}

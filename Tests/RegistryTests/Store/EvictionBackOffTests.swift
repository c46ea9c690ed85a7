// When a full cache is looked through again for something to remove.

import TestSupport
import Testing

@testable import Registry

@Suite struct EvictionBackOffTests {
    private func backOff(leaseEndsAt: UInt64? = nil, awaitsPulls: Bool = false) -> EvictionBackOff {
        var backOff = EvictionBackOff()
        backOff.begin(now: 1000, startedAt: 900, leaseEndsAt: leaseEndsAt, awaitsPulls: awaitsPulls)
        return backOff
    }

    /// The first time at which it is worth looking.
    private func end(_ backOff: EvictionBackOff) -> UInt64? {
        let times: [UInt64] = [0, 999, 1000, 1099, 1100, 1101, 2000, 5000, 11_000, 61_000, 600_999, 601_000]
        return times.first { !backOff.isActive(now: $0) }
    }

    @Test("there is no back-off before an eviction has found too little") func inactive() {
        #expect(end(EvictionBackOff()) == 0)
    }

    @Test("the back-off lasts until the first lease ends, at most ten minutes") func lease() {
        #expect(end(backOff()) == 601_000)
        #expect(end(backOff(leaseEndsAt: 5000)) == 5000)
        #expect(end(backOff(leaseEndsAt: .max)) == 601_000)
        #expect(backOff().inVain == 1)
    }

    @Test("the next eviction waits at least as long as the last one took") func pause() {
        #expect(end(backOff(leaseEndsAt: 1001)) == 1100)
        var backOff = backOff()
        backOff.mayLeave(inMilliseconds: 0, now: 1001)
        #expect(end(backOff) == 1100)
    }

    @Test("new content may be evicted when its lease ends, and never extends the back-off") func stored() {
        var backOff = backOff(leaseEndsAt: 61_000)
        backOff.mayLeave(inMilliseconds: 500_000, now: 2000)
        #expect(end(backOff) == 61_000)
        backOff.mayLeave(inMilliseconds: 3000, now: 2000)
        #expect(end(backOff) == 5000)
        backOff.mayLeave(inMilliseconds: .max, now: .max)
        #expect(end(backOff) == 5000)
    }

    @Test("the end of a pull ends the back-off only if that pull kept something from eviction") func pulls() {
        var idle = backOff()
        idle.pullEnded(isStored: true, now: 2000)
        #expect(end(idle) == 601_000)
        var stored = backOff(awaitsPulls: true)
        stored.pullEnded(isStored: true, now: 2000)
        #expect(end(stored) == 2000)
        var failed = backOff(awaitsPulls: true)
        failed.pullEnded(isStored: false, now: 1000)
        #expect(end(failed) == 11_000, "it is likely to be tried again at once")
    }

    @Test("a prune ends the back-off") func prune() {
        var backOff = backOff()
        backOff.end()
        #expect(end(backOff) == 0 && backOff.inVain == 1)
        backOff.mayLeave(inMilliseconds: 5000, now: 2000)
        #expect(end(backOff) == 0)
    }

    @Test(
        "seconds of any size become milliseconds within ten minutes",
        arguments: [
            (0, 0), (-5, 0), (Int64.min, 0), (7, 7000), (600, 600_000), (601, 601_000), (Int64.max, 601_000),
        ] as [(Int64, UInt64)])
    func seconds(_ row: (Int64, UInt64)) {
        #expect(EvictionBackOff.milliseconds(row.0) == row.1)
    }
}

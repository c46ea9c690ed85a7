// The slots for requests to one upstream.

import TestSupport
import Testing

@testable import Registry

@Suite struct ConnectionSlotsTests {
    typealias Slots = ConnectionSlots<String, Int>

    @Test("a request above the limit waits until another ends, and short ones come first") func order() {
        var slots = Slots()
        let first = (0..<6).map { slots.enter($0, of: "a", isLong: $0 < 4, limit: 2) }
        #expect(first == [true, true, false, false, false, false])
        #expect(!slots.hasRoom(at: "a", limit: 2))
        let again = slots.enter(0, of: "a", isLong: true, limit: 2)
        #expect(again, "a request that has a slot keeps it")
        let other = slots.enter(7, of: "b", isLong: true, limit: 2)
        #expect(other, "other hosts have their own")
        // 3 is a request that waits, which leaves the queue.
        let next = [0, 4, 1, 3, 2].map { slots.leave($0, of: "a", limit: 2) }
        #expect(next == [4, 5, 2, nil, nil])
        #expect(slots.hasRoom(at: "a", limit: 2))
        let rest = [2, 5].map { slots.leave($0, of: "a", limit: 2) }
        #expect(rest == [nil, nil])
        let last = slots.enter(9, of: "a", isLong: false, limit: 1)
        #expect(last)
    }

    @Test("a raised limit lets waiting requests start, and a lowered one holds them back") func changedLimit() {
        var slots = Slots()
        let first = (0..<6).map { slots.enter($0, of: "a", isLong: $0 != 5, limit: 1) }
        #expect(first == [true, false, false, false, false, false])
        let raised = slots.startable { $0 == "a" ? 3 : nil }
        #expect(raised == [5, 1])
        let unchanged = slots.startable { _ in 3 }
        #expect(unchanged == [])
        let lowered = [0, 5, 1].map { slots.leave($0, of: "a", limit: 1) }
        #expect(lowered == [nil, nil, 2])
        let all = slots.startable { _ in nil }
        #expect(all == [3, 4])
    }

    @Test("without a limit every request starts, and ends without a trace") func unlimited() {
        var slots = Slots()
        let started = (0..<1000).filter { slots.enter($0, of: "a", isLong: true, limit: nil) }
        #expect(started.count == 1000)
        #expect(slots.hasRoom(at: "a", limit: nil) && slots.hasRoom(at: "a", limit: 1))
        let next = slots.leave(5, of: "a", limit: nil)
        #expect(next == nil)
    }

    @Test("random requests never exceed the limit, and none is left waiting while a slot is free")
    func randomRequests() {
        for seed in [1, 2, 3] as [UInt64] {
            var random = SeededRandom(seed: seed)
            var slots = Slots()
            var running: Set<Int> = []
            var waiting: Set<Int> = []
            let limit = 3
            for key in 0..<500 {
                if Bool.random(using: &random), let some = running.union(waiting).sorted().randomElement(using: &random)
                {
                    running.remove(some)
                    waiting.remove(some)
                    if let next = slots.leave(some, of: "a", limit: limit) {
                        #expect(waiting.remove(next) != nil, "seed \(seed)")
                        running.insert(next)
                    }
                } else if slots.enter(key, of: "a", isLong: Bool.random(using: &random), limit: limit) {
                    running.insert(key)
                } else {
                    waiting.insert(key)
                }
                #expect(running.count <= limit && (waiting.isEmpty || running.count == limit), "seed \(seed)")
            }
        }
    }
}

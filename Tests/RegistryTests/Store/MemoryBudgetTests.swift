// The memory between upstreams and the disk: its shares, and the order in which it is given.

import TestSupport
import Testing

@testable import OCI
@testable import Registry

@Suite struct MemoryBudgetTests {
    private static let first = MemoryBudget.firstBytes
    private let run: LoopRun
    private let hosts = (0..<8).map { RegistryHost("h\($0).test")! }  // valid hosts

    init() throws { run = try LoopRun() }

    private func budget(firsts: Int) -> MemoryBudget { MemoryBudget(on: run.loop, limitBytes: firsts * Self.first) }

    /// Lets what was put off happen.
    private func turn() {
        run.loop.deferred.enqueue { run.finish() }
        run.run()
    }

    @Test("fetches begin in order of arrival, within a quarter of the memory") func inOrder() {
        let budget = budget(firsts: 12)
        var holds = (0..<6).map { MemoryHold(of: budget, for: hosts[$0]) }
        var granted: [Int] = []
        for (number, hold) in holds.enumerated() { hold.begin { granted.append(number) } }
        #expect(granted == [0, 1, 2] && budget.heldBytes == 3 * Self.first)
        #expect(!budget.isFull, "waiting for a share does not delay others")
        holds[1].release()
        #expect(granted == [0, 1, 2], "not from within a release")
        turn()
        #expect(granted == [0, 1, 2, 3])
        holds.removeAll()
        turn()
        #expect(granted == [0, 1, 2, 3] && budget.heldBytes == 0)
        run.close()
    }

    @Test("sources and fetches that wait for memory are served in order") func sources() {
        let budget = budget(firsts: 4)
        budget.hold(4 * Self.first)
        var served: [String] = []
        let manifest = MemoryHold(of: budget, for: hosts[0])
        #expect(budget.whenRoom { served.append("blob") } != nil)
        manifest.begin { served.append("manifest") }
        let gone = budget.whenRoom { served.append("never") }
        if let gone { budget.cancel(gone) }
        #expect(budget.whenRoom { served.append("another blob") } != nil)
        budget.release(1)
        turn()
        #expect(served == ["blob"], "the manifest has no room yet, and is not overtaken")
        budget.release(Self.first - 1)
        turn()
        #expect(served == ["blob", "manifest"], "the manifest has taken what there was")
        budget.release(Self.first)
        turn()
        #expect(served == ["blob", "manifest", "another blob"] && !budget.isFull)
        manifest.release()
        run.close()
    }

    /// A quarter for one upstream, half for all: what is left is the disk's.
    @Test("slow upstreams leave half of the memory to others") func shares() {
        let budget = budget(firsts: 64)
        var holds: [MemoryHold] = []
        var granted: [Int] = []
        func gather(_ host: Int) {
            let (hold, number) = (MemoryHold(of: budget, for: hosts[host]), holds.count)
            holds.append(hold)
            hold.begin { hold.grow(to: 9 * Self.first) { granted.append(number) } }
        }
        for host in [0, 0, 0, 1, 1, 2, 3] { gather(host) }
        #expect(granted == [0, 1, 3, 4], "two large ones of an upstream, four in all")
        #expect(!budget.isFull, "waiting for a share does not delay others")
        #expect(budget.heldBytes == (7 + 4 * 8) * Self.first)
        holds[3].shrink(to: 2 * Self.first)
        turn()
        #expect(granted == [0, 1, 3, 4], "a part of one is not enough")
        holds[3].release()
        turn()
        #expect(granted == [0, 1, 3, 4, 5], "the first upstream still has its share")
        holds[0].release()
        turn()
        #expect(granted == [0, 1, 3, 4, 5, 2])
        holds.removeAll()
        #expect(budget.heldBytes == 0)
        run.close()
    }

    @Test("a response larger than the whole memory is fetched alone") func larger() {
        let budget = budget(firsts: 2)
        let hold = MemoryHold(of: budget, for: hosts[0])
        var isGranted = false
        hold.begin { hold.grow(to: 100 * Self.first) { isGranted = true } }
        #expect(isGranted && budget.isFull && hold.bytes == 100 * Self.first)
        hold.release()
        #expect(budget.heldBytes == 0)
        run.close()
    }

    @Test("the number of waiting fetches is bounded") func places() {
        let budget = budget(firsts: 1)
        budget.hold(budget.limitBytes)
        var holds: [MemoryHold] = []
        while budget.hasPlace, holds.count < 10_000 {
            holds.append(MemoryHold(of: budget, for: hosts[0]))
            holds[holds.count - 1].begin {}
        }
        #expect(holds.count == MemoryBudget.maximumWaitingFetches)
        holds.removeLast()
        #expect(budget.hasPlace)
        holds.removeAll()
        run.close()
    }

    @Test("in random sequences the limit holds and every request is served", arguments: 1...20)
    func random(seed: UInt64) {
        var random = SeededRandom(seed: seed)
        let budget = budget(firsts: 64)
        var running: [MemoryHold] = []
        var waiting = 0
        for _ in 0..<400 {
            let hold = MemoryHold(of: budget, for: hosts[Int(random.next() % 8)])
            let bytes = Int(random.next() % UInt64(12 * Self.first))
            waiting += 1
            hold.begin {
                hold.grow(to: bytes) {
                    running.append(hold)
                    waiting -= 1
                }
            }
            // The disk's: never more than it may take.
            let written = Int(random.next() % UInt64(4 * Self.first))
            if !budget.isFull, budget.heldBytes + written <= budget.limitBytes {
                budget.hold(written)
                run.loop.deferred.enqueue { budget.release(written) }
            }
            #expect(budget.heldBytes <= budget.limitBytes)
            if random.next() % 3 == 0, !running.isEmpty {
                running.remove(at: Int(random.next() % UInt64(running.count))).shrink(to: 1)
                turn()
            }
        }
        for _ in 0..<2000 where waiting > 0 || !running.isEmpty {
            #expect(budget.heldBytes <= budget.limitBytes)
            if !running.isEmpty { running.removeFirst().release() }
            turn()
        }
        #expect(waiting == 0 && budget.heldBytes == 0, "seed \(seed)")
        run.close()
    }
}

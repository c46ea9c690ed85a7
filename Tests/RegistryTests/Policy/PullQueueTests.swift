import TestSupport
import Testing

@testable import OCI
@testable import Registry

@Suite struct PullQueueTests {
    static func host(_ name: String) throws -> RegistryHost { try #require(RegistryHost(name)) }

    @Test("client pulls start before prefetches, which have a small share per host") func clientsFirst() throws {
        var queue = PullQueue<Int>()
        let host = try Self.host("a.example")
        for key in 0..<10 { #expect(queue.add(key, host: host, demand: .prefetch) == true) }
        #expect(queue.add(100, host: host, demand: .client) == true)
        #expect(queue.startable(now: 0) == [100] + Array(0..<PullQueue<Int>.maximumPrefetchPerHost))
        #expect(queue.startable(now: 0).isEmpty)
        queue.remove(0)
        #expect(queue.startable(now: 0) == [PullQueue<Int>.maximumPrefetchPerHost])
    }

    @Test("a waiting prefetch is promoted when a client requests it") func promotedWaiting() throws {
        var queue = PullQueue<Int>()
        let host = try Self.host("a.example")
        for key in 0..<10 { _ = queue.add(key, host: host, demand: .prefetch) }
        _ = queue.startable(now: 0)
        _ = queue.add(9, host: host, demand: .client)
        #expect(queue.startable(now: 0) == [9])
        // And it no longer takes a place among those ahead.
        queue.remove(0)
        #expect(queue.startable(now: 0) == [4])
    }

    @Test("a running prefetch that is promoted frees its prefetch place") func promotedRunning() throws {
        var queue = PullQueue<Int>()
        let host = try Self.host("a.example")
        for key in 0..<6 { _ = queue.add(key, host: host, demand: .prefetch) }
        #expect(queue.startable(now: 0) == [0, 1, 2, 3])
        _ = queue.add(0, host: host, demand: .client)
        #expect(queue.startable(now: 0) == [4])
    }

    @Test("one host cannot use up all places") func hostShare() throws {
        var queue = PullQueue<Int>()
        let slow = try Self.host("slow.example")
        let other = try Self.host("other.example")
        for key in 0..<500 { _ = queue.add(key, host: slow, demand: .client) }
        _ = queue.add(1000, host: other, demand: .client)
        let started = queue.startable(now: 0)
        #expect(started.count == PullQueue<Int>.maximumForClientsPerHost + 1)
        #expect(started[1] == 1000, "hosts take turns")
        queue.remove(0)
        #expect(queue.startable(now: 0) == [PullQueue<Int>.maximumForClientsPerHost])
    }

    @Test("prefetches are bounded apart from client pulls") func prefetchLimit() throws {
        var queue = PullQueue<Int>()
        let host = try Self.host("a.example")
        var taken = 0
        for key in 0..<10_000 where queue.add(key, host: host, demand: .prefetch) { taken += 1 }
        #expect(taken == PullQueue<Int>.maximumPrefetchEntries)
        let isTaken = queue.add(10_000, host: host, demand: .client)
        #expect(isTaken)
        // Promoted or ended, it leaves room for another.
        _ = queue.add(0, host: host, demand: .client)
        queue.remove(1)
        let more = (20_000..<20_003).map { queue.add($0, host: host, demand: .prefetch) }
        #expect(more == [true, true, false])
    }

    @Test("client pulls beyond the queue's limit are refused") func fullQueue() throws {
        var queue = PullQueue<Int>()
        let host = try Self.host("a.example")
        let limit = PullQueue<Int>.maximumWaiting + PullQueue<Int>.maximumForClients
        for key in 0..<limit { #expect(queue.add(key, host: host, demand: .client) == true) }
        #expect(queue.add(limit, host: host, demand: .client) == false)
        queue.remove(limit - 1)
        #expect(queue.add(limit, host: host, demand: .client) == true)
    }

    @Test("hosts take turns, each in the order of its own pulls")
    func hostsTakeTurns() throws {
        var queue = PullQueue<Int>()
        for (number, name) in ["a.example", "b.example", "c.example"].enumerated() {
            let host = try Self.host(name)
            for key in 0..<3 { _ = queue.add(number * 10 + key, host: host, demand: .client) }
        }
        #expect(queue.startable(now: 0) == [0, 10, 20, 1, 11, 21, 2, 12, 22])
    }

    @Test("the cost of a start depends on what it starts, not on what waits")
    func work() throws {
        var queue = PullQueue<Int>()
        let full = try Self.host("full.example")
        for key in 0..<4000 { _ = queue.add(key, host: full, demand: .client) }
        for key in 4000..<5000 { _ = queue.add(key, host: full, demand: .prefetch) }
        let first = queue.startable(now: 0)
        #expect(first.count == PullQueue<Int>.maximumForClientsPerHost + PullQueue<Int>.maximumPrefetchPerHost)
        #expect(queue.examinedCount <= 3 * first.count)
        // Other hosts' pulls come and go while thousands wait.
        var before = queue.examinedCount
        for key in 10_000..<10_100 {
            let host = try Self.host("h\(key % 10).example")
            _ = queue.add(key, host: host, demand: key % 2 == 0 ? .client : .prefetch)
            #expect(queue.startable(now: 0) == [key])
            queue.remove(key)
        }
        #expect(queue.examinedCount - before <= 3 * 100)
        // So do those of the host itself, one for one.
        before = queue.examinedCount
        for key in 0..<1000 {
            queue.remove(key)
            #expect(queue.startable(now: 0) == [key + PullQueue<Int>.maximumForClientsPerHost])
        }
        #expect(queue.examinedCount - before <= 3 * 1000)
    }

    @Test("pulls that were given up while waiting leave no state behind")
    func givenUp() throws {
        var queue = PullQueue<Int>()
        let host = try Self.host("a.example")
        for key in 0..<PullQueue<Int>.maximumPrefetchPerHost { _ = queue.add(key, host: host, demand: .prefetch) }
        #expect(queue.startable(now: 0).count == PullQueue<Int>.maximumPrefetchPerHost)
        for round in 0..<100 {
            for key in 100..<200 { #expect(queue.add(key, host: host, demand: .prefetch) == true, "\(round)") }
            for key in 100..<200 { queue.remove(key) }
        }
        _ = queue.add(999, host: host, demand: .prefetch)
        queue.remove(0)
        let before = queue.examinedCount
        #expect(queue.startable(now: 0) == [999])
        #expect(queue.examinedCount - before <= 2 * HostPulls<Int>.toleratedPlaces)
        // One that came again has one place, behind those that came before it.
        for key in 300..<303 { _ = queue.add(key, host: host, demand: .prefetch) }
        queue.remove(300)
        _ = queue.add(300, host: host, demand: .prefetch)
        for key in 1...3 { queue.remove(key) }
        #expect(queue.startable(now: 0) == [301, 302, 300])
    }

    @Test("a held pull frees its place, and is the next to run afterwards")
    func held() throws {
        var queue = PullQueue<Int>()
        let host = try Self.host("a.example")
        let limit = PullQueue<Int>.maximumForClientsPerHost
        for key in 0..<limit + 3 { _ = queue.add(key, host: host, demand: .client) }
        _ = queue.startable(now: 0)
        queue.hold(5)
        #expect(queue.running == limit - 1)
        #expect(queue.startable(now: 0) == [limit])
        queue.resume(5)
        #expect(queue.startable(now: 0).isEmpty)
        queue.remove(0)
        #expect(queue.startable(now: 0) == [5])
        // A held pull ahead of demand is promoted like others, and one that has ended is forgotten.
        _ = queue.add(500, host: host, demand: .prefetch)
        #expect(queue.startable(now: 0) == [500])
        queue.hold(500)
        _ = queue.add(500, host: host, demand: .client)
        #expect(queue.isPrefetch(500) == false)
        queue.resume(500)
        queue.remove(1)
        #expect(queue.startable(now: 0) == [500])
        queue.hold(500)
        queue.remove(500)
        queue.resume(500)
        #expect(queue.startable(now: 0) == [limit + 1])
    }

    @Test("a host that answered 429 gets half the places for a minute, and no prefetch")
    func slowDown() throws {
        var queue = PullQueue<Int>()
        let slow = try Self.host("slow.example")
        let other = try Self.host("other.example")
        for key in 0..<200 { _ = queue.add(key, host: slow, demand: .client) }
        for key in 1000..<1010 { _ = queue.add(key, host: slow, demand: .prefetch) }
        for key in 2000..<2002 { _ = queue.add(key, host: other, demand: key == 2000 ? .client : .prefetch) }
        queue.slowDown(slow, now: 500)
        var started = queue.startable(now: 500)
        #expect(started.filter { $0 < 1000 } == Array(0..<PullQueue<Int>.maximumForClientsPerHost / 2))
        #expect(started.filter { $0 >= 1000 } == [2000, 2001], "another host is as before")
        #expect(queue.nextSlowdownCheck == 60_500)
        // Refusals that come together count once, and each later one halves again, down to a client's own number.
        queue.slowDown(slow, now: 600)
        for key in 0..<16 { queue.remove(key) }
        #expect(queue.startable(now: 600).count == 16)
        for second: UInt64 in 2..<20 { queue.slowDown(slow, now: second * 1000) }
        for key in 16..<44 { queue.remove(key) }
        #expect(queue.startable(now: 20_000).isEmpty, "four run")
        queue.remove(44)
        #expect(queue.startable(now: 20_000) == [48])
        #expect(queue.startable(now: 78_999).isEmpty)
        started = queue.startable(now: 79_000)
        #expect(started.count == PullQueue<Int>.maximumForClientsPerHost - 4 + PullQueue<Int>.maximumPrefetchPerHost)
        #expect(queue.nextSlowdownCheck == nil)
    }

    @Test("the number of remembered slow hosts is bounded, and they expire")
    func slowHostsAreBounded() throws {
        var queue = PullQueue<Int>()
        for number in 0..<2 * PullQueue<Int>.maximumSlowHosts {
            queue.slowDown(try Self.host("h\(number).example"), now: 0)
        }
        let last = try Self.host("h\(2 * PullQueue<Int>.maximumSlowHosts - 1).example")
        _ = queue.add(1, host: last, demand: .prefetch)
        #expect(queue.startable(now: 1) == [1])
        #expect(queue.startable(now: 60_000).isEmpty)
        #expect(queue.nextSlowdownCheck == nil)
    }
}

import Testing

@testable import Registry

@Suite struct PullQueueTests {
    static func host(_ name: String) throws -> RegistryHost { try #require(RegistryHost(name)) }

    @Test func clientsGoFirstAndAheadHasASmallShare() throws {
        var queue = PullQueue<Int>()
        let host = try Self.host("a.example")
        for key in 0..<10 { #expect(queue.add(key, host: host, demand: .ahead) == true) }
        #expect(queue.add(100, host: host, demand: .client) == true)
        #expect(queue.startable() == [100] + Array(0..<PullQueue<Int>.maximumAheadPerHost))
        #expect(queue.startable().isEmpty)
        queue.remove(0)
        #expect(queue.startable() == [PullQueue<Int>.maximumAheadPerHost])
    }

    @Test func aWaitingPullIsPromotedWhenAClientAsks() throws {
        var queue = PullQueue<Int>()
        let host = try Self.host("a.example")
        for key in 0..<10 { _ = queue.add(key, host: host, demand: .ahead) }
        _ = queue.startable()
        _ = queue.add(9, host: host, demand: .client)
        #expect(queue.startable() == [9])
        // And it no longer takes a place among those ahead.
        queue.remove(0)
        #expect(queue.startable() == [4])
    }

    @Test func aRunningOneThatIsPromotedFreesItsPlace() throws {
        var queue = PullQueue<Int>()
        let host = try Self.host("a.example")
        for key in 0..<6 { _ = queue.add(key, host: host, demand: .ahead) }
        #expect(queue.startable() == [0, 1, 2, 3])
        _ = queue.add(0, host: host, demand: .client)
        #expect(queue.startable() == [4])
    }

    @Test func oneHostCannotUseUpAllPlaces() throws {
        var queue = PullQueue<Int>()
        let slow = try Self.host("slow.example")
        let other = try Self.host("other.example")
        for key in 0..<500 { _ = queue.add(key, host: slow, demand: .client) }
        _ = queue.add(1000, host: other, demand: .client)
        let started = queue.startable()
        #expect(started.count == PullQueue<Int>.maximumForClientsPerHost + 1)
        #expect(started.last == 1000)
        queue.remove(0)
        #expect(queue.startable() == [PullQueue<Int>.maximumForClientsPerHost])
    }

    @Test func whatIsAheadTakesNoPlacesOfClients() throws {
        var queue = PullQueue<Int>()
        let host = try Self.host("a.example")
        var taken = 0
        for key in 0..<10_000 where queue.add(key, host: host, demand: .ahead) { taken += 1 }
        #expect(taken == PullQueue<Int>.maximumKnownAhead)
        let isTaken = queue.add(10_000, host: host, demand: .client)
        #expect(isTaken)
        // Promoted or ended, it leaves room for another.
        _ = queue.add(0, host: host, demand: .client)
        queue.remove(1)
        let more = (20_000..<20_003).map { queue.add($0, host: host, demand: .ahead) }
        #expect(more == [true, true, false])
    }

    @Test func tooManyAreRefused() throws {
        var queue = PullQueue<Int>()
        let host = try Self.host("a.example")
        let limit = PullQueue<Int>.maximumWaiting + PullQueue<Int>.maximumForClients
        for key in 0..<limit { #expect(queue.add(key, host: host, demand: .client) == true) }
        #expect(queue.add(limit, host: host, demand: .client) == false)
        queue.remove(limit - 1)
        #expect(queue.add(limit, host: host, demand: .client) == true)
    }
}

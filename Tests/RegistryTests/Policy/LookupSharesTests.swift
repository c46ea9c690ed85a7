// Who may look up a name: shares by name, by client and for configured registries.

import TestSupport
import Testing

@testable import Registry

@Suite struct LookupSharesTests {
    private typealias Shares = LookupShares<Int>

    private static let limits: Shares.Limits = {
        var limits = Shares.Limits()
        limits.all = 8
        limits.unconfigured = 6
        limits.unknown = 5
        limits.unknownPerClient = 3
        limits.perName = 2
        limits.waiting = 12
        limits.waitingUnknown = 6
        limits.waitingUnknownPerClient = 4
        return limits
    }()

    private static func client(_ number: Int) -> NetworkAddress? { NetworkAddress(literal: "192.0.2.\(number)") }

    private static func other(_ name: Int, client: Int) -> LookupOwner {
        LookupOwner(name: "n\(name).test", standing: .unknown, client: Self.client(client))
    }

    private static func found(_ name: Int) -> LookupOwner {
        LookupOwner(name: "f\(name).test", standing: .found, client: Self.client(1))
    }

    private static func configured(_ name: Int) -> LookupOwner {
        LookupOwner(name: "c\(name).test", standing: .configured, client: Self.client(1))
    }

    @Test("lookups of unknown names take at most their share, and one client at most its part")
    func unknownNames() {
        var shares = Shares(limits: Self.limits)
        let ofOne = (0..<5).map { shares.begin($0, Self.other($0, client: 1)) }
        #expect(ofOne == [true, true, true, false, false])
        let ofAnother = (10..<13).map { shares.begin($0, Self.other($0, client: 2)) }
        #expect(ofAnother == [true, true, false])
        let configured = (20..<25).map { shares.begin($0, Self.configured($0)) }
        #expect(configured == [true, true, true, false, false])
        #expect(shares.runningTotal == 8)
        #expect(shares.end(20) == true)
        #expect(shares.begin(30, Self.other(30, client: 3)) == false)
        #expect(shares.begin(31, Self.configured(31)) == true)
    }

    @Test("a registry in use can be looked up whatever other names its clients request")
    func knownNames() {
        var shares = Shares(limits: Self.limits)
        for key in 0..<5 { #expect(shares.begin(key, Self.other(key, client: key)) == true) }
        #expect(shares.begin(5, Self.other(5, client: 5)) == false)
        #expect(shares.begin(6, Self.found(6)) == true)
        #expect(shares.begin(7, Self.found(7)) == false)
        #expect(shares.wait(7, Self.found(7)) == true)
        #expect(shares.end(0) == true)
        #expect(shares.startable() == [7])
    }

    @Test("the server's own lookups count for no client, but for the share of unconfigured names")
    func ownLookups() {
        var shares = Shares(limits: Self.limits)
        let begun = (0..<6).map {
            shares.begin($0, LookupOwner(name: "n\($0).test", standing: .unknown, client: nil))
        }
        #expect(begun == [true, true, true, true, true, false])
    }

    @Test("one name has at most two concurrent lookups, configured or not")
    func sameName() {
        var shares = Shares(limits: Self.limits)
        let sameName = (0..<3).map { shares.begin($0, Self.configured(1)) }
        #expect(sameName == [true, true, false])
        // Who has a place keeps it.
        #expect(shares.begin(0, Self.configured(1)) == true)
        #expect(shares.runningTotal == 2)
        #expect(shares.end(1) == true)
        #expect(shares.begin(2, Self.configured(1)) == true)
    }

    @Test("places go to waiting lookups in order, skipping those whose share is used up")
    func waitingLookups() {
        var shares = Shares(limits: Self.limits)
        for key in 0..<3 { #expect(shares.begin(key, Self.other(key, client: 1)) == true) }
        for key in 3..<5 { #expect(shares.begin(key, Self.other(key, client: 2)) == true) }
        #expect(shares.wait(10, Self.other(10, client: 1)) == true)
        #expect(shares.wait(11, Self.other(11, client: 2)) == true)
        #expect(shares.wait(12, Self.other(12, client: 2)) == true)
        #expect(shares.startable() == [])
        #expect(shares.end(3) == true)
        // Client 1 has its three.
        #expect(shares.startable() == [11])
        #expect(shares.end(0) == true)
        #expect(shares.startable() == [10])
        #expect(shares.waitingTotal == 1)
        #expect(shares.end(12) == true)
        #expect(shares.end(12) == false)
        #expect(shares.waitingTotal == 0)
        #expect(shares.end(11) == true)
        #expect(shares.startable() == [])
    }

    @Test("the lookup queue is bounded per client, for all unconfigured names, and in total")
    func queueLimits() {
        var shares = Shares(limits: Self.limits)
        let ofOne = (0..<5).map { shares.wait($0, Self.other($0, client: 1)) }
        #expect(ofOne == [true, true, true, true, false])
        let ofAnother = (10..<13).map { shares.wait($0, Self.other($0, client: 2)) }
        #expect(ofAnother == [true, true, false])
        let configured = (20..<27).filter { shares.wait($0, Self.configured($0)) }
        #expect(configured == [20, 21, 22, 23, 24, 25])
        #expect(shares.waitingTotal == 12)
    }

    @Test("no state is kept of ended lookups")
    func noState() {
        var random = SeededRandom(seed: 11)
        var shares = Shares(limits: Self.limits)
        var known: Set<Int> = []
        for key in 0..<4000 {
            let owner =
                Bool.random(using: &random)
                ? Self.configured(Int.random(in: 0..<6, using: &random))
                : Self.other(Int.random(in: 0..<9, using: &random), client: Int.random(in: 0..<4, using: &random))
            if shares.begin(key, owner) || shares.wait(key, owner) { known.insert(key) }
            if Bool.random(using: &random), let old = known.randomElement(using: &random) {
                #expect(shares.end(old) == true)
                known.remove(old)
            }
            _ = shares.startable()
            #expect(shares.runningTotal + shares.waitingTotal == known.count)
        }
        for key in known { #expect(shares.end(key) == true) }
        #expect(shares.runningTotal == 0 && shares.waitingTotal == 0)
        let after = (5000..<5003).map { shares.begin($0, Self.other($0, client: 1)) }
        #expect(after == [true, true, true])
    }
}

// What the metrics show of cooldown.

import TestSupport
import Testing

@testable import Configuration
@testable import OCI
@testable import Registry

@Suite struct CooldownMetricsTests {
    private typealias Kit = CooldownKit

    private static func holds(_ scrape: Scrape) -> [Double?] {
        ["older_tag", "tag", "manifest", "blob"].map { scrape["ociregistry_cooldown_holds_total{kind=\"\($0)\"}"] }
    }

    @Test("what is held back is counted by kind, and tags that wait are counted until they serve their image")
    func holds() throws {
        let kit = try Kit()
        Kit.old.put(on: kit.mirror.fake, tag: "latest")
        kit.approve(Kit.old)
        #expect(kit.get(Kit.latest).body == Kit.old.manifest)
        #expect(Self.holds(try kit.mirror.scrape()) == [0, 0, 0, 0])
        Kit.new.put(on: kit.mirror.fake, tag: "latest")
        Kit.new.put(on: kit.mirror.fake, tag: "nightly")
        kit.pass(seconds: 60)
        #expect(kit.get(Kit.latest).header("x-ociregistry-cooldown") != nil)
        // By GET and HEAD each.
        kit.expectHeld("/v2/team/app/manifests/nightly", by: Kit.new.digest)
        kit.expectHeld(Kit.manifest(Kit.new))
        kit.expectHeld(Kit.layer(Kit.new))
        let held = try kit.mirror.scrape()
        #expect(Self.holds(held) == [1, 2, 2, 2])
        #expect(held["ociregistry_cooldown_waiting_tags"] == 2)
        #expect(held["ociregistry_tag_revalidations_total{result=\"held\"}"] == 1)
        // Two times, an approval, two tags that wait, and the time that the clock has reached.
        #expect(held["ociregistry_cooldown_ledger_entries"] == 6)
        kit.approve(Kit.new)
        // A tag is checked at most once a second.
        kit.pass(seconds: 1)
        for tag in ["latest", "nightly"] {
            #expect(kit.get("/v2/team/app/manifests/\(tag)").body == Kit.new.manifest)
        }
        let served = try kit.mirror.scrape()
        #expect(Self.holds(served) == [1, 2, 2, 2])
        #expect(served["ociregistry_cooldown_waiting_tags"] == 0)
        kit.close()
    }

    @Test("a clock that is lost or behind the ledger is a metric until it is right") func clock() throws {
        let kit = try Kit()
        func isBehind() throws -> Double? { try kit.mirror.scrape()["ociregistry_cooldown_clock_behind"] }
        Kit.new.put(on: kit.mirror.fake, tag: "latest")
        kit.expectHeld(Kit.latest)
        #expect(try isBehind() == 0)
        kit.mirror.store.cooldownLead.wallSeconds = -Kit.day
        #expect(try isBehind() == 1)
        kit.mirror.store.cooldownLead.wallSeconds = 0
        #expect(try isBehind() == 0)
        kit.mirror.store.cooldownLead.wallSeconds = -EventLoop.unixSeconds
        #expect(try isBehind() == 1)
        kit.close()
    }

    @Test("without a cooldown the ledger's metrics are 0") func withoutCooldown() throws {
        let kit = try Kit("tagTTL: never")
        kit.mirror.store.cooldownLead.wallSeconds = -EventLoop.unixSeconds
        let scrape = try kit.mirror.scrape()
        for name in ["waiting_tags", "ledger_entries", "clock_behind"] {
            #expect(scrape["ociregistry_cooldown_\(name)"] == 0, "\(name)")
        }
        kit.close()
    }

    @Test(
        "the count of a ledger's entries is that of the changes that make it", arguments: 1...5 as ClosedRange<UInt64>)
    func entries(_ seed: UInt64) {
        var random = SeededRandom(seed: seed)
        var ledger = CooldownLedger()
        for step in 0..<500 as Range<Int64> {
            let digest = digestOf([UInt8.random(in: 0..<100, using: &random)])
            let tag = "a.test/b:\(Int.random(in: 0..<3, using: &random))"
            switch Int.random(in: 0..<10, using: &random) {
            case 0: ledger.apply(.approved(digest))
            case 1: ledger.apply(.admitted(digest, repository: "a.test/b"))
            case 2: ledger.apply(.exempt(digest, repository: "a.test/b"))
            case 3: ledger.apply(.taken(digest, tag: tag))
            case 4: ledger.apply(.seen(digest, seconds: step))
            case 5: ledger.apply(.signature(digest, repository: "a.test/b"))
            case 6: ledger.apply(.moved(seconds: 1, since: step / 2, number: step))
            default: ledger.apply(.pending(digest, tag: tag, seconds: step))
            }
            var changes = 0
            ledger.forEachChange { _ in changes += 1 }
            #expect(ledger.count == changes)
        }
    }
}

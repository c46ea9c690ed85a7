// Tags under cooldown: what they serve while their upstream's newest image waits.

import Foundation
import TestSupport
import Testing

@testable import Configuration
@testable import OCI
@testable import Registry

@Suite struct CooldownTagTests {
    private typealias Kit = CooldownKit

    @Test("an image that is new to the cache is refused with the end of its wait, and costs one HEAD")
    func refused() throws {
        let kit = try Kit()
        Kit.new.put(on: kit.mirror.fake, tag: "latest")
        for _ in 0..<3 { kit.expectHeld(Kit.latest, by: Kit.new.digest) }
        #expect(kit.mirror.fake.requests.map(\.method) == ["HEAD"])
        kit.pass(seconds: 61)
        kit.expectHeld(Kit.latest)
        #expect(kit.mirror.fake.requests.map(\.method) == ["HEAD", "HEAD"])
        kit.pass(seconds: 3 * Kit.day - 661)
        kit.expectHeld(Kit.latest)
        kit.pass(seconds: 602)
        let answer = kit.get(Kit.latest)
        #expect(answer.body == Kit.new.manifest && answer.header("x-ociregistry-cooldown") == nil)
        kit.expectServed(Kit.new)
        #expect(kit.mirror.metrics.tags.heldCount(.tag) == 10)
        kit.close()
    }

    @Test("a tag that has moved serves its former image, and names what waits, until the wait is over")
    func older() throws {
        let kit = try Kit()
        Kit.old.put(on: kit.mirror.fake, tag: "latest")
        kit.approve(Kit.old)
        #expect(kit.get(Kit.latest).body == Kit.old.manifest)
        Kit.new.put(on: kit.mirror.fake, tag: "latest")
        kit.pass(seconds: 60)
        for _ in 0..<3 {
            let answer = kit.get(Kit.latest)
            #expect(answer.body == Kit.old.manifest && answer.header("warning") == nil)
            #expect(answer.header("x-ociregistry-cooldown")?.hasPrefix("\(Kit.new.digest); until=") == true)
        }
        #expect(kit.mirror.fake.requests(to: Kit.latest).map(\.method) == ["HEAD", "HEAD"])
        #expect(kit.mirror.metrics.tags.checkCount(.held) == 1 && kit.mirror.metrics.tags.heldCount(.olderTag) == 3)
        kit.expectServed(Kit.old)
        kit.expectHeld(Kit.manifest(Kit.new), by: Kit.new.digest)
        // Also when its ttl is not over.
        kit.pass(seconds: 3 * Kit.day - 30)
        #expect(kit.get(Kit.latest).body == Kit.old.manifest)
        kit.pass(seconds: 32)
        let answer = kit.get(Kit.latest)
        #expect(answer.body == Kit.new.manifest && answer.header("x-ociregistry-cooldown") == nil)
        kit.expectServed(Kit.new)
        kit.close()
    }

    @Test("a tag that moves more often than its cooldown still advances, three days behind")
    func nightly() throws {
        let kit = try Kit()
        let target = "/v2/team/app/manifests/nightly"
        let builds = (0..<8).map { FakeImage(layerBytes: [500], seed: UInt64(200 + $0)) }
        for (day, build) in builds.enumerated() {
            build.put(on: kit.mirror.fake, tag: "nightly")
            let answer = kit.get(target)
            if day < 3 {
                #expect(answer.status == 403, "day \(day)")
            } else {
                #expect(answer.body == builds[day - 3].manifest, "day \(day)")
                #expect(answer.header("x-ociregistry-cooldown")?.hasPrefix("\(build.digest)") == true)
            }
            kit.pass(seconds: Kit.day + 2)
        }
        kit.close()
    }

    @Test("a build that its registry removed before its wait ended is skipped")
    func removed() throws {
        let kit = try Kit()
        Kit.old.put(on: kit.mirror.fake, tag: "latest")
        kit.expectHeld(Kit.latest)
        Kit.new.put(on: kit.mirror.fake, tag: "latest")
        kit.mirror.fake.on(Kit.manifest(Kit.old), .status(404))
        kit.pass(seconds: Kit.day)
        kit.expectHeld(Kit.latest)
        kit.pass(seconds: 2 * Kit.day)
        kit.expectHeld(Kit.latest, by: Kit.new.digest)
        kit.pass(seconds: Kit.day + 2)
        #expect(kit.get(Kit.latest).body == Kit.new.manifest)
        kit.close()
    }

    @Test("what is in the cache is served when its wait is over, although the upstream is gone") func offline() throws {
        let kit = try Kit()
        let fake = kit.mirror.fake
        Kit.old.put(on: fake, tag: "latest")
        kit.approve(Kit.old)
        #expect(kit.get(Kit.latest).status == 200)
        Kit.new.put(on: fake, tag: "latest")
        Kit.new.put(on: fake, tag: "free")
        #expect(kit.get(Kit.free).body == Kit.new.manifest)
        kit.pass(seconds: 60)
        #expect(kit.get(Kit.latest).body == Kit.old.manifest)
        fake.on(Kit.latest, .status(503))
        kit.pass(seconds: 2 * Kit.day)
        let stale = kit.get(Kit.latest)
        #expect(stale.body == Kit.old.manifest && stale.header("warning") != nil)
        #expect(stale.header("x-ociregistry-cooldown") != nil)
        kit.pass(seconds: Kit.day)
        #expect(kit.get(Kit.latest).body == Kit.new.manifest)
        kit.close()
    }

    @Test("no wait ends while the clock is behind, and served images stay served") func lostClock() throws {
        let kit = try Kit()
        Kit.old.put(on: kit.mirror.fake, tag: "latest")
        kit.expectHeld(Kit.latest)
        kit.pass(seconds: 3 * Kit.day + 5)
        #expect(kit.get(Kit.latest).body == Kit.old.manifest)
        Kit.new.put(on: kit.mirror.fake, tag: "latest")
        kit.pass(seconds: 60)
        #expect(kit.get(Kit.latest).body == Kit.old.manifest)
        // The battery is empty.
        let lead = kit.mirror.store.cooldownLead
        kit.mirror.store.cooldownLead.wallSeconds = -1_700_000_000
        kit.mirror.store.cooldownLead.monotonicSeconds += 5 * Kit.day
        kit.mirror.store.tagClockLead += UInt64(5 * Kit.day) * 1000
        #expect(kit.get(Kit.latest).body == Kit.old.manifest)
        kit.expectServed(Kit.old)
        kit.expectHeld(Kit.manifest(Kit.new))
        // And is replaced.
        kit.mirror.store.cooldownLead.wallSeconds = lead.wallSeconds + 5 * Kit.day
        kit.pass(seconds: 60)
        #expect(kit.get(Kit.latest).body == Kit.new.manifest)
        kit.close()
    }

    @Test("a clock that is set forward ends no wait") func setForward() throws {
        let kit = try Kit()
        Kit.new.put(on: kit.mirror.fake, tag: "latest")
        kit.expectHeld(Kit.latest)
        kit.mirror.store.cooldownLead.wallSeconds += 10 * Kit.day
        kit.pass(seconds: 61)
        kit.expectHeld(Kit.latest)
        #expect(kit.mirror.log.text.contains("the system's clock was set forward"))
        kit.pass(seconds: 3 * Kit.day)
        #expect(kit.get(Kit.latest).body == Kit.new.manifest)
        kit.close()
    }

    @Test("a tag that moves back serves what it means, and nothing waits any more")
    func movedBack() throws {
        let kit = try Kit()
        Kit.old.put(on: kit.mirror.fake, tag: "latest")
        kit.approve(Kit.old)
        #expect(kit.get(Kit.latest).status == 200)
        Kit.new.put(on: kit.mirror.fake, tag: "latest")
        kit.pass(seconds: 60)
        #expect(kit.get(Kit.latest).header("x-ociregistry-cooldown") != nil)
        Kit.old.put(on: kit.mirror.fake, tag: "latest")
        kit.pass(seconds: 60)
        let answer = kit.get(Kit.latest)
        #expect(answer.body == Kit.old.manifest && answer.header("x-ociregistry-cooldown") == nil)
        #expect(kit.mirror.store.ledger?.pendingTagCount == 0)
        kit.close()
    }

    @Test("an approval ends a wait at once") func approved() throws {
        let kit = try Kit()
        Kit.new.put(on: kit.mirror.fake, tag: "latest")
        kit.expectHeld(Kit.latest)
        kit.approve(Kit.new)
        #expect(kit.get(Kit.latest).body == Kit.new.manifest)
        kit.expectServed(Kit.new)
        kit.close()
    }

    @Test("what was cached before a policy had a cooldown counts from the time of its file")
    func before() throws {
        let directory = try TemporaryDirectory()
        let first = try Kit("tagTTL: never") { $0.imagePath = directory.path }
        Kit.old.put(on: first.mirror.fake, tag: "latest")
        Kit.new.put(on: first.mirror.fake, tag: "other")
        #expect(first.get(Kit.latest).status == 200)
        first.expectServed(Kit.old)
        #expect(first.get("/v2/team/app/manifests/other").status == 200)
        let layout = first.mirror.store.layout
        first.close()
        let past = timeval(tv_sec: time(nil) - 4 * 86_400, tv_usec: 0)
        var times = [past, past]
        #expect(utimes(layout.manifest(Kit.old.digest, .ociManifest), &times) == 0)
        let kit = try Kit { $0.imagePath = directory.path }
        Kit.old.put(on: kit.mirror.fake, tag: "latest")
        Kit.new.put(on: kit.mirror.fake, tag: "other")
        #expect(kit.get(Kit.layer(Kit.old)).body == Kit.old.layers[0], "without its manifest")
        #expect(kit.get(Kit.latest).body == Kit.old.manifest)
        kit.expectServed(Kit.old)
        kit.expectHeld("/v2/team/app/manifests/other", by: Kit.new.digest)
        kit.expectHeld(Kit.manifest(Kit.new))
        kit.expectHeld(Kit.layer(Kit.new))
        kit.close()
    }

    @Test("waits continue after a restart, and served images stay served", arguments: [false, true])
    func restart(_ isAirGapped: Bool) throws {
        let directory = try TemporaryDirectory()
        func session(after seconds: Int64, _ body: (Kit) throws -> Void) throws {
            let kit = try Kit {
                $0.imagePath = directory.path
                $0.policy.airGapped = isAirGapped && seconds > 0
            }
            kit.mirror.store.cooldownLead.wallSeconds = seconds
            try body(kit)
            kit.close()
        }
        try session(after: 0) { kit in
            Kit.old.put(on: kit.mirror.fake, tag: "latest")
            Kit.new.put(on: kit.mirror.fake, tag: "free")
            kit.approve(Kit.old)
            #expect(kit.get(Kit.latest).status == 200)
            kit.expectServed(Kit.old)
            #expect(kit.get(Kit.free).body == Kit.new.manifest)
            kit.expectServed(Kit.new)
            Kit.new.put(on: kit.mirror.fake, tag: "latest")
            kit.mirror.store.tagClockLead += 60_000
            #expect(kit.get(Kit.latest).body == Kit.old.manifest)
        }
        try session(after: 2 * Kit.day) { kit in
            Kit.new.put(on: kit.mirror.fake, tag: "latest")
            let answer = kit.get(Kit.latest)
            #expect(answer.body == Kit.old.manifest)
            #expect(answer.header("x-ociregistry-cooldown")?.hasPrefix("\(Kit.new.digest)") == true)
            #expect(kit.get(Kit.layer(Kit.new)).body == Kit.new.layers[0], "admitted by the tag that does not wait")
            kit.expectServed(Kit.old)
            kit.expectServed(Kit.new)
        }
        guard !isAirGapped else { return }
        try session(after: 3 * Kit.day + 5) { kit in
            // Asked at most once a second, and a check in the future counts as one of the moment in which it is read.
            kit.mirror.wait(until: { kit.mirror.store.isRecovered })
            kit.mirror.store.tagClockLead += 1000
            Kit.new.put(on: kit.mirror.fake, tag: "latest")
            #expect(kit.get(Kit.latest).body == Kit.new.manifest)
        }
    }
}

// Cached tags whose upstream does not confirm them: what is served meanwhile, and when the upstream is asked again.

import Foundation
import TestSupport
import Testing

@testable import Configuration
@testable import OCI
@testable import Registry

@Suite struct StaleTagTests {
    private typealias Kit = TagPolicyKit

    /// What the upstream does to HEAD and GET, the reason of the stale answers, and the requests of the first one.
    private static let troubles: [(FakeAnswer, TagCheckFailure, [String])] = [
        (.status(500), .badStatus, ["HEAD"]), (.status(503), .badStatus, ["HEAD"]), (.status(401), .denied, ["HEAD"]),
        (.status(403), .denied, ["HEAD", "GET"]), (.status(404), .deleted, ["HEAD", "GET"]),
        (.ok(Array("<html>".utf8), type: "text/html"), .invalid, ["HEAD", "GET"]),
    ]

    @Test("a tag is served stale with a warning, and asked again after a pause", arguments: troubles.indices)
    func stale(_ index: Int) throws {
        let (answer, failure, requests) = Self.troubles[index]
        let mirror = try Kit.mirror("tagTTL: 10s")
        #expect(mirror.get(Kit.target).status == 200)
        mirror.fake.on(Kit.target, answer)
        Kit.pass(10_000, mirror)
        for _ in 0..<5 {
            let response = mirror.get(Kit.target)
            #expect(response.body == Kit.old.manifest && response.header("warning") != nil)
            let warning = try #require(response.header("warning"))
            #expect(warning.hasPrefix("299 - \"") && warning.hasSuffix("\""))
            #expect(warning.contains("does not have this tag") == (failure == .deleted))
        }
        #expect(Kit.methods(mirror) == ["GET"] + requests, "one revalidation, and then a pause")
        #expect(mirror.metrics.tags.staleCount(.failed(failure)) == 5)
        #expect(mirror.metrics.requests.answers(.manifest, .stale) == 5)
        #expect(mirror.metrics.tags.checkCount(.failed(failure)) == 1)
        #expect(mirror.log.entries.count { $0.message.contains("not confirmed") } == 1)
        // A tag that is gone is asked about after its ttl, others after a short pause.
        Kit.pass(failure == .deleted ? 10_000 : 1000, mirror)
        #expect(mirror.get(Kit.target).status == 200)
        #expect(Kit.methods(mirror) == ["GET"] + requests + requests)
        #expect(mirror.log.entries.count { $0.message.contains("not confirmed") } == 1, "a line a minute")
        Kit.pass(60_000, mirror)
        Kit.new.put(on: mirror.fake, tag: "v1")
        #expect(mirror.get(Kit.target).body == Kit.new.manifest)
        mirror.close()
    }

    @Test("the pause after failures doubles up to half a minute") func pauses() throws {
        let mirror = try Kit.mirror("tagTTL: 0s")
        #expect(mirror.get(Kit.target).status == 200)
        mirror.fake.on(Kit.target, .status(500))
        var pauses: [UInt64] = []
        for _ in 0..<8 {
            let before = Kit.methods(mirror).count
            var waited: UInt64 = 0
            while Kit.methods(mirror).count == before, waited < 100_000 {
                #expect(mirror.get(Kit.target).status == 200)
                Kit.pass(1000, mirror)
                waited += 1000
            }
            pauses.append(waited)
        }
        #expect(pauses == [1000, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000])
        mirror.close()
    }

    @Test("beyond staleIfError the error is given, and the upstream is not asked with each request")
    func staleIfError() throws {
        let mirror = try Kit.mirror("tagPolicies: [{match: ':v1', ttl: 10s, staleIfError: 1m}]")
        #expect(mirror.get(Kit.target).status == 200)
        mirror.fake.on(Kit.target, .status(500))
        Kit.pass(59_000, mirror)
        #expect(mirror.get(Kit.target).header("warning") != nil)
        Kit.pass(1000, mirror)
        for _ in 0..<4 { #expect(mirror.get(Kit.target).status == 503) }
        #expect(Kit.methods(mirror) == ["GET", "HEAD", "HEAD"])
        Kit.pass(60_000, mirror)
        Kit.old.put(on: mirror.fake, tag: "v1")
        #expect(mirror.get(Kit.target).header("warning") == nil)
        mirror.close()
    }

    @Test("a slow upstream is waited for briefly and once, and its answer counts later") func slow() throws {
        let mirror = try Kit.mirror("tagTTL: 10s") { $0.policy.revalidationDeadlineMilliseconds = 20 }
        #expect(mirror.get(Kit.target).status == 200)
        mirror.fake.on(Kit.target, .silent)
        Kit.pass(10_000, mirror)
        let clients = (0..<5).map { _ in mirror.start(.get(Kit.target)) }
        mirror.wait(for: clients)
        // The revalidation continues; later requests do not wait for it.
        let late = mirror.get(Kit.target)
        for response in clients.map(\.response) + [late] {
            #expect(response.body == Kit.old.manifest && response.header("warning") != nil)
            #expect(response.header("warning")?.contains("has not answered yet") == true)
        }
        #expect(Kit.methods(mirror) == ["GET", "HEAD"])
        #expect(mirror.metrics.tags.staleCount(.slow) == 6)
        mirror.close()
    }

    @Test("with staleWhileRevalidate nobody waits, and the next request has the new manifest") func background() throws
    {
        let mirror = try Kit.mirror("tagPolicies: [{match: v1, ttl: 10s, staleWhileRevalidate: 1m}]")
        #expect(mirror.get(Kit.target).status == 200)
        Kit.new.put(on: mirror.fake, tag: "v1")
        Kit.pass(10_000, mirror)
        let first = mirror.get(Kit.target)
        #expect(first.body == Kit.old.manifest && first.header("warning") != nil)
        #expect(first.header("warning")?.contains("is being asked") == true)
        mirror.wait(until: { mirror.metrics.tags.checkCount(.moved) == 1 })
        #expect(mirror.get(Kit.target).body == Kit.new.manifest)
        #expect(mirror.metrics.tags.staleCount(.revalidating) == 1)
        mirror.close()
    }

    @Test("onUpstreamDelete remove removes a tag that its upstream does not have") func removed() throws {
        let mirror = try Kit.mirror("tagPolicies: [{match: v1, ttl: 10s, onUpstreamDelete: remove}]")
        #expect(mirror.get(Kit.target).status == 200)
        mirror.settle()
        mirror.fake.on(Kit.target, .status(404))
        Kit.pass(10_000, mirror)
        #expect(mirror.get(Kit.target).errorCode == "MANIFEST_UNKNOWN")
        let repository = try #require(RepositoryName("team/app"))
        #expect(mirror.store.tag(host: MirrorKit.host, repository: repository, tag: "v1") == nil)
        let name = TagName(host: MirrorKit.host, repository: repository, tag: "v1")
        mirror.wait(until: { (try? Disk.status(at: mirror.store.layout.tag(name))) == nil })
        // The content is still there by digest, and has a name by which it can be removed.
        #expect(mirror.get("/v2/team/app/manifests/\(Kit.old.digest)").body == Kit.old.manifest)
        mirror.close()
    }

    @Test("a remembered 404 keeps the tag like the 404 itself, also after staleIfError") func rememberedDeletion()
        throws
    {
        let mirror = try Kit.mirror("tagPolicies: [{match: v1, ttl: 1s, staleIfError: 3s}]") {
            $0.negativeCache = NegativeCacheSettings()
        }
        #expect(mirror.get(Kit.target).status == 200)
        mirror.settle()
        mirror.fake.on(Kit.target, .status(404))
        for _ in 0..<3 {
            Kit.pass(4_000, mirror)
            let response = mirror.get(Kit.target)
            #expect(response.status == 200 && response.body == Kit.old.manifest)
            #expect(response.header("warning")?.contains("does not have this tag any more") == true)
        }
        #expect(mirror.metrics.tags.checkCount(.failed(.deleted)) == 3)
        #expect(mirror.metrics.tags.checkCount(.failed(.unreachable)) == 0)
        mirror.close()
    }
}

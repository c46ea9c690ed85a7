// Cached tags of a whole server under their policies, with a clock that the test moves.

import Foundation
import TestSupport
import Testing

@testable import Configuration
@testable import OCI
@testable import Registry

@Suite struct TagPolicyServingTests {
    private static let old = FakeImage(seed: 1)
    private static let new = FakeImage(seed: 2)
    private static let target = "/v2/team/app/manifests/v1"

    static func policies(_ yaml: String) throws -> TagPolicies {
        try ConfigDecoder.decode(yaml: Array(yaml.utf8), file: "c.yaml") { _ in nil }.tags
    }

    private static func mirror(
        _ yaml: String, _ change: @escaping (inout MirrorKit.Options) -> Void = { _ in }
    ) throws -> MirrorKit {
        let policies = try policies(yaml)
        let mirror = try MirrorKit {
            $0.policy.tags = policies
            change(&$0)
        }
        old.put(on: mirror.fake, tag: "v1")
        return mirror
    }

    private func methods(_ mirror: MirrorKit) -> [String] { mirror.fake.requests(to: Self.target).map(\.method) }

    private func pass(_ milliseconds: UInt64, _ mirror: MirrorKit) { mirror.store.tagClockLead += milliseconds }

    // MARK: The ttl

    /// 50 clients ask 200 times each, while the clock passes ten ttls.
    @Test("10,000 pulls of a hot tag over ten ttls cost a GET and at most twelve HEADs") func hotTag() throws {
        let mirror = try Self.mirror("")
        #expect(mirror.get(Self.target).body == Self.old.manifest)
        for _ in 0..<200 {
            let clients = (0..<50).map { _ in mirror.start(.get(Self.target)) }
            mirror.wait(for: clients)
            for client in clients {
                #expect(client.response.status == 200 && client.response.header("warning") == nil)
                client.leave()
            }
            // 200 steps are ten times five minutes.
            pass(15_000, mirror)
        }
        let asked = methods(mirror)
        #expect(asked.first == "GET" && asked.dropFirst().allSatisfy { $0 == "HEAD" })
        #expect((9...12).contains(asked.count - 1), "\(asked.count - 1) HEADs")
        #expect(mirror.metrics.tags.checkCount(.unchanged) == UInt64(asked.count - 1))
        #expect(mirror.metrics.tags.ages.count() == 10_000)
        #expect(mirror.metrics.requests.answers(.manifest, .hit) == 10_000)
        mirror.close()
    }

    @Test("a moved tag is served new after its ttl, and its former manifest by digest") func moved() throws {
        let mirror = try Self.mirror("tagTTL: 1m")
        for _ in 0..<3 { #expect(mirror.get(Self.target).body == Self.old.manifest) }
        Self.new.put(on: mirror.fake, tag: "v1")
        pass(59_000, mirror)
        for _ in 0..<3 { #expect(mirror.get(Self.target).body == Self.old.manifest) }
        #expect(methods(mirror) == ["GET"])
        pass(1000, mirror)
        let first = mirror.get(Self.target)
        #expect(first.body == Self.new.manifest && first.header("warning") == nil)
        for _ in 0..<3 { #expect(mirror.get(Self.target).body == Self.new.manifest) }
        #expect(methods(mirror) == ["GET", "HEAD", "GET"])
        let line = try #require(mirror.log.entries.first { $0.message == "tag moved" })
        #expect(line["from"] == "\(Self.old.digest)" && line["to"] == "\(Self.new.digest)" && line["tag"] == "v1")
        // Without a name of its own it could never be removed.
        mirror.wait(for: { mirror.store.whenWritten(then: $0) })
        let names = mirror.store.layout.digestsDirectory(MirrorKit.host, RepositoryName("team/app")!)  // a valid name
        #expect(try Disk.names(in: names) == [Layout.digestFileName(Self.old.digest)])
        #expect(mirror.get("/v2/team/app/manifests/\(Self.old.digest)").body == Self.old.manifest)
        mirror.close()
    }

    @Test("a tag that moves to a cached manifest costs no GET") func movedToCached() throws {
        let mirror = try Self.mirror("tagTTL: 0s")
        Self.new.put(on: mirror.fake, tag: "v2")
        #expect(mirror.get(Self.target).status == 200 && mirror.get("/v2/team/app/manifests/v2").status == 200)
        Self.new.put(on: mirror.fake, tag: "v1")
        let answer = mirror.get(Self.target)
        #expect(answer.body == Self.new.manifest && answer.header("warning") == nil)
        #expect(methods(mirror) == ["GET", "HEAD"])
        mirror.close()
    }

    @Test("with ttl never a tag is pulled once, unless its client refuses cached answers") func never() throws {
        let mirror = try Self.mirror("tagTTL: never")
        #expect(mirror.get(Self.target).status == 200)
        pass(100 * 365 * 86_400_000, mirror)
        for _ in 0..<3 { #expect(mirror.get(Self.target).body == Self.old.manifest) }
        #expect(methods(mirror) == ["GET"])
        Self.new.put(on: mirror.fake, tag: "v1")
        #expect(mirror.get(Self.target, [("Cache-Control", "no-cache")]).body == Self.new.manifest)
        #expect(methods(mirror) == ["GET", "HEAD", "GET"])
        mirror.close()
    }

    @Test("policies by name are decided off the loop, and the first that matches counts") func byName() throws {
        let mirror = try Self.mirror("tagPolicies: [{match: ':v1$', ttl: never}, {match: '.*', ttl: 0s}]")
        Self.old.put(on: mirror.fake, tag: "v2")
        for _ in 0..<3 {
            #expect(mirror.get(Self.target).status == 200 && mirror.get("/v2/team/app/manifests/v2").status == 200)
        }
        #expect(methods(mirror) == ["GET"])
        #expect(mirror.fake.requests(to: "/v2/team/app/manifests/v2").map(\.method) == ["GET", "HEAD", "HEAD"])
        mirror.api.replaceTagPolicies(try Self.policies("tagTTL: 0s"))
        #expect(mirror.get(Self.target).status == 200 && methods(mirror) == ["GET", "HEAD"])
        mirror.close()
    }

    // MARK: Stale answers

    /// What the upstream does to HEAD and GET, the reason of the stale answers, and the requests of the first one.
    private static let troubles: [(FakeAnswer, TagCheckFailure, [String])] = [
        (.status(500), .badStatus, ["HEAD"]), (.status(503), .badStatus, ["HEAD"]), (.status(401), .denied, ["HEAD"]),
        (.status(403), .denied, ["HEAD", "GET"]), (.status(404), .deleted, ["HEAD", "GET"]),
        (.ok(Array("<html>".utf8), type: "text/html"), .invalid, ["HEAD", "GET"]),
    ]

    @Test("a tag is served stale with a warning, and asked again after a pause", arguments: troubles.indices)
    func stale(_ index: Int) throws {
        let (answer, failure, requests) = Self.troubles[index]
        let mirror = try Self.mirror("tagTTL: 10s")
        #expect(mirror.get(Self.target).status == 200)
        mirror.fake.on(Self.target, answer)
        pass(10_000, mirror)
        for _ in 0..<5 {
            let response = mirror.get(Self.target)
            #expect(response.body == Self.old.manifest && response.header("warning") != nil)
            let warning = try #require(response.header("warning"))
            #expect(warning.hasPrefix("299 - \"") && warning.hasSuffix("\""))
            #expect(warning.contains("does not have this tag") == (failure == .deleted))
        }
        #expect(methods(mirror) == ["GET"] + requests, "one revalidation, and then a pause")
        #expect(mirror.metrics.tags.staleCount(.failed(failure)) == 5)
        #expect(mirror.metrics.requests.answers(.manifest, .stale) == 5)
        #expect(mirror.metrics.tags.checkCount(.failed(failure)) == 1)
        #expect(mirror.log.entries.count { $0.message.contains("not confirmed") } == 1)
        // A tag that is gone is asked about after its ttl, others after a short pause.
        pass(failure == .deleted ? 10_000 : 1000, mirror)
        #expect(mirror.get(Self.target).status == 200)
        #expect(methods(mirror) == ["GET"] + requests + requests)
        #expect(mirror.log.entries.count { $0.message.contains("not confirmed") } == 1, "a line a minute")
        pass(60_000, mirror)
        Self.new.put(on: mirror.fake, tag: "v1")
        #expect(mirror.get(Self.target).body == Self.new.manifest)
        mirror.close()
    }

    @Test("the pause after failures doubles up to half a minute") func pauses() throws {
        let mirror = try Self.mirror("tagTTL: 0s")
        #expect(mirror.get(Self.target).status == 200)
        mirror.fake.on(Self.target, .status(500))
        var pauses: [UInt64] = []
        for _ in 0..<8 {
            let before = methods(mirror).count
            var waited: UInt64 = 0
            while methods(mirror).count == before, waited < 100_000 {
                #expect(mirror.get(Self.target).status == 200)
                pass(1000, mirror)
                waited += 1000
            }
            pauses.append(waited)
        }
        #expect(pauses == [1000, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000])
        mirror.close()
    }

    @Test("beyond staleIfError the error is given, and the upstream is not asked with each request")
    func staleIfError() throws {
        let mirror = try Self.mirror("tagPolicies: [{match: ':v1', ttl: 10s, staleIfError: 1m}]")
        #expect(mirror.get(Self.target).status == 200)
        mirror.fake.on(Self.target, .status(500))
        pass(59_000, mirror)
        #expect(mirror.get(Self.target).header("warning") != nil)
        pass(1000, mirror)
        for _ in 0..<4 { #expect(mirror.get(Self.target).status == 503) }
        #expect(methods(mirror) == ["GET", "HEAD", "HEAD"])
        pass(60_000, mirror)
        Self.old.put(on: mirror.fake, tag: "v1")
        #expect(mirror.get(Self.target).header("warning") == nil)
        mirror.close()
    }

    @Test("a slow upstream is waited for briefly and once, and its answer counts later") func slow() throws {
        let mirror = try Self.mirror("tagTTL: 10s") { $0.policy.revalidationDeadlineMilliseconds = 20 }
        #expect(mirror.get(Self.target).status == 200)
        mirror.fake.on(Self.target, .silent)
        pass(10_000, mirror)
        let clients = (0..<5).map { _ in mirror.start(.get(Self.target)) }
        mirror.wait(for: clients)
        // The revalidation continues; later requests do not wait for it.
        let late = mirror.get(Self.target)
        for response in clients.map(\.response) + [late] {
            #expect(response.body == Self.old.manifest && response.header("warning") != nil)
            #expect(response.header("warning")?.contains("has not answered yet") == true)
        }
        #expect(methods(mirror) == ["GET", "HEAD"])
        #expect(mirror.metrics.tags.staleCount(.slow) == 6)
        mirror.close()
    }

    @Test("with staleWhileRevalidate nobody waits, and the next request has the new manifest") func background() throws
    {
        let mirror = try Self.mirror("tagPolicies: [{match: v1, ttl: 10s, staleWhileRevalidate: 1m}]")
        #expect(mirror.get(Self.target).status == 200)
        Self.new.put(on: mirror.fake, tag: "v1")
        pass(10_000, mirror)
        let first = mirror.get(Self.target)
        #expect(first.body == Self.old.manifest && first.header("warning") != nil)
        #expect(first.header("warning")?.contains("is being asked") == true)
        mirror.wait(until: { mirror.metrics.tags.checkCount(.moved) == 1 })
        #expect(mirror.get(Self.target).body == Self.new.manifest)
        #expect(mirror.metrics.tags.staleCount(.revalidating) == 1)
        mirror.close()
    }

    @Test("onUpstreamDelete remove removes a tag that its upstream does not have") func removed() throws {
        let mirror = try Self.mirror("tagPolicies: [{match: v1, ttl: 10s, onUpstreamDelete: remove}]")
        #expect(mirror.get(Self.target).status == 200)
        mirror.settle()
        mirror.fake.on(Self.target, .status(404))
        pass(10_000, mirror)
        #expect(mirror.get(Self.target).errorCode == "MANIFEST_UNKNOWN")
        let repository = try #require(RepositoryName("team/app"))
        #expect(mirror.store.tag(host: MirrorKit.host, repository: repository, tag: "v1") == nil)
        let name = TagName(host: MirrorKit.host, repository: repository, tag: "v1")
        mirror.wait(until: { (try? Disk.status(at: mirror.store.layout.tag(name))) == nil })
        // The content is still there by digest, and has a name by which it can be removed.
        #expect(mirror.get("/v2/team/app/manifests/\(Self.old.digest)").body == Self.old.manifest)
        mirror.close()
    }

    @Test("a remembered 404 keeps the tag like the 404 itself, also after staleIfError") func rememberedDeletion()
        throws
    {
        let mirror = try Self.mirror("tagPolicies: [{match: v1, ttl: 1s, staleIfError: 3s}]") {
            $0.negativeCache = NegativeCacheSettings()
        }
        #expect(mirror.get(Self.target).status == 200)
        mirror.settle()
        mirror.fake.on(Self.target, .status(404))
        for _ in 0..<3 {
            pass(4_000, mirror)
            let response = mirror.get(Self.target)
            #expect(response.status == 200 && response.body == Self.old.manifest)
            #expect(response.header("warning")?.contains("does not have this tag any more") == true)
        }
        #expect(mirror.metrics.tags.checkCount(.failed(.deleted)) == 3)
        #expect(mirror.metrics.tags.checkCount(.failed(.unreachable)) == 0)
        mirror.close()
    }

    // MARK: Clients that refuse cached answers

    @Test("Cache-Control: no-cache has the upstream asked at most once a second") func noCache() throws {
        let mirror = try Self.mirror("tagTTL: 1h")
        let refusing = [("Cache-Control", "max-age=0, No-Cache")]
        #expect(mirror.get(Self.target).status == 200)
        for _ in 0..<3 { #expect(mirror.get(Self.target, refusing).header("warning") == nil) }
        #expect(methods(mirror) == ["GET"])
        pass(1000, mirror)
        Self.new.put(on: mirror.fake, tag: "v1")
        for _ in 0..<3 { #expect(mirror.get(Self.target, refusing).body == Self.new.manifest) }
        #expect(methods(mirror) == ["GET", "HEAD", "GET"])
        // Also of a tag whose check has failed.
        mirror.fake.on(Self.target, .status(500))
        pass(1000, mirror)
        for _ in 0..<3 { #expect(mirror.get(Self.target, refusing).status == 200) }
        #expect(methods(mirror) == ["GET", "HEAD", "GET", "HEAD"])
        mirror.close()
    }

    @Test("no-cache is not followed while the repository is paused after a 429") func noCachePaused() throws {
        let mirror = try Self.mirror("tagTTL: 1h")
        #expect(mirror.get(Self.target).status == 200)
        mirror.fake.on("/v2/team/app/manifests/v2", .limited.adding("Retry-After", "30"))
        #expect(mirror.get("/v2/team/app/manifests/v2").status == 429)
        pass(5000, mirror)
        let answer = mirror.get(Self.target, [("Cache-Control", "no-cache")])
        #expect(answer.body == Self.old.manifest && answer.header("warning") == nil)
        #expect(methods(mirror) == ["GET"])
        mirror.close()
    }

    @Test("an air-gapped server serves tags of any age and asks nobody") func airGapped() throws {
        let directory = try TemporaryDirectory()
        let connected = try Self.mirror("") { $0.imagePath = directory.path }
        #expect(connected.get(Self.target).status == 200)
        connected.settle()
        connected.close()
        let mirror = try Self.mirror("tagTTL: 0s") {
            $0.imagePath = directory.path
            $0.policy.airGapped = true
        }
        pass(86_400_000, mirror)
        for headers in [[], [("Cache-Control", "no-cache")], []] {
            let answer = mirror.get(Self.target, headers)
            #expect(answer.body == Self.old.manifest && answer.header("warning") == nil)
        }
        #expect(mirror.fake.connectionCount == 0)
        mirror.close()
    }

    // MARK: Restarts

    /// Gives the tag's file a time long ago, as if the tag had been pulled then.
    private func age(_ mirror: MirrorKit) throws {
        let name = TagName(host: MirrorKit.host, repository: try #require(RepositoryName("team/app")), tag: "v1")
        var times = [timeval(tv_sec: 1000, tv_usec: 0), timeval(tv_sec: 1000, tv_usec: 0)]
        #expect(utimes(mirror.store.layout.tag(name), &times) == 0)
    }

    @Test("the last check survives a restart, and the time of the tag's file stays") func restart() throws {
        let directory = try TemporaryDirectory()
        func session(_ yaml: String, _ body: (MirrorKit) throws -> Void) throws {
            let mirror = try Self.mirror(yaml) { $0.imagePath = directory.path }
            try body(mirror)
            mirror.settle()
            try age(mirror)
            mirror.close()
        }
        try session("tagTTL: 0s") { mirror in
            #expect(mirror.get(Self.target).status == 200)
            #expect(mirror.get(Self.target).status == 200)
            #expect(methods(mirror) == ["GET", "HEAD"])
        }
        try session("tagTTL: 1h") { mirror in
            #expect(mirror.get(Self.target).header("warning") == nil)
            #expect(methods(mirror).isEmpty, "checked within the ttl")
            pass(3_600_000, mirror)
            #expect(mirror.get(Self.target).header("warning") == nil)
            #expect(methods(mirror) == ["HEAD"])
        }
        // Without the file the time of the tag's file counts.
        try Disk.unlink("\(directory.path)/store-v1/CHECKS")
        try session("tagTTL: 1h") { mirror in
            #expect(mirror.get(Self.target).status == 200)
            #expect(methods(mirror) == ["HEAD"])
        }
    }

    // MARK: Pulls by digest

    /// containerd asks for a tag by HEAD, and then for the manifest by digest: a late pull must not undo a newer check.
    @Test("an old answer to a HEAD does not move a tag back") func lateHint() throws {
        let mirror = try Self.mirror("tagTTL: 1h")
        #expect(mirror.head(Self.target).status == 200)
        Self.new.put(on: mirror.fake, tag: "v1")
        pass(1000, mirror)
        #expect(mirror.get(Self.target).body == Self.new.manifest)
        #expect(mirror.get("/v2/team/app/manifests/\(Self.old.digest)").body == Self.old.manifest)
        mirror.settle()
        #expect(mirror.get(Self.target).body == Self.new.manifest)
        mirror.close()
    }
}

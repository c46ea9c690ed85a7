// Cached tags of a whole server under their policies, with a clock that the test moves.

import Foundation
import TestSupport
import Testing

@testable import Configuration
@testable import OCI
@testable import Registry

@Suite struct TagPolicyServingTests {
    private typealias Kit = TagPolicyKit

    // MARK: The ttl

    /// 50 clients ask 200 times each, while the clock passes ten ttls.
    @Test("10,000 pulls of a hot tag over ten ttls cost a GET and at most twelve HEADs") func hotTag() throws {
        let mirror = try Kit.mirror("")
        #expect(mirror.get(Kit.target).body == Kit.old.manifest)
        for _ in 0..<200 {
            let clients = (0..<50).map { _ in mirror.start(.get(Kit.target)) }
            mirror.wait(for: clients)
            for client in clients {
                #expect(client.response.status == 200 && client.response.header("warning") == nil)
                client.leave()
            }
            // 200 steps are ten times five minutes.
            Kit.pass(15_000, mirror)
        }
        let asked = Kit.methods(mirror)
        #expect(asked.first == "GET" && asked.dropFirst().allSatisfy { $0 == "HEAD" })
        #expect((9...12).contains(asked.count - 1), "\(asked.count - 1) HEADs")
        #expect(mirror.metrics.tags.checkCount(.unchanged) == UInt64(asked.count - 1))
        #expect(mirror.metrics.tags.ages.count() == 10_000)
        #expect(mirror.metrics.requests.answers(.manifest, .hit) == 10_000)
        mirror.close()
    }

    @Test("a moved tag is served new after its ttl, and its former manifest by digest") func moved() throws {
        let mirror = try Kit.mirror("tagTTL: 1m")
        for _ in 0..<3 { #expect(mirror.get(Kit.target).body == Kit.old.manifest) }
        Kit.new.put(on: mirror.fake, tag: "v1")
        Kit.pass(59_000, mirror)
        for _ in 0..<3 { #expect(mirror.get(Kit.target).body == Kit.old.manifest) }
        #expect(Kit.methods(mirror) == ["GET"])
        Kit.pass(1000, mirror)
        let first = mirror.get(Kit.target)
        #expect(first.body == Kit.new.manifest && first.header("warning") == nil)
        for _ in 0..<3 { #expect(mirror.get(Kit.target).body == Kit.new.manifest) }
        #expect(Kit.methods(mirror) == ["GET", "HEAD", "GET"])
        let line = try #require(mirror.log.entries.first { $0.message == "tag moved" })
        #expect(line["from"] == "\(Kit.old.digest)" && line["to"] == "\(Kit.new.digest)" && line["tag"] == "v1")
        // Without a name of its own it could never be removed.
        mirror.wait(for: { mirror.store.whenWritten(then: $0) })
        let names = mirror.store.layout.digestsDirectory(MirrorKit.host, RepositoryName("team/app")!)  // a valid name
        #expect(try Disk.names(in: names) == [Layout.digestFileName(Kit.old.digest)])
        #expect(mirror.get("/v2/team/app/manifests/\(Kit.old.digest)").body == Kit.old.manifest)
        mirror.close()
    }

    @Test("a tag that moves to a cached manifest costs no GET") func movedToCached() throws {
        let mirror = try Kit.mirror("tagTTL: 0s")
        Kit.new.put(on: mirror.fake, tag: "v2")
        #expect(mirror.get(Kit.target).status == 200 && mirror.get("/v2/team/app/manifests/v2").status == 200)
        Kit.new.put(on: mirror.fake, tag: "v1")
        let answer = mirror.get(Kit.target)
        #expect(answer.body == Kit.new.manifest && answer.header("warning") == nil)
        #expect(Kit.methods(mirror) == ["GET", "HEAD"])
        mirror.close()
    }

    @Test("with ttl never a tag is pulled once, unless its client refuses cached answers") func never() throws {
        let mirror = try Kit.mirror("tagTTL: never")
        #expect(mirror.get(Kit.target).status == 200)
        Kit.pass(100 * 365 * 86_400_000, mirror)
        for _ in 0..<3 { #expect(mirror.get(Kit.target).body == Kit.old.manifest) }
        #expect(Kit.methods(mirror) == ["GET"])
        Kit.new.put(on: mirror.fake, tag: "v1")
        #expect(mirror.get(Kit.target, [("Cache-Control", "no-cache")]).body == Kit.new.manifest)
        #expect(Kit.methods(mirror) == ["GET", "HEAD", "GET"])
        mirror.close()
    }

    @Test("policies by name are decided off the loop, and the first that matches counts") func byName() throws {
        let mirror = try Kit.mirror("tagPolicies: [{match: ':v1$', ttl: never}, {match: '.*', ttl: 0s}]")
        Kit.old.put(on: mirror.fake, tag: "v2")
        for _ in 0..<3 {
            #expect(mirror.get(Kit.target).status == 200 && mirror.get("/v2/team/app/manifests/v2").status == 200)
        }
        #expect(Kit.methods(mirror) == ["GET"])
        #expect(mirror.fake.requests(to: "/v2/team/app/manifests/v2").map(\.method) == ["GET", "HEAD", "HEAD"])
        mirror.api.replaceTagPolicies(try Kit.policies("tagTTL: 0s"))
        #expect(mirror.get(Kit.target).status == 200 && Kit.methods(mirror) == ["GET", "HEAD"])
        mirror.close()
    }

    // MARK: Clients that refuse cached answers

    @Test("Cache-Control: no-cache has the upstream asked at most once a second") func noCache() throws {
        let mirror = try Kit.mirror("tagTTL: 1h")
        let refusing = [("Cache-Control", "max-age=0, No-Cache")]
        #expect(mirror.get(Kit.target).status == 200)
        for _ in 0..<3 { #expect(mirror.get(Kit.target, refusing).header("warning") == nil) }
        #expect(Kit.methods(mirror) == ["GET"])
        Kit.pass(1000, mirror)
        Kit.new.put(on: mirror.fake, tag: "v1")
        for _ in 0..<3 { #expect(mirror.get(Kit.target, refusing).body == Kit.new.manifest) }
        #expect(Kit.methods(mirror) == ["GET", "HEAD", "GET"])
        // Also of a tag whose check has failed.
        mirror.fake.on(Kit.target, .status(500))
        Kit.pass(1000, mirror)
        for _ in 0..<3 { #expect(mirror.get(Kit.target, refusing).status == 200) }
        #expect(Kit.methods(mirror) == ["GET", "HEAD", "GET", "HEAD"])
        mirror.close()
    }

    @Test("no-cache is not followed while the repository is paused after a 429") func noCachePaused() throws {
        let mirror = try Kit.mirror("tagTTL: 1h")
        #expect(mirror.get(Kit.target).status == 200)
        mirror.fake.on("/v2/team/app/manifests/v2", .limited.adding("Retry-After", "30"))
        #expect(mirror.get("/v2/team/app/manifests/v2").status == 429)
        Kit.pass(5000, mirror)
        let answer = mirror.get(Kit.target, [("Cache-Control", "no-cache")])
        #expect(answer.body == Kit.old.manifest && answer.header("warning") == nil)
        #expect(Kit.methods(mirror) == ["GET"])
        mirror.close()
    }

    @Test("an air-gapped server serves tags of any age and asks nobody") func airGapped() throws {
        let directory = try TemporaryDirectory()
        let connected = try Kit.mirror("") { $0.imagePath = directory.path }
        #expect(connected.get(Kit.target).status == 200)
        connected.settle()
        connected.close()
        let mirror = try Kit.mirror("tagTTL: 0s") {
            $0.imagePath = directory.path
            $0.policy.airGapped = true
        }
        Kit.pass(86_400_000, mirror)
        for headers in [[], [("Cache-Control", "no-cache")], []] {
            let answer = mirror.get(Kit.target, headers)
            #expect(answer.body == Kit.old.manifest && answer.header("warning") == nil)
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
            let mirror = try Kit.mirror(yaml) { $0.imagePath = directory.path }
            try body(mirror)
            mirror.settle()
            try age(mirror)
            mirror.close()
        }
        try session("tagTTL: 0s") { mirror in
            #expect(mirror.get(Kit.target).status == 200)
            #expect(mirror.get(Kit.target).status == 200)
            #expect(Kit.methods(mirror) == ["GET", "HEAD"])
        }
        try session("tagTTL: 1h") { mirror in
            #expect(mirror.get(Kit.target).header("warning") == nil)
            #expect(Kit.methods(mirror).isEmpty, "checked within the ttl")
            Kit.pass(3_600_000, mirror)
            #expect(mirror.get(Kit.target).header("warning") == nil)
            #expect(Kit.methods(mirror) == ["HEAD"])
        }
        // Without the file the time of the tag's file counts.
        try Disk.unlink("\(directory.path)/store-v1/CHECKS")
        try session("tagTTL: 1h") { mirror in
            #expect(mirror.get(Kit.target).status == 200)
            #expect(Kit.methods(mirror) == ["HEAD"])
        }
    }

    // MARK: Pulls by digest

    /// containerd asks for a tag by HEAD, and then for the manifest by digest: a late pull must not undo a newer check.
    @Test("an old answer to a HEAD does not move a tag back") func lateHint() throws {
        let mirror = try Kit.mirror("tagTTL: 1h")
        #expect(mirror.head(Kit.target).status == 200)
        Kit.new.put(on: mirror.fake, tag: "v1")
        Kit.pass(1000, mirror)
        #expect(mirror.get(Kit.target).body == Kit.new.manifest)
        #expect(mirror.get("/v2/team/app/manifests/\(Kit.old.digest)").body == Kit.old.manifest)
        mirror.settle()
        #expect(mirror.get(Kit.target).body == Kit.new.manifest)
        mirror.close()
    }
}

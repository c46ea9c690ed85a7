// Lists of tags and referrers in the cache: their age, their files, and the requests that they save.

import Foundation
import TestSupport
import Testing

@testable import Configuration
@testable import OCI
@testable import Registry

@Suite struct KeptListTests {
    private typealias Signed = SignedImage

    @Test("a list is served from the cache within its lifetime, and asked for again after it")
    func lifetime() throws {
        let mirror = try MirrorKit()
        Signed.put(on: mirror.fake)
        for target in [Signed.tags, Signed.referrers] {
            let first = mirror.get(target)
            #expect(first.status == 200)
            let again = mirror.get(target)
            #expect(again.body == first.body && again.header("warning") == nil)
            #expect(mirror.fake.requests(to: target).count == 1)
        }
        let scrape = try mirror.scrape()
        for verdict in ["miss", "hit"] {
            let labels = "endpoint=\"referrers\",verdict=\"\(verdict)\""
            #expect(scrape["ociregistry_http_request_duration_seconds_count{\(labels)}"] == 1, "\(verdict)")
        }
        #expect(scrape["ociregistry_list_revalidations_total{endpoint=\"tags\",result=\"new\"}"] == 1)
        mirror.close()
        let now = EventLoop.unixSeconds
        for ttl in [TagSpan(milliseconds: 300_000), .forever] {
            let fresh = { ListFreshness.isFresh(checkedAtSeconds: $0, nowSeconds: now, ttl: ttl) }
            #expect(fresh(now) && fresh(now - 299))
            #expect(!fresh(now - 300) && !fresh(now + 1) && !fresh(0), "a clock that was set back says nothing")
        }
        #expect(!ListFreshness.isFresh(checkedAtSeconds: 1, nowSeconds: .max, ttl: TagSpan(milliseconds: .max - 1)))
    }

    @Test("a changed list is served once its lifetime has passed")
    func changed() throws {
        let mirror = try MirrorKit { $0.policy.tags = TagPolicies(ttl: .zero) }
        Signed.put(on: mirror.fake)
        #expect(mirror.get(Signed.tags).text == #"{"name":"team/app","tags":["v1","v2"]}"#)
        mirror.fake.on(Signed.tags, Signed.tagList(["v3"]))
        #expect(mirror.get(Signed.tags).text == #"{"name":"team/app","tags":["v3"]}"#)
        // Signatures can be withdrawn, when the upstream says so.
        #expect(mirror.get(Signed.referrers).text.contains("x-unknown"))
        mirror.fake.on(Signed.referrers, Signed.index([]))
        #expect(mirror.get(Signed.referrers).text.hasSuffix("\"manifests\":[]}"))
        #expect(
            try mirror.scrape()["ociregistry_list_revalidations_total{endpoint=\"tags\",result=\"changed\"}"] == 1)
        mirror.close()
    }

    @Test("after a restart a list is fresh for the rest of its lifetime")
    func restart() throws {
        let directory = try TemporaryDirectory()
        for round in 0..<2 {
            let mirror = try MirrorKit { $0.imagePath = directory.path }
            Signed.put(on: mirror.fake)
            #expect(mirror.get(Signed.referrers).text.contains("x-unknown"))
            #expect(mirror.fake.requests(to: Signed.referrers).count == (round == 0 ? 1 : 0))
            mirror.settle()
            mirror.close()
        }
    }

    @Test("a damaged list is set aside and asked for again, and offline it is unknown", arguments: [false, true])
    func damaged(_ isAirGapped: Bool) throws {
        let directory = try TemporaryDirectory()
        let name = ListName(
            host: MirrorKit.host, repository: try #require(RepositoryName("team/app")),
            kind: .referrers(Signed.image.digest))
        var path = ""
        do {
            let mirror = try MirrorKit { $0.imagePath = directory.path }
            Signed.put(on: mirror.fake)
            #expect(mirror.get(Signed.referrers).status == 200)
            path = mirror.store.layout.list(name)
            mirror.settle()
            mirror.close()
        }
        // The file has the same length and is still valid JSON: only its checksum shows the change.
        let text = try String(contentsOfFile: path, encoding: .utf8)
        try text.replacingOccurrences(of: "\"n\":1.50", with: "\"n\":1.51").write(
            toFile: path, atomically: false, encoding: .utf8)
        let mirror = try MirrorKit {
            $0.imagePath = directory.path
            $0.policy.airGapped = isAirGapped
        }
        Signed.put(on: mirror.fake)
        #expect(mirror.get(Signed.referrers).status == (isAirGapped ? 503 : 200))
        mirror.settle()
        let aside = try FileManager.default.contentsOfDirectory(atPath: mirror.store.layout.quarantine)
        #expect(aside.contains { $0.contains("not-a-list") })
        #expect(FileManager.default.fileExists(atPath: path) == !isAirGapped)
        mirror.close()
    }

    @Test("an upstream that has failed is not asked for a kept list again at once")
    func pause() throws {
        let mirror = try MirrorKit { $0.policy.tags = TagPolicies(ttl: .zero) }
        Signed.put(on: mirror.fake)
        let before = mirror.get(Signed.tags)
        mirror.fake.on(Signed.tags, .status(500))
        for _ in 0..<5 {
            let answer = mirror.get(Signed.tags)
            #expect(answer.body == before.body && answer.header("warning") != nil)
        }
        #expect(mirror.fake.requests(to: Signed.tags).count == 2)
        let series = "ociregistry_lists_served_offline_total{endpoint=\"tags\",reason=\"failed\"}"
        #expect(try mirror.scrape()[series] == 5)
        mirror.close()
    }

    @Test("requests for a list share one fetch")
    func shared() throws {
        let mirror = try MirrorKit()
        Signed.put(on: mirror.fake)
        let clients = (0..<20).map { _ in mirror.start(.get(Signed.referrers)) }
        mirror.wait(for: clients)
        #expect(clients.allSatisfy { $0.response.status == 200 })
        #expect(mirror.fake.requests(to: Signed.referrers).count == 1)
        mirror.close()
    }

    @Test("a list whose upstream is silent is served from the cache in time")
    func late() throws {
        let mirror = try MirrorKit {
            $0.policy.tags = TagPolicies(ttl: .zero)
            $0.policy.revalidationDeadlineMilliseconds = 50
        }
        Signed.put(on: mirror.fake)
        let before = mirror.get(Signed.tags)
        mirror.fake.on(Signed.tags, .silent)
        let after = mirror.get(Signed.tags)
        #expect(after.body == before.body && after.header("warning") != nil)
        #expect(
            try mirror.scrape()["ociregistry_lists_served_offline_total{endpoint=\"tags\",reason=\"late\"}"] == 1)
        mirror.close()
    }

    @Test("prefetchReferrers brings an image's referrers, and what refers to them, into the cache")
    func prefetch() throws {
        let mirror = try MirrorKit { $0.prefetchReferrers = true }
        Signed.put(on: mirror.fake)
        let signature = Signed.signature(1)
        mirror.fake.on(
            "/v2/team/app/manifests/\(digestOf(signature))",
            .manifest(signature, type: FakeImage.type, digest: "\(digestOf(signature))"))
        mirror.fake.on("/v2/team/app/blobs/\(digestOf(Array("{}".utf8)))", .ok(Array("{}".utf8)))
        let old = FakeImage(layerBytes: [10], seed: 9)
        old.put(on: mirror.fake, tag: "sha256-\(Signed.image.digest.hex).sig")
        #expect(mirror.get("/v2/team/app/manifests/v1").status == 200)
        mirror.wait(until: { [puller = mirror.puller] in puller.referrerPrefetches.isEmpty })
        mirror.settle()
        mirror.fake.stopListening()
        mirror.fake.hangUp()
        #expect(mirror.get("/v2/team/app/manifests/\(digestOf(signature))").body == signature)
        #expect(mirror.get("/v2/team/app/blobs/\(digestOf(Array("{}".utf8)))").status == 200)
        #expect(mirror.get("/v2/team/app/manifests/sha256-\(Signed.image.digest.hex).sig").body == old.manifest)
        #expect(mirror.get("/v2/team/app/blobs/\(digestOf(old.layers[0]))").body == old.layers[0])
        #expect(try mirror.scrape()["ociregistry_pulls_total{kind=\"manifest\",result=\"failure\"}"] == 0)
        mirror.close()
    }
}

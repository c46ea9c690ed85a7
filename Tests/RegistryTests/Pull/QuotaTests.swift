// An upstream that counts manifest GETs and states what is left, as Docker Hub does, and an entry with a reserve.

import TestSupport
import Testing

@testable import Configuration
@testable import OCI
@testable import Registry

@Suite struct QuotaTests {
    private static let old = FakeImage(layerBytes: [1000, 2000, 3000], seed: 91)
    private static let new = FakeImage(seed: 92)
    private static let latest = "/v2/team/app/manifests/latest"

    /// Pulls left, the period stated with them, and manifest GETs so far.
    private final class Hub {
        var left = 100
        var window: String? = "21600"
        var image = QuotaTests.old
        var pulls = 0

        func answer(_ request: FakeRequest) -> FakeAnswer {
            if let blob = image.blobs.first(where: { request.path.hasSuffix("\(digestOf($0))") }) {
                return .blob(blob, for: request)
            }
            guard request.path.contains("/manifests/") else { return .status(404) }
            // HEADs are free.
            if request.method == "GET" {
                pulls += 1
                left = max(0, left - 1)
            }
            let suffix = window.map { ";w=\($0)" } ?? ""
            let answer = image.answer.adding("ratelimit-limit", "100\(suffix)")
            return answer.adding("ratelimit-remaining", "\(left)\(suffix)")
        }
    }

    private func mirror(
        _ hub: Hub, reserve: Int? = 20, _ change: (inout MirrorKit.Options) -> Void = { _ in }
    ) throws -> MirrorKit {
        let mirror = try MirrorKit {
            $0.policy.tags = TagPolicies(checksLatest: true)
            $0.quotaReserve = reserve
            change(&$0)
        }
        mirror.fake.answer = { hub.answer($0) }
        return mirror
    }

    private func saved(_ mirror: MirrorKit, _ kind: String) throws -> Double? {
        try mirror.scrape()["ociregistry_upstream_quota_saved_total{ns=\"registry.test\",kind=\"\(kind)\"}"]
    }

    @Test("a tag that has moved is served stale while few pulls are left, and pulled when there are more")
    func staleTag() throws {
        let hub = Hub()
        let mirror = try mirror(hub)
        #expect(mirror.get(Self.latest).body == Self.old.manifest)
        (hub.left, hub.image) = (19, Self.new)
        for _ in 0..<5 { #expect(mirror.get(Self.latest).body == Self.old.manifest) }
        // After the first one, the tag is left alone for a while.
        #expect(mirror.fake.requests.map(\.method) == ["GET", "HEAD"])
        #expect(try saved(mirror, "manifest") == 1)
        let stale = "ociregistry_http_request_duration_seconds_count{endpoint=\"manifest\",verdict=\"stale\"}"
        #expect(try mirror.scrape()[stale] == 5)
        let warnings = mirror.log.entries.filter { $0.message.contains("few pulls left") }
        #expect(warnings.count == 1 && warnings.first?["reserve"] == "20" && warnings.first?["reason"] == "quota")
        // What a client needs and the cache does not have is pulled.
        #expect(mirror.get("/v2/team/app/manifests/v2").body == Self.new.manifest)
        #expect(hub.pulls == 2)
        // The next HEAD says that the period is over.
        hub.left = 100
        mirror.store.tagClockLead += 60_000
        mirror.store.setTag(
            host: MirrorKit.host, repository: try #require(RepositoryName("team/app")), tag: "latest",
            digest: Self.old.digest)
        #expect(mirror.get(Self.latest).body == Self.new.manifest)
        #expect(hub.pulls == 2, "the manifest has come with the other tag")
        mirror.close()
    }

    @Test("a tag that may not be served stale any more is pulled, however few pulls are left") func needed() throws {
        let hub = Hub()
        let policies = try TagPolicyKit.policies("tagPolicies: [{match: '.*', ttl: 0s, staleIfError: 1m}]")
        let mirror = try mirror(hub) { $0.policy.tags = policies }
        #expect(mirror.get(Self.latest).body == Self.old.manifest)
        (hub.left, hub.image) = (5, Self.new)
        #expect(mirror.get(Self.latest).body == Self.old.manifest)
        mirror.store.tagClockLead += 120_000
        #expect(mirror.get(Self.latest).body == Self.new.manifest)
        #expect(hub.pulls == 2)
        mirror.close()
    }

    @Test("the reserve itself may be spent down to, and no entry without one saves anything", arguments: [20, 21, nil])
    func reserve(_ reserve: Int?) throws {
        let hub = Hub()
        let mirror = try mirror(hub, reserve: reserve)
        #expect(mirror.get(Self.latest).body == Self.old.manifest)
        (hub.left, hub.image) = (20, Self.new)
        #expect(mirror.get(Self.latest).body == (reserve == 21 ? Self.old : Self.new).manifest)
        mirror.close()
    }

    @Test("a HEAD that is refused leads to no GET while few pulls are left") func refusedHead() throws {
        let hub = Hub()
        let mirror = try mirror(hub)
        hub.left = 10
        #expect(mirror.get(Self.latest).body == Self.old.manifest)
        mirror.fake.on(Self.latest) { $0.method == "HEAD" ? .status(405) : Self.new.answer }
        #expect(mirror.get(Self.latest).body == Self.old.manifest)
        #expect(mirror.fake.requests.map(\.method) == ["GET", "HEAD"])
        mirror.close()
    }

    @Test("a statement is forgotten when its period is over, and when the registry states nothing any more")
    func forgotten() throws {
        let hub = Hub()
        let mirror = try mirror(hub)
        hub.left = 5
        hub.window = "1"
        #expect(mirror.get(Self.latest).status == 200)
        #expect(mirror.puller.mustSaveQuota(MirrorKit.host))
        let end = mirror.run.loop.nowMilliseconds + 1001
        mirror.wait(until: { mirror.run.loop.nowMilliseconds >= end })
        #expect(!mirror.puller.mustSaveQuota(MirrorKit.host))
        hub.window = "21600"
        #expect(mirror.get(Self.latest).status == 200)
        #expect(mirror.puller.mustSaveQuota(MirrorKit.host))
        mirror.fake.on(Self.latest, Self.old.answer)
        #expect(mirror.get(Self.latest).status == 200)
        #expect(!mirror.puller.mustSaveQuota(MirrorKit.host))
        mirror.close()
    }

    // MARK: Prefetch

    @Test("nothing is prefetched while few pulls are left; a client gets each layer that it asks for")
    func prefetch() throws {
        let hub = Hub()
        hub.left = 10
        let mirror = try mirror(hub) { $0.prefetchLayers = .layer }
        #expect(mirror.get("/v2/team/app/manifests/v1").status == 200)
        mirror.wait(until: { !mirror.puller.incompleteImages.isEmpty })
        let layers = Self.old.layers.map { "/v2/team/app/blobs/\(digestOf($0))" }
        for layer in layers.prefix(2) { #expect(mirror.get(layer).status == 200) }
        mirror.settle()
        #expect(mirror.fake.requests.filter { $0.path.contains("/blobs/") }.map(\.path) == Array(layers.prefix(2)))
        // The config and the layers that were missing then, of which a client has asked for one already.
        #expect(try saved(mirror, "blob") == 4)
        mirror.close()
    }

    @Test("prefetches that wait for their turn are given up when few pulls are left, and those of a load are not")
    func waitingPrefetches() throws {
        let hub = Hub()
        let wide = FakeImage(layerBytes: Array(repeating: 5000, count: 12), seed: 93)
        hub.image = wide
        let mirror = try mirror(hub) { $0.prefetchLayers = .manifest }
        for layer in wide.layers {
            mirror.fake.on("/v2/team/app/blobs/\(digestOf(layer))") { .blob(layer, for: $0).stall(after: 100) }
        }
        #expect(mirror.get("/v2/team/app/manifests/v1").status == 200)
        mirror.wait(until: { mirror.puller.blobsInFlight == 13 && mirror.fake.requests.count == 5 })
        hub.left = 3
        #expect(mirror.get("/v2/team/app/manifests/v2").status == 200)
        let loaded = digestOf(wide.layers[11])
        var source = PullSource(
            host: MirrorKit.host, repository: try #require(RepositoryName("team/app")), via: "1.1 test")
        source.isExplicit = true
        // A client may ask for one that waits.
        let wanted = "/v2/team/app/blobs/\(digestOf(wide.layers[10]))"
        let client = mirror.start(.get(wanted))
        var isLoaded = false
        _ = mirror.puller.fetchBlob(loaded, from: source) { isLoaded = $0 == nil }
        for layer in wide.layers {
            mirror.fake.on("/v2/team/app/blobs/\(digestOf(layer))") { .blob(layer, for: $0) }
        }
        mirror.fake.hangUp()
        mirror.settle()
        mirror.wait(for: [client])
        #expect(isLoaded && client.response.body == wide.layers[10])
        let blobs = Set(mirror.fake.requests.map(\.path).filter { $0.contains("/blobs/") })
        #expect(blobs.count == 6, "the four that had begun, the client's, and the one of the load")
        #expect(blobs.contains(wanted))
        #expect(try (saved(mirror, "blob") ?? 0) >= 7)
        mirror.close()
    }
}

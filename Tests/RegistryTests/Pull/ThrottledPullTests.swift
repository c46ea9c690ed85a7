// Whole pulls from an upstream that throttles: a 429 amid a blob, prefetches, loads and revalidations, and limits by
// the second.

import TestSupport
import Testing

@testable import Configuration
@testable import OCI
@testable import Registry

@Suite struct ThrottledPullTests {
    private static let image = FakeImage()

    @Test("a broken blob transfer that meets a 429 resumes when the pause is over")
    func resumedPull() throws {
        let mirror = try MirrorKit()
        let body = pattern(100_000, seed: 31)
        let target = "/v2/team/app/blobs/\(digestOf(body))"
        mirror.fake.on(target, { .blob(body, for: $0).cut(after: 40_000) }, { _ in .limited }) {
            .blob(body, for: $0)
        }
        #expect(mirror.get(target).body == body)
        #expect(mirror.fake.requests(to: target).map(\.rangeStart) == [nil, 40_000, 40_000])
        mirror.close()
    }

    @Test("a host that answered 429 gets no prefetches, but clients' requests")
    func prefetchStops() throws {
        let mirror = try MirrorKit { $0.prefetchLayers = .manifest }
        let image = FakeImage(layerBytes: Array(repeating: 500, count: 30), seed: 61)
        image.put(on: mirror.fake, tag: "v1")
        // How many are asked for before the first answer is not fixed; all of those are refused.
        var (isThrottled, refused) = (true, 0)
        for blob in image.blobs {
            mirror.fake.on("/v2/team/app/blobs/\(digestOf(blob))") { _ in
                if isThrottled { refused += 1 }
                return isThrottled ? .limited : .ok(blob)
            }
        }
        #expect(mirror.get("/v2/team/app/manifests/v1").status == 200)
        mirror.wait(until: { refused > 0 && mirror.puller.runningBlobs == 0 })
        #expect(refused <= PullQueue<PullKey>.maximumPrefetchPerHost)
        isThrottled = false
        // The last layers have not been asked for; a client gets each of them.
        for layer in image.layers.suffix(5) {
            #expect(mirror.get("/v2/team/app/blobs/\(digestOf(layer))").body == layer)
        }
        let blobs = mirror.fake.requests.filter { $0.path.contains("/blobs/") }
        #expect(blobs.count == refused + 5)
        // The last of them may still be on its way to the disk.
        mirror.wait(until: { mirror.puller.blobsInFlight == image.blobs.count - 5 })
        mirror.close()
    }

    @Test("load continues fetching from a host whose prefetches a 429 has stopped")
    func load() throws {
        let mirror = try MirrorKit()
        let repository = try #require(RepositoryName("team/app"))
        let source = PullSource(host: MirrorKit.host, repository: repository, via: "1.1 test")
        let blobs = (0..<8).map { pattern(500 + $0, seed: 71) }
        var isThrottled = true
        for blob in blobs {
            mirror.fake.on("/v2/team/app/blobs/\(digestOf(blob))") { _ in
                defer { isThrottled = false }
                return isThrottled ? .limited : .ok(blob)
            }
        }
        var (ended, errors) = (0, 0)
        for blob in blobs {
            let growing = mirror.puller.fetchBlob(digestOf(blob), from: source) { error in
                ended += 1
                errors += error == nil ? 0 : 1
            }
            #expect(growing != nil)
        }
        mirror.wait(until: { ended == blobs.count })
        #expect(errors == 0 && mirror.puller.wantedOfSlowHosts.isEmpty)
        mirror.close()
    }

    @Test("a cached tag is served stale while its repository is paused")
    func revalidation() throws {
        let mirror = try MirrorKit { $0.policy.tags = TagPolicies(checksLatest: true) }
        Self.image.put(on: mirror.fake, tag: "latest")
        let target = "/v2/team/app/manifests/latest"
        #expect(mirror.get(target).status == 200)
        mirror.fake.on(target, .limited.adding("Retry-After", "10"))
        for _ in 0..<3 { #expect(mirror.get(target).body == Self.image.manifest) }
        #expect(mirror.fake.requests(to: target).count == 2)
        #expect(mirror.client.rateLimits.waitingCount == 0)
        mirror.close()
    }

    /// Ten requests at once, ten more a second, and 429 without `Retry-After` to what is more.
    private static func throttle(_ mirror: MirrorKit, _ images: [(repository: String, image: FakeImage)]) {
        var answers: [String: FakeAnswer] = [:]
        for (repository, image) in images {
            answers["/v2/\(repository)/manifests/v1"] = image.answer
            for blob in image.blobs { answers["/v2/\(repository)/blobs/\(digestOf(blob))"] = .ok(blob) }
        }
        var left = 10.0
        var last = mirror.run.loop.nowMilliseconds
        mirror.fake.answer = { [loop = mirror.run.loop] request in
            left = min(10, left + Double(loop.nowMilliseconds - last) / 100)
            last = loop.nowMilliseconds
            guard left >= 1 else { return .limited }
            left -= 1
            return answers[request.path] ?? .status(404)
        }
    }

    @Test(
        "an image of 24 layers is pulled from a registry that throttles requests per second", arguments: [true, false])
    func throttledRegistry(prefetch: Bool) throws {
        let mirror = try MirrorKit { $0.prefetchLayers = prefetch ? .manifest : .never }
        let image = FakeImage(layerBytes: Array(repeating: 2000, count: 24), seed: 41)
        Self.throttle(mirror, [("team/app", image)])
        #expect(mirror.get("/v2/team/app/manifests/v1").body == image.manifest)
        for blob in image.blobs {
            #expect(mirror.get("/v2/team/app/blobs/\(digestOf(blob))").body == blob)
        }
        #expect(try mirror.rateLimitedCount() ?? 0 > 0)
        mirror.close()
    }

    @Test("a burst of one client does not pause the registry for another one")
    func burst() throws {
        let mirror = try MirrorKit()
        let other = FakeImage(seed: 42)
        Self.throttle(mirror, [("other/team", other)])
        let burst = (0..<30).map { mirror.start(.get("/v2/x/y\($0)/manifests/v1")) }
        mirror.wait(for: burst)
        for client in burst { #expect(client.response.status == 404) }
        #expect(mirror.get("/v2/other/team/manifests/v1").body == other.manifest)
        mirror.close()
    }
}

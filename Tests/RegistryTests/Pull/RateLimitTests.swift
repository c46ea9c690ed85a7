// What a 429 does: the repository pauses, its clients wait, and other repositories are served.

import TestSupport
import Testing

@testable import Configuration
@testable import OCI
@testable import Registry

@Suite struct RateLimitTests {
    static let limited = FakeAnswer.json("{\"errors\":[{\"code\":\"TOOMANYREQUESTS\"}]}", status: 429)
    static let image = FakeImage()

    private static func count(_ mirror: MirrorKit) throws -> Double? {
        try mirror.scrape()["ociregistry_upstream_rate_limited_total{ns=\"registry.test\"}"]
    }

    @Test("a client waits out a short pause and gets its response")
    func waits() throws {
        let mirror = try MirrorKit()
        let layer = Self.image.layers[0]
        let targets = ["manifests/v1", "blobs/\(digestOf(layer))", "tags/list"].map { "/v2/team/app/\($0)" }
        mirror.fake.on(targets[0], [Self.limited, Self.image.answer])
        mirror.fake.on(targets[1], [Self.limited, .ok(Self.image.layers[0])])
        mirror.fake.on(targets[2], [Self.limited, .json("{\"name\":\"team/app\",\"tags\":[\"v1\"]}")])
        for target in targets {
            let answer = mirror.get(target)
            #expect(answer.status == 200, "\(target)")
            #expect(mirror.fake.requests(to: target).count == 2, "\(target)")
        }
        #expect(mirror.get(targets[0]).body == Self.image.manifest)
        #expect(try Self.count(mirror) == 3)
        #expect(mirror.log.text.contains("upstream answered 429; the repository is paused"))
        mirror.close()
    }

    @Test("other repositories of a host are served while one is paused without upstream requests")
    func scope() throws {
        let mirror = try MirrorKit()
        let paused = "/v2/team/app/manifests/v1"
        mirror.fake.on(paused, Self.limited.adding("Retry-After", "600"))
        Self.image.put(on: mirror.fake, repository: "other/team", tag: "v1")
        let refused = mirror.get(paused)
        #expect(refused.status == 429 && refused.errorCode == "TOOMANYREQUESTS")
        #expect(refused.header("retry-after") == "600")
        #expect(mirror.get("/v2/other/team/manifests/v1").status == 200)
        for blob in Self.image.blobs { #expect(mirror.get("/v2/other/team/blobs/\(digestOf(blob))").status == 200) }
        for target in [paused, "/v2/team/app/blobs/\(Self.image.digest)", "/v2/team/app/tags/list"] {
            #expect(mirror.get(target).status == 429, "\(target)")
        }
        #expect(mirror.fake.requests.filter { $0.path.hasPrefix("/v2/team/app/") }.count == 1)
        let left = try mirror.scrape()["ociregistry_upstream_rate_limit_remaining_seconds{ns=\"registry.test\"}"]
        #expect(left.map { (1...600).contains($0) } == true)
        mirror.close()
    }

    @Test("a client that has waited until its deadline gets a 429")
    func deadline() throws {
        let mirror = try MirrorKit { $0.policy.answerDeadlineMilliseconds = 100 }
        mirror.fake.answer = { _ in Self.limited }
        let targets = ["manifests/v1", "blobs/\(digestOf([1]))", "tags/list", "referrers/\(digestOf([2]))"]
        for target in targets {
            let answer = mirror.get("/v2/team/app/\(target)")
            #expect(answer.status == 429, "\(target)")
            #expect(answer.header("retry-after") == "1", "the pause of one second ends soon")
        }
        #expect(mirror.fake.requests.count == 1)
        mirror.close()
    }

    @Test("a pause longer than clients wait is a 429 at once, without an invented Retry-After")
    func longPauses() throws {
        let mirror = try MirrorKit()
        mirror.fake.answer = { _ in Self.limited }
        let repository = UpstreamRepository(host: MirrorKit.host, repository: RepositoryName("team/app")!)  // valid
        let gate = mirror.client.rateLimits
        // Five refusals in a row, each of a request sent after the pause before it: 1, 2, 4, 8 and 16 s.
        for step: UInt64 in 1...5 {
            gate.refused(
                repository, retryAfterSeconds: nil, askedMilliseconds: mirror.run.loop.nowMilliseconds + step * 60_000)
        }
        for target in ["manifests/v1", "blobs/\(digestOf([1]))", "tags/list"] {
            let answer = mirror.get("/v2/team/app/\(target)")
            #expect(answer.status == 429, "\(target)")
            #expect(answer.header("retry-after") == nil, "\(target)")
        }
        #expect(mirror.fake.requests.isEmpty)
        mirror.close()
    }

    @Test("requests that wait are refused when the upstream makes the pause longer than they may wait")
    func pauseGrows() throws {
        let mirror = try MirrorKit()
        mirror.fake.answer = { _ in Self.limited }
        let name = RepositoryName("team/app")!  // a valid name
        let repository = UpstreamRepository(host: MirrorKit.host, repository: name)
        let gate = mirror.client.rateLimits
        gate.refused(repository, retryAfterSeconds: 10, askedMilliseconds: mirror.run.loop.nowMilliseconds)
        let targets = ["manifests/v1", "blobs/\(digestOf([1]))", "tags/list"]
        let clients = targets.map { mirror.start(.get("/v2/team/app/\($0)")) }
        // As `load` fetches one: no client's patience ends it.
        var loaded: RegistryError?
        let source = PullSource(host: MirrorKit.host, repository: name, via: "1.1 test")
        _ = mirror.puller.fetchBlob(digestOf([2]), from: source) { loaded = $0 }
        mirror.wait(until: { gate.waitingCount == targets.count + 1 })
        gate.refused(repository, retryAfterSeconds: 3600, askedMilliseconds: 0)
        mirror.wait(for: clients)
        mirror.wait(until: { loaded != nil })
        for client in clients {
            #expect(client.response.status == 429)
            #expect(client.response.header("retry-after").flatMap { Int($0) } ?? 0 > 3500)
        }
        #expect(loaded?.status == 429 && gate.waitingCount == 0 && mirror.puller.blobsInFlight == 0)
        #expect(mirror.fake.requests.isEmpty)
        mirror.close()
    }

    @Test("after a pause requests are sent one first, and two more for each that is answered")
    func slowStart() throws {
        let mirror = try MirrorKit()
        let bodies = (0..<40).map { pattern(500, seed: 700 + UInt64($0)) }
        var arrived = 0
        var tooEarly = 0
        let gate = "/v2/team/app/manifests/gate"
        mirror.fake.on(gate, [Self.limited, Self.image.answer])
        for body in bodies {
            mirror.fake.on("/v2/team/app/blobs/\(digestOf(body))") { [unowned fake = mirror.fake] _ in
                let answered = fake.sentBodyBytes / 500
                if arrived > 1 + 2 * answered { tooEarly += 1 }
                arrived += 1
                return .ok(body)
            }
        }
        let first = mirror.start(.get(gate))
        mirror.wait(until: { mirror.client.rateLimits.waitingCount == 1 })
        let clients = bodies.map { mirror.start(.get("/v2/team/app/blobs/\(digestOf($0))")) }
        mirror.wait(for: clients + [first])
        for (client, body) in zip(clients, bodies) { #expect(client.response.body == body) }
        #expect(first.response.status == 200)
        #expect(arrived == 40 && tooEarly == 0)
        mirror.close()
    }

    @Test("pulls that wait for a pause take no queue places from other repositories")
    func heldPulls() throws {
        let mirror = try MirrorKit()
        let count = PullQueue<PullKey>.maximumForClientsPerHost + 10
        let bodies = (0..<count).map { pattern(200, seed: 900 + UInt64($0)) }
        var isLimited = true
        for body in bodies {
            mirror.fake.on("/v2/team/app/blobs/\(digestOf(body))") { _ in
                isLimited ? Self.limited.adding("Retry-After", "3") : .ok(body)
            }
        }
        let other = pattern(300, seed: 2000)
        mirror.fake.on("/v2/other/team/blobs/\(digestOf(other))", .ok(other))
        let waiting = bodies.map { mirror.start(.get("/v2/team/app/blobs/\(digestOf($0))")) }
        mirror.wait(until: { mirror.client.rateLimits.waitingCount == count })
        isLimited = false
        #expect(mirror.get("/v2/other/team/blobs/\(digestOf(other))").body == other)
        #expect(waiting.allSatisfy { $0.responses.isEmpty })
        // The other repository's is still on its way to the disk for a moment.
        mirror.wait(until: { mirror.puller.runningBlobs == 0 })
        let scrape = try mirror.scrape()
        #expect(scrape["ociregistry_upstream_requests_waiting"] == Double(count))
        #expect(scrape["ociregistry_pulls_in_flight{kind=\"blob\"}"] == 0)
        mirror.wait(for: waiting)
        for (client, body) in zip(waiting, bodies) { #expect(client.response.body == body) }
        mirror.close()
    }

    @Test("requests beyond the bound of waiting ones get a 429 at once")
    func waitingIsBounded() throws {
        let mirror = try MirrorKit()
        let gate = "/v2/team/app/manifests/gate"
        mirror.fake.on(gate, Self.limited.adding("Retry-After", "10"))
        mirror.start(.get(gate))
        mirror.wait(until: { mirror.client.rateLimits.waitingCount == 1 })
        let limit = RateLimitGate.maximumWaitingPerRepository
        let clients = (1..<limit + 20).map { mirror.start(.get("/v2/team/app/manifests/t\($0)")) }
        mirror.wait(until: { clients.filter(\.isDone).count == 20 })
        for client in clients where client.isDone { #expect(client.response.status == 429) }
        #expect(mirror.client.rateLimits.waitingCount == limit)
        mirror.close()
    }

    @Test("a token service's 429 pauses the repository of the token")
    func tokenService() throws {
        let mirror = try MirrorKit()
        let target = "/v2/team/app/manifests/v1"
        var refusals = 1
        mirror.fake.answer = { [unowned fake = mirror.fake] request in
            if request.path == "/token" {
                refusals -= 1
                return refusals >= 0 ? Self.limited : .token("t")
            }
            guard request.header("authorization") == "Bearer t" else {
                return .challenge(realm: "\(fake.url)/token")
            }
            return Self.image.answer
        }
        #expect(mirror.get(target).body == Self.image.manifest)
        #expect(mirror.fake.requests(to: "/token").count == 2)
        #expect(try Self.count(mirror) == 1)
        // A long one is passed on, and another repository gets its token meanwhile.
        mirror.fake.answer = { [unowned fake = mirror.fake] request in
            guard request.path == "/token" else {
                return request.header("authorization") == "Bearer t"
                    ? Self.image.answer : .challenge(realm: "\(fake.url)/token")
            }
            let isLimited = request.parameter("scope")?.contains("slow/app") == true
            return isLimited ? Self.limited.adding("Retry-After", "100") : .token("t")
        }
        let slow = mirror.get("/v2/slow/app/manifests/v1")
        #expect(slow.status == 429 && slow.header("retry-after") == "100")
        #expect(mirror.get("/v2/other/app/manifests/v1").status == 200)
        mirror.close()
    }

    @Test("a broken blob transfer that meets a 429 resumes when the pause is over")
    func resumedPull() throws {
        let mirror = try MirrorKit()
        let body = pattern(100_000, seed: 31)
        let target = "/v2/team/app/blobs/\(digestOf(body))"
        mirror.fake.on(target, { .blob(body, for: $0).cut(after: 40_000) }, { _ in Self.limited }) {
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
                return isThrottled ? Self.limited : .ok(blob)
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
                return isThrottled ? Self.limited : .ok(blob)
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
        let mirror = try MirrorKit { $0.policy.alwaysPullLatest = true }
        Self.image.put(on: mirror.fake, tag: "latest")
        let target = "/v2/team/app/manifests/latest"
        #expect(mirror.get(target).status == 200)
        mirror.fake.on(target, Self.limited.adding("Retry-After", "10"))
        for _ in 0..<3 { #expect(mirror.get(target).body == Self.image.manifest) }
        #expect(mirror.fake.requests(to: target).count == 2)
        #expect(mirror.client.rateLimits.waitingCount == 0)
        mirror.close()
    }

    // MARK: Limits by the second

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
            guard left >= 1 else { return limited }
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
        #expect(try Self.count(mirror) ?? 0 > 0)
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

    // MARK: 503

    @Test("a 503's Retry-After is passed on, an hour at most, and none is invented")
    func unavailable() throws {
        let mirror = try MirrorKit()
        let expected: [(String?, String?)] = [(nil, nil), ("20", "20"), ("100000", "3600"), ("soon", nil)]
        for kind in ["manifests/v1", "blobs/\(digestOf([1]))", "tags/list"] {
            for (named, passed) in expected {
                var answer = FakeAnswer.status(503)
                if let named { answer = answer.adding("Retry-After", named) }
                mirror.fake.on("/v2/team/app/\(kind)", answer)
                let response = mirror.get("/v2/team/app/\(kind)")
                #expect(response.status == 503)
                #expect(response.header("retry-after") == passed, "\(kind) \(named ?? "-")")
            }
        }
        mirror.fake.answer = { [unowned fake = mirror.fake] request in
            request.path == "/token"
                ? .status(503, [("Retry-After", "9")]) : .challenge(realm: "\(fake.url)/token")
        }
        let token = mirror.get("/v2/team/app/manifests/v2")
        #expect(token.status == 503 && token.header("retry-after") == "9")
        mirror.close()
    }

    @Test("a 503 at this server's own deadline has no Retry-After")
    func late() throws {
        let mirror = try MirrorKit { $0.policy.answerDeadlineMilliseconds = 60 }
        mirror.fake.answer = { _ in .silent }
        let answer = mirror.get("/v2/team/app/manifests/v1")
        #expect(answer.status == 503 && answer.header("retry-after") == nil)
        mirror.close()
    }
}

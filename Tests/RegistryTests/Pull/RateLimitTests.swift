// What a 429 does to clients: its repository is paused, their requests wait, and other repositories are served. Which
// Retry-After a client gets, with a 429 and with a 503.

import TestSupport
import Testing

@testable import Configuration
@testable import OCI
@testable import Registry

@Suite struct RateLimitTests {
    private static let image = FakeImage()

    @Test("a client waits out a short pause and gets its response")
    func waits() throws {
        let mirror = try MirrorKit()
        let layer = Self.image.layers[0]
        let targets = ["manifests/v1", "blobs/\(digestOf(layer))", "tags/list"].map { "/v2/team/app/\($0)" }
        mirror.fake.on(targets[0], [.limited, Self.image.answer])
        mirror.fake.on(targets[1], [.limited, .ok(Self.image.layers[0])])
        mirror.fake.on(targets[2], [.limited, .json("{\"name\":\"team/app\",\"tags\":[\"v1\"]}")])
        for target in targets {
            let answer = mirror.get(target)
            #expect(answer.status == 200, "\(target)")
            #expect(mirror.fake.requests(to: target).count == 2, "\(target)")
        }
        #expect(mirror.get(targets[0]).body == Self.image.manifest)
        #expect(try mirror.rateLimitedCount() == 3)
        #expect(mirror.log.text.contains("upstream answered 429; the repository is paused"))
        mirror.close()
    }

    @Test("other repositories of a host are served while one is paused without upstream requests")
    func scope() throws {
        let mirror = try MirrorKit()
        let paused = "/v2/team/app/manifests/v1"
        mirror.fake.on(paused, .limited.adding("Retry-After", "600"))
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
        mirror.fake.answer = { _ in .limited }
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
        mirror.fake.answer = { _ in .limited }
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
        mirror.fake.answer = { _ in .limited }
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
        mirror.fake.on(gate, [.limited, Self.image.answer])
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
                isLimited ? .limited.adding("Retry-After", "3") : .ok(body)
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
        mirror.fake.on(gate, .limited.adding("Retry-After", "10"))
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
                return refusals >= 0 ? .limited : .token("t")
            }
            guard request.header("authorization") == "Bearer t" else {
                return .challenge(realm: "\(fake.url)/token")
            }
            return Self.image.answer
        }
        #expect(mirror.get(target).body == Self.image.manifest)
        #expect(mirror.fake.requests(to: "/token").count == 2)
        #expect(try mirror.rateLimitedCount() == 1)
        // A long one is passed on, and another repository gets its token meanwhile.
        mirror.fake.answer = { [unowned fake = mirror.fake] request in
            guard request.path == "/token" else {
                return request.header("authorization") == "Bearer t"
                    ? Self.image.answer : .challenge(realm: "\(fake.url)/token")
            }
            let isLimited = request.parameter("scope")?.contains("slow/app") == true
            return isLimited ? .limited.adding("Retry-After", "100") : .token("t")
        }
        let slow = mirror.get("/v2/slow/app/manifests/v1")
        #expect(slow.status == 429 && slow.header("retry-after") == "100")
        #expect(mirror.get("/v2/other/app/manifests/v1").status == 200)
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

// Tokens, credentials and rate limits, over real sockets.

import TestSupport
import Testing

@testable import Configuration
@testable import OCI
@testable import Registry

@Suite struct UpstreamAuthTests {
    private static let path = "/v2/a/blobs/x"
    private static let auth = RegistryAuth(user: "me", password: Secret("s3cret"))
    private static let basic = "Basic bWU6czNjcmV0"

    /// Wants `Bearer <token>` for everything but `/token`, which gives a new token each time.
    private static func guarded(_ kit: UpstreamKit, expiresIn: Int = 300) -> () -> String {
        var token = "none yet"
        var count = 0
        kit.fake.answer = { [unowned fake = kit.fake] request in
            if request.path == "/token" {
                count += 1
                token = "t\(count)"
                return .token(token, expiresIn: expiresIn)
            }
            guard request.header("authorization") == "Bearer \(token)" else {
                return .challenge(realm: "\(fake.url)/token", scope: "repository:a:pull")
            }
            return .ok(Array("content".utf8))
        }
        return { token }
    }

    @Test("a token is fetched once and sent with later requests") func token() throws {
        let kit = try UpstreamKit()
        _ = Self.guarded(kit)
        for _ in 0..<3 { #expect(kit.ask().body == Array("content".utf8)) }
        #expect(kit.fake.requests.map(\.path) == [Self.path, "/token", Self.path, Self.path, Self.path])
        let asked = try #require(kit.fake.requests(to: "/token").first)
        #expect(asked.parameter("service") == "fake")
        #expect(asked.parameter("scope") == "repository:a:pull")
        #expect(asked.header("authorization") == nil)
        #expect(kit.fake.connectionCount == 1)
        kit.run.close()
    }

    @Test("a hundred concurrent pulls fetch one token") func sharedToken() throws {
        let kit = try UpstreamKit()
        _ = Self.guarded(kit)
        var left = 100
        let records = (0..<100).map { number in
            let record = ExchangeRecord()
            record.onEnd = {
                left -= 1
                if left == 0 { kit.run.finish() }
            }
            return kit.start("/v2/a/blobs/\(number)", record: record).record
        }
        kit.run.run()
        #expect(records.allSatisfy { $0.body == Array("content".utf8) })
        #expect(kit.fake.requests(to: "/token").count == 1)
        kit.run.close()
    }

    @Test("a cancelled request does not cancel the token fetch that others wait for") func cancelledToken() throws {
        let kit = try UpstreamKit()
        _ = Self.guarded(kit)
        let (first, exchange) = kit.start()
        kit.fake.onRequest = { if $0.path == "/token" { exchange.cancel() } }
        #expect(kit.ask().body == Array("content".utf8))
        #expect(!first.isEnded)
        #expect(kit.fake.requests(to: "/token").count == 1)
        kit.run.close()
    }

    @Test("a refused token is replaced once for all requests") func replacedToken() throws {
        let kit = try UpstreamKit()
        var good = "old"
        kit.fake.answer = { [unowned fake = kit.fake] request in
            if request.path == "/token" { return .token(good) }
            return request.header("authorization") == "Bearer \(good)"
                ? .ok([1]) : .challenge(realm: "\(fake.url)/token")
        }
        #expect(kit.ask().body == [1])
        good = "new"
        var left = 20
        let records = (0..<20).map { _ in
            let record = ExchangeRecord()
            record.onEnd = {
                left -= 1
                if left == 0 { kit.run.finish() }
            }
            return kit.start(record: record).record
        }
        kit.run.run()
        #expect(records.allSatisfy { $0.body == [1] })
        #expect(kit.fake.requests(to: "/token").count == 2)
        kit.run.close()
    }

    @Test("a registry that refuses every token gives a 401 after bounded requests") func refusedTokens() throws {
        let kit = try UpstreamKit()
        kit.fake.answer = { [unowned fake = kit.fake] request in
            request.path == "/token" ? .token("t") : .challenge(realm: "\(fake.url)/token")
        }
        let record = kit.ask()
        #expect(record.head?.status == 401)
        #expect(kit.fake.requests.count == 3)
        kit.run.close()
    }

    @Test("access_token is accepted, and the scope defaults to pull of the repository") func accessToken() throws {
        let kit = try UpstreamKit()
        kit.fake.answer = { [unowned fake = kit.fake] request in
            if request.path == "/token" { return .json("{\"access_token\":\"t\"}") }
            return request.header("authorization") == "Bearer t" ? .ok([1]) : .challenge(realm: "\(fake.url)/token?x=1")
        }
        #expect(kit.ask("/v2/b/c/blobs/x", repository: "b/c").body == [1])
        let asked = try #require(kit.fake.requests(to: "/token").first)
        #expect(asked.parameter("scope") == "repository:b/c:pull")
        #expect(asked.parameter("x") == "1")
        kit.run.close()
    }

    @Test("each repository has its own token") func tokensByRepository() throws {
        let kit = try UpstreamKit()
        kit.fake.answer = { [unowned fake = kit.fake] request in
            if request.path == "/token" { return .token(request.parameter("scope") ?? "") }
            let repository = request.path.split(separator: "/")[1]
            let isGood = request.header("authorization") == "Bearer repository:\(repository):pull"
            return isGood ? .ok([1]) : .challenge(realm: "\(fake.url)/token")
        }
        for _ in 0..<2 {
            for name in ["a", "b"] { #expect(kit.ask("/v2/\(name)/blobs/x", repository: name).body == [1]) }
        }
        #expect(kit.fake.requests.count == 8)
        kit.run.close()
    }

    // MARK: Credentials

    @Test("credentials are sent to a token realm on the registry's own host") func ownRealm() throws {
        let kit = try UpstreamKit { _, config, _ in config.auth = Self.auth }
        _ = Self.guarded(kit)
        #expect(kit.ask().failure == nil)
        #expect(kit.fake.requests.map { $0.header("authorization") } == [nil, Self.basic, "Bearer t1"])
        kit.run.close()
    }

    @Test("credentials are not sent to another host's realm, and the error suggests auth.tokenRealm")
    func foreignRealm() throws {
        var stranger: FakeUpstream?
        let kit = try UpstreamKit { fake, config, _ in
            config.auth = Self.auth
            // 127.0.0.2 may be asked at all only since configuration names it.
            let other = FakeUpstream(on: fake.loop, address: "127.0.0.2")
            other.answer = { _ in .token("anonymous") }
            config.auth?.tokenRealm = "127.0.0.2:1"
            stranger = other
        }
        let other = try #require(stranger)
        kit.run.atClose { other.close() }
        kit.fake.answer = { _ in .challenge(realm: "http://127.0.0.2:\(other.port)/token") }
        let record = kit.ask()
        #expect(other.requests.map { $0.header("authorization") } == [nil])
        #expect(record.head?.status == 401)
        let error = try #require(
            record.head.flatMap { UpstreamAnswer.error(for: $0, kind: .blob, host: UpstreamKit.host) })
        #expect(error.status == 403)
        #expect(error.detail?.contains("auth.tokenRealm to 127.0.0.2:\(other.port)") == true)
        kit.run.close()
    }

    @Test("credentials are sent to the configured token realm") func configuredRealm() throws {
        var realm: FakeUpstream?
        let kit = try UpstreamKit { fake, config, _ in
            let other = FakeUpstream(on: fake.loop, address: "127.0.0.2")
            other.answer = { _ in .token("t") }
            config.auth = Self.auth
            config.auth?.tokenRealm = "127.0.0.2:\(other.port)"
            realm = other
        }
        let other = try #require(realm)
        kit.run.atClose { other.close() }
        kit.fake.answer = { request in
            request.header("authorization") == "Bearer t"
                ? .ok([1]) : .challenge(realm: "http://127.0.0.2:\(other.port)/token")
        }
        #expect(kit.ask().body == [1])
        #expect(other.requests.map { $0.header("authorization") } == [Self.basic])
        kit.run.close()
    }

    @Test("a loopback token realm without configuration is refused") func localRealm() throws {
        let kit = try UpstreamKit()
        kit.fake.answer = { [unowned fake = kit.fake] _ in .challenge(realm: "http://localhost:\(fake.port)/token") }
        #expect(kit.ask().refusal?.status == 403)
        #expect(kit.fake.requests.count == 1)
        kit.run.close()
    }

    @Test("a Basic challenge is answered once, and credentials are sent with later requests")
    func basicChallenge() throws {
        let kit = try UpstreamKit { _, config, _ in config.auth = Self.auth }
        kit.fake.answer = { request in
            request.header("authorization") == Self.basic
                ? .ok([1]) : .status(401, [("WWW-Authenticate", "Basic realm=\"Registry\"")])
        }
        #expect(kit.ask().body == [1])
        #expect(kit.ask().body == [1])
        #expect(kit.fake.requests.map { $0.header("authorization") } == [nil, Self.basic, Self.basic])
        kit.run.close()
    }

    @Test("a Basic challenge without credentials is a 401 that suggests auth.user")
    func basicWithoutCredentials() throws {
        let kit = try UpstreamKit()
        kit.fake.answer = { _ in .status(401, [("WWW-Authenticate", "Basic realm=\"Registry\"")]) }
        let record = kit.ask()
        #expect(record.head?.status == 401)
        #expect(record.head?.deniedHint?.contains("auth.user") == true)
        #expect(kit.fake.requests.count == 1)
        kit.run.close()
    }

    // MARK: Token services that fail

    private static let failing: [(FakeAnswer, Int, RegistryError.Code)] = [
        (.status(500), 503, .unavailable), (.status(503), 503, .unavailable), (.status(401), 403, .denied),
        (.status(403), 403, .denied), (.status(429, [("Retry-After", "5")]), 429, .tooManyRequests),
        (.status(404), 502, .unknown), (.redirect(to: "ftp://a.b/"), 403, .denied), (.status(302), 502, .unknown),
        (.json("<html>"), 502, .unknown),
        (.json("{}"), 502, .unknown), (.json("{\"token\":\"a\\nb\"}"), 502, .unknown),
        (.ok([UInt8](repeating: 0x20, count: 200_000)), 502, .unknown),
    ]

    @Test("a failing token service has its status and code, and is not retried", arguments: 0..<failing.count)
    func failingTokenServices(number: Int) throws {
        let (answer, status, code) = Self.failing[number]
        let kit = try UpstreamKit()
        kit.fake.answer = { [unowned fake = kit.fake] request in
            request.path == "/token" ? answer : .challenge(realm: "\(fake.url)/token")
        }
        let record = kit.ask()
        #expect(record.refusal?.status == status)
        #expect(record.refusal?.code == code)
        #expect(kit.fake.requests(to: "/token").count == 1)
        kit.run.close()
    }

    @Test("a broken or unreachable token service makes the upstream unavailable") func brokenTokenService() throws {
        let kit = try UpstreamKit { _, config, _ in config.auth = Self.auth }
        kit.fake.answer = { [unowned fake = kit.fake] request in
            request.path == "/token" ? FakeAnswer.token("t").cut(after: 3) : .challenge(realm: "\(fake.url)/token")
        }
        let cut = kit.ask()
        #expect(cut.failure?.registryError(host: UpstreamKit.host).status == 503)
        #expect(cut.failure?.reason.contains("token service") == true)
        // Port 1 has no listener.
        kit.fake.answer = { _ in .challenge(realm: "http://127.0.0.1:1/token") }
        guard case .unreachable = kit.ask().failure else {
            Issue.record("not unreachable")
            return
        }
        kit.run.close()
    }

    // MARK: 429

    @Test("a 429 with Retry-After pauses later requests") func rateLimit() throws {
        let kit = try UpstreamKit()
        kit.fake.answer = { _ in .status(429, [("Retry-After", "30")]) }
        let first = kit.ask()
        #expect(first.head?.status == 429)
        let seconds = try #require(first.head?.retryAfterSeconds)
        #expect((29...30).contains(seconds))
        for _ in 0..<5 {
            let error = try #require(kit.ask(kind: .manifest).refusal)
            #expect(error.status == 429)
            #expect(error.retryAfterSeconds.map { (1...30).contains($0) } == true)
        }
        #expect(kit.fake.requests.count == 1)
        kit.run.close()
    }

    // MARK: Upstreams

    @Test("a thousand upstreams leave configured ones and Docker Hub with their own addresses")
    func manyUpstreams() throws {
        let kit = try UpstreamKit()
        for number in 0..<1000 {
            let host = try #require(RegistryHost("r\(number).test"))
            #expect(kit.client.upstream(for: host).base.text == "https://r\(number).test/")
        }
        #expect(kit.client.upstream(for: UpstreamKit.host).base.port == kit.fake.port)
        #expect(kit.client.upstream(for: .dockerHub).base.host == "registry-1.docker.io")
        kit.run.close()
    }

    @Test(
        "a local upstream without configuration is refused with 403",
        arguments: ["localhost", "127.0.0.1:5000", "[::1]:5000", "169.254.169.254", "0.0.0.0"])
    func localUpstream(name: String) throws {
        let kit = try UpstreamKit()
        let host = try #require(RegistryHost(name))
        #expect(kit.ask(host: host).refusal?.status == 403)
        kit.run.close()
    }

    @Test("an upstream with an invalid address fails") func invalidHost() throws {
        let kit = try UpstreamKit()
        let host = try #require(RegistryHost("[::::]"))
        #expect(kit.ask(host: host).failure != nil)
        kit.run.close()
    }

    @Test("an upstream whose name does not resolve is unreachable") func unresolvableName() throws {
        let kit = try UpstreamKit()
        let host = try #require(RegistryHost("no-such-host.invalid"))
        guard case .unreachable = kit.ask(host: host).failure else {
            Issue.record("not unreachable")
            return
        }
        // Leaving in mid-lookup waits for nobody.
        let (record, exchange) = kit.start(host: host)
        kit.run.run(milliseconds: 5)
        exchange.cancel()
        #expect(!record.isEnded)
        kit.run.close()
    }
}

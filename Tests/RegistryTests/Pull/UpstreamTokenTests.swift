// Tokens of an upstream: fetched once for all requests, by repository, and token services that fail, over real sockets.

import TestSupport
import Testing

@testable import Configuration
@testable import OCI
@testable import Registry

@Suite struct UpstreamTokenTests {
    @Test("a token is fetched once and sent with later requests") func token() throws {
        let kit = try UpstreamKit()
        kit.requireTokens()
        for _ in 0..<3 { #expect(kit.ask().body == Array("content".utf8)) }
        let path = UpstreamKit.path
        #expect(kit.fake.requests.map(\.path) == [path, "/token", path, path, path])
        let asked = try #require(kit.fake.requests(to: "/token").first)
        #expect(asked.parameter("service") == "fake")
        #expect(asked.parameter("scope") == "repository:a:pull")
        #expect(asked.header("authorization") == nil)
        #expect(kit.fake.connectionCount == 1)
        kit.run.close()
    }

    @Test("a hundred concurrent pulls fetch one token") func sharedToken() throws {
        let kit = try UpstreamKit()
        kit.requireTokens()
        let records = kit.askAll((0..<100).map { "/v2/a/blobs/\($0)" })
        #expect(records.allSatisfy { $0.body == Array("content".utf8) })
        #expect(kit.fake.requests(to: "/token").count == 1)
        kit.run.close()
    }

    @Test("a cancelled request does not cancel the token fetch that others wait for") func cancelledToken() throws {
        let kit = try UpstreamKit()
        kit.requireTokens()
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
        let records = kit.askAll(Array(repeating: UpstreamKit.path, count: 20))
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

    private static let failing: [(FakeAnswer, Int, RegistryError.Code)] = [
        (.status(500), 503, .unavailable), (.status(503), 503, .unavailable), (.status(401), 403, .denied),
        (.status(403), 403, .denied), (.status(429, [("Retry-After", "5")]), 429, .tooManyRequests),
        (.status(404), 502, .unknown), (.redirect(to: "ftp://a.b/"), 403, .denied), (.status(302), 502, .unknown),
        (.json("<html>"), 502, .unknown), (.json("{}"), 502, .unknown),
        (.json("{\"token\":\"a\\nb\"}"), 502, .unknown),
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
        let kit = try UpstreamKit { _, config, _ in config.auth = UpstreamKit.auth }
        kit.fake.answer = { [unowned fake = kit.fake] request in
            request.path == "/token" ? FakeAnswer.token("t").cut(after: 3) : .challenge(realm: "\(fake.url)/token")
        }
        let cut = kit.ask()
        #expect(cut.failure?.registryError(host: UpstreamKit.host).status == 503)
        #expect(cut.failure?.reason.contains("token service") == true)
        // Port 1 has no listener.
        kit.fake.answer = { _ in .challenge(realm: "http://127.0.0.1:1/token") }
        #expect(kit.ask().failureKind == .unreachable)
        kit.run.close()
    }
}

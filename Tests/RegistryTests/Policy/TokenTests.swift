// Token replies, and how long tokens are kept.

import TestSupport
import Testing

@testable import OCI
@testable import Registry

@Suite struct TokenTests {
    private static func decode(_ text: String) -> TokenReply? { try? TokenReply.decode(Array(text.utf8)) }

    @Test("a token response is decoded with its token and lifetime") func replies() {
        #expect(Self.decode("{\"token\":\"a\"}") == TokenReply(token: "a", expiresInSeconds: 60))
        #expect(
            Self.decode("{\"access_token\":\"b\",\"expires_in\":300}") == TokenReply(token: "b", expiresInSeconds: 300))
        #expect(Self.decode("{\"token\":\"\",\"access_token\":\"b\"}")?.token == "b")
        #expect(Self.decode("{\"token\":\"a\",\"access_token\":\"b\"}")?.token == "a")
        #expect(Self.decode("{\"token\":\"a\",\"expires_in\":\"900\"}")?.expiresInSeconds == 900)
        #expect(Self.decode("{\"token\":\"a\",\"expires_in\":900.5}")?.expiresInSeconds == 900)
        #expect(Self.decode("{\"token\":\"a\",\"issued_at\":\"2020-01-01T00:00:00Z\",\"more\":[1]}")?.token == "a")
    }

    @Test(
        "a token's lifetime is kept between a minute and a day",
        arguments: [
            ("5", 60), ("-1", 60), ("0", 60), ("1e300", 86_400), ("null", 60), ("true", 60), ("{}", 60),
            ("\"soon\"", 60),
        ])
    func lifetimes(text: String, seconds: Int) {
        #expect(Self.decode("{\"token\":\"a\",\"expires_in\":\(text)}")?.expiresInSeconds == seconds)
    }

    @Test(
        "an invalid token response is refused",
        arguments: [
            "", "null", "[]", "{}", "<html>", "{\"token\":1}", "{\"token\":null}", "{\"token\":\"\"}",
            "{\"token\":\"a\\r\\nX: y\"}",
            "{\"token\":\"a b\"}", "{\"token\":\"\u{e9}\"}",
        ])
    func invalidReplies(text: String) {
        #expect(Self.decode(text) == nil)
    }

    @Test("a token response that is too long is refused") func oversizedReply() {
        let long = "{\"token\":\"\(String(repeating: "a", count: TokenReply.maximumBytes))\"}"
        #expect(throws: TokenReply.InvalidTokenResponse.self) { try TokenReply.decode(Array(long.utf8)) }
    }

    // MARK: Cache

    private static func key(_ scope: String, identity: String = "") -> TokenCache.Key {
        TokenCache.Key(realm: "https://a/t", service: "s", scope: scope, identity: identity)
    }

    @Test("a token is used until shortly before it expires") func expiry() {
        var cache = TokenCache()
        cache.insert(TokenReply(token: "t", expiresInSeconds: 100), for: Self.key("x"), now: 1000)
        #expect(cache.token(for: Self.key("x"), now: 1000) == "t")
        #expect(cache.token(for: Self.key("x"), now: 90_999) == "t")
        #expect(cache.token(for: Self.key("x"), now: 91_000) == nil)
    }

    @Test("tokens are kept apart by realm, service, scope and identity") func keys() {
        var cache = TokenCache()
        cache.insert(TokenReply(token: "t", expiresInSeconds: 100), for: Self.key("x"), now: 0)
        #expect(cache.token(for: Self.key("y"), now: 0) == nil)
        #expect(cache.token(for: Self.key("x", identity: "me"), now: 0) == nil)
        let other = TokenCache.Key(realm: "https://b/t", service: "s", scope: "x", identity: "")
        #expect(cache.token(for: other, now: 0) == nil)
        let unnamed = TokenCache.Key(realm: "https://a/t", service: nil, scope: "x", identity: "")
        #expect(cache.token(for: unnamed, now: 0) == nil)
    }

    @Test("a repository's route finds its token until that token is dropped") func routes() throws {
        var cache = TokenCache()
        let route = TokenCache.Route(endpoint: "https://r.test", repository: try #require(RepositoryName("x")))
        let other = TokenCache.Route(endpoint: "https://r.test", repository: try #require(RepositoryName("y")))
        cache.remember(Self.key("x"), at: route)
        #expect(cache.token(at: route, now: 0) == nil)
        cache.insert(TokenReply(token: "t", expiresInSeconds: 100), for: Self.key("x"), now: 0)
        #expect(cache.token(at: route, now: 0)?.token == "t")
        #expect(cache.token(at: other, now: 0) == nil)
        // Dropped only while it is still the one that was refused.
        cache.drop("older", for: Self.key("x"))
        #expect(cache.token(at: route, now: 0)?.token == "t")
        cache.drop("t", for: Self.key("x"))
        #expect(cache.token(at: route, now: 0) == nil)
    }

    @Test("the token cache is bounded and keeps the latest expiry") func bounded() {
        var cache = TokenCache()
        for number in 0..<(3 * TokenCache.maximumEntries) {
            cache.insert(
                TokenReply(token: "t\(number)", expiresInSeconds: 100 + number), for: Self.key("\(number)"), now: 0)
        }
        #expect(cache.count == TokenCache.maximumEntries)
        let newest = 3 * TokenCache.maximumEntries - 1
        #expect(cache.token(for: Self.key("\(newest)"), now: 0) == "t\(newest)")
    }
}

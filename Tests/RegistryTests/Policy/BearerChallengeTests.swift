// WWW-Authenticate as registries send it, and as nobody should.

import TestSupport
import Testing

@testable import OCI
@testable import Registry

@Suite struct BearerChallengeTests {
    private static func bearer(_ realm: String, _ service: String? = nil, _ scope: String? = nil) -> [String?] {
        ["bearer", realm, service, scope]
    }

    private static func read(_ values: [String]) -> [String?]? {
        BearerChallenge.parse(values).map {
            [$0.scheme == .bearer ? "bearer" : "basic", $0.realm, $0.service, $0.scope]
        }
    }

    @Test("challenges of real registries are parsed") func realChallenges() {
        let hub =
            "Bearer realm=\"https://auth.docker.io/token\",service=\"registry.docker.io\","
            + "scope=\"repository:library/x:pull\""
        #expect(
            Self.read([hub])
                == Self.bearer("https://auth.docker.io/token", "registry.docker.io", "repository:library/x:pull"))
        #expect(Self.read(["bearer REALM=https://a/t"]) == Self.bearer("https://a/t"))
        #expect(Self.read(["Bearer realm = \"https://a/t\" ,  service=\"s\""]) == Self.bearer("https://a/t", "s"))
        #expect(Self.read(["Basic realm=\"Registry Realm\""]) == ["basic", "", nil, nil])
        #expect(Self.read(["BASIC"]) == ["basic", "", nil, nil])
    }

    @Test("Bearer is preferred among several challenges and headers") func severalChallenges() {
        let both = "Basic realm=\"x\", Bearer realm=\"https://a/t\",service=\"s\""
        #expect(Self.read([both]) == Self.bearer("https://a/t", "s"))
        #expect(Self.read(["Basic realm=\"x\"", "Bearer realm=\"https://a/t\""]) == Self.bearer("https://a/t"))
        #expect(Self.read(["Negotiate", "Basic realm=\"x\""]) == ["basic", "", nil, nil])
        #expect(Self.read(["Negotiate, Basic realm=\"x\""]) == ["basic", "", nil, nil])
        #expect(Self.read(["Digest nonce=\"a\", realm=\"b\"", "Bearer realm=\"c\""]) == Self.bearer("c"))
    }

    @Test("quoted strings are unescaped, and the first of a repeated parameter counts") func quotedStrings() {
        #expect(
            Self.read(["Bearer realm=\"a\\\"b\\\\c\",scope=\"x,y=z Basic\""])
                == Self.bearer("a\"b\\c", nil, "x,y=z Basic"))
        #expect(Self.read(["Bearer realm=\"a\",service=\"\""]) == Self.bearer("a", ""))
        // The first of a repeated parameter stays.
        #expect(Self.read(["Bearer realm=\"a\",realm=\"b\""]) == Self.bearer("a"))
    }

    @Test(
        "a malformed or unsupported challenge is ignored",
        arguments: [
            "", " ", ",", "Bearer", "Bearer realm", "Bearer realm=", "Bearer realm=\"", "Bearer realm=\"\"",
            "Bearer service=\"s\"",
            "=\"a\"", "realm=\"a\"", "Digest realm=\"a\"", "\u{1F6AB}", "Bearer\u{0}realm=\"a\"",
            "Bearer realm=\"never closed",
        ])
    func malformed(value: String) {
        #expect(BearerChallenge.parse([value]) == nil)
    }

    @Test("a challenge that is too long is ignored") func tooLong() {
        #expect(BearerChallenge.parse(["Bearer realm=\"\(String(repeating: "a", count: 20_000))\""]) == nil)
        #expect(BearerChallenge.parse([]) == nil)
    }

    @Test("random bytes never give a Bearer challenge without a realm") func randomBytes() {
        let seed = UInt64.random(in: 0...UInt64.max)
        var random = SeededRandom(seed: seed)
        let alphabet = Array("Bearer realm=\"a\\,; Basic=service \t".utf8)
        for _ in 0..<20_000 {
            let bytes = (0..<Int.random(in: 0..<40, using: &random)).map { _ in
                alphabet.randomElement(using: &random) ?? 0
            }
            let challenge = BearerChallenge.parse([String(decoding: bytes, as: UTF8.self)])
            #expect(challenge?.scheme != .bearer || challenge?.realm.isEmpty == false, "seed \(seed)")
        }
    }
}

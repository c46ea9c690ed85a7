// Docker's configuration file: which entry a registry has, in every form that docker and podman write.

import Foundation
import TestSupport
import Testing

@testable import Configuration
@testable import OCI
@testable import Registry

@Suite struct DockerConfigTests {
    private static func config(_ text: String) throws -> DockerConfig { try DockerConfig(Array(text.utf8)) }

    private static func lookup(_ text: String, _ host: String) throws -> DockerConfig.Entry? {
        try config(text).lookup(try #require(RegistryHost(host)))
    }

    private static func base64(_ text: String) -> String { Data(text.utf8).base64EncodedString() }

    /// The reason why a look-up fails; nil when it succeeds.
    private static func reason(_ text: String, _ host: String = "a.test") throws -> String? {
        do {
            _ = try lookup(text, host)
            return nil
        } catch let failure as CredentialFailure {
            return failure.reason
        }
    }

    // MARK: Keys

    @Test(
        "the keys that docker and podman write for a registry find its entry",
        arguments: [
            ("a.test", "a.test"), ("A.Test", "a.test"), ("a.test:5000", "a.test:5000"), ("https://a.test", "a.test"),
            ("http://a.test/", "a.test"), ("https://a.test/v1/", "a.test"), ("https://a.test:5000/v2/", "a.test:5000"),
            ("a.test/v1/", "a.test"), ("a.test/", "a.test"), ("localhost:5000", "localhost:5000"),
            ("[::1]:5000", "[::1]:5000"),
            ("https://index.docker.io/v1/", "docker.io"), ("index.docker.io", "docker.io"), ("docker.io", "docker.io"),
            ("registry-1.docker.io", "docker.io"), ("https://index.docker.io/v1/access-token", "docker.io"),
        ])
    func keys(key: String, host: String) throws {
        let text = "{\"auths\":{\"\(key)\":{\"auth\":\"\(Self.base64("me:pw"))\"}}}"
        #expect(try Self.lookup(text, host) == .credentials(UpstreamCredentials(user: "me", password: "pw")))
        #expect(try Self.lookup(text, "b.test") == nil)
        #expect(try Self.config(text).ignoredKeys.isEmpty)
        #expect(try Self.lookup("{\"credHelpers\":{\"\(key)\":\"x\"}}", host) != nil)
    }

    @Test("a port is part of the host")
    func ports() throws {
        let text = "{\"auths\":{\"a.test:5000\":{\"auth\":\"\(Self.base64("me:pw"))\"}}}"
        #expect(try Self.lookup(text, "a.test") == nil && Self.lookup(text, "a.test:5001") == nil)
    }

    @Test("keys that name no whole registry are listed and not used")
    func ignoredKeys() throws {
        let entry = "{\"auth\":\"\(Self.base64("me:pw"))\"}"
        let keys = ["quay.io/team", "*.a.test", "", "https://", "https://me:s3cret@b.test/v1/"]
        let auths = keys.map { "\"\($0)\":\(entry)" }.joined(separator: ",")
        let config = try Self.config("{\"auths\":{\(auths)},\"credHelpers\":{\"c.test/x\":\"h\"}}")
        #expect(config.ignoredKeys == ["", "***@b.test/v1/", "*.a.test", "c.test/x", "https://", "quay.io/team"])
        for host in ["quay.io", "a.test", "b.test", "c.test"] {
            #expect(try config.lookup(try #require(RegistryHost(host))) == nil)
        }
    }

    @Test("of several keys for a registry docker's own goes first, then the plain host")
    func rank() throws {
        func entry(_ key: String) -> String { "\"\(key)\":{\"auth\":\"\(Self.base64("me:\(key)"))\"}" }
        let cases = [
            ("docker.io", ["docker.io", "https://index.docker.io/v1/", "index.docker.io"], 1),
            ("docker.io", ["index.docker.io", "docker.io", "registry-1.docker.io"], 1),
            ("a.test", ["https://a.test", "a.test", "http://a.test"], 1),
        ]
        for (host, keys, expected) in cases {
            for order in [keys, keys.reversed()] {
                let found = try Self.lookup("{\"auths\":{\(order.map(entry).joined(separator: ","))}}", host)
                #expect(found == .credentials(UpstreamCredentials(user: "me", password: keys[expected])))
            }
        }
    }

    // MARK: Entries

    private static let entries: [(String, UpstreamCredentials?)] = [
        ("{\"auth\":\"\(base64("me:p:w:"))\"}", UpstreamCredentials(user: "me", password: "p:w:")),
        ("{\"auth\":\"\(base64("me:pw\0\0"))\"}", UpstreamCredentials(user: "me", password: "pw")),
        ("{\"auth\":\"\(base64("me:"))\"}", UpstreamCredentials(user: "me", password: "")),
        ("{\"auth\":\"\(base64("me:pässwörd"))\"}", UpstreamCredentials(user: "me", password: "pässwörd")),
        ("{\"auth\":\"bWU6\\ncHc=\\r\\n\"}", UpstreamCredentials(user: "me", password: "pw")),
        ("{\"auth\":\"\(base64("me:pw"))\",\"email\":5}", UpstreamCredentials(user: "me", password: "pw")),
        ("{\"username\":\"me\",\"password\":\"pw\"}", UpstreamCredentials(user: "me", password: "pw")),
        (
            "{\"auth\":\"\(base64("me:pw"))\",\"username\":\"other\"}",
            UpstreamCredentials(user: "me", password: "pw")
        ),
        ("{\"auth\":\"\(base64("0000:"))\",\"identitytoken\":\"id\"}", .identityToken(Secret("id"))),
        ("{\"identitytoken\":\"id\",\"registrytoken\":\"reg\"}", .bearer(Secret("reg"))),
        ("{}", nil), ("{\"auth\":\"\"}", nil), ("{\"username\":\"\",\"password\":\"\",\"identitytoken\":null}", nil),
    ]

    @Test("an entry gives the credentials that docker would use", arguments: 0..<entries.count)
    func credentials(number: Int) throws {
        let (entry, expected) = Self.entries[number]
        let text = "{\"auths\":{\"a.test\":\(entry)},\"HttpHeaders\":{\"X\":\"y\"},\"psFormat\":7}"
        #expect(try Self.lookup(text, "a.test") == expected.map { .credentials($0) })
    }

    private static let invalid: [(entry: String, reason: String)] = [
        ("{\"auth\":\"s3cret!\"}", "auth is not base64"), ("{\"auth\":\"bWU6cHc\"}", "auth is not base64"),
        ("{\"auth\":\"\(base64("s3cret"))\"}", "not the base64 of user:password"),
        ("{\"auth\":\"\(base64(":s3cret"))\"}", "the user in auth is empty"),
        ("{\"auth\":\"\(base64("m\ne:s3cret"))\"}", "control character"),
        ("{\"auth\":\"\(Data([0x6D, 0x3A, 0xFF, 0xFE]).base64EncodedString())\"}", "not the base64 of user:password"),
        ("{\"username\":\"a:b\",\"password\":\"s3cret\"}", "username"), ("{\"password\":\"s3cret\"}", "username"),
        ("{\"registrytoken\":\"s3cret x\"}", "no header can carry"),
        ("{\"registrytoken\":\"s3cret\\r\\nX: y\"}", "no header can carry"),
        ("{\"identitytoken\":\"\(String(repeating: "s3cret", count: 11_000))\"}", "larger than 64 KiB"),
        ("{\"auth\":7}", "not an object of texts"), ("\"s3cret\"", "not an object of texts"),
        ("null", "not an object of texts"), ("[]", "not an object of texts"),
    ]

    @Test(
        "an invalid entry fails its own registry only, and the reason names the key only", arguments: 0..<invalid.count)
    func invalidEntries(number: Int) throws {
        let (entry, expected) = Self.invalid[number]
        let text = "{\"auths\":{\"https://a.test/v1/\":\(entry),\"b.test\":{\"username\":\"u\",\"password\":\"p\"}}}"
        let reason = try #require(try Self.reason(text))
        #expect(reason.hasPrefix("entry https://a.test/v1/: ") && reason.contains(expected), "\(reason)")
        #expect(!reason.contains("s3cret"))
        #expect(try Self.reason(text, "b.test") == nil)
    }

    // MARK: Helpers

    @Test("credHelpers goes before an entry with content, and that before credsStore")
    func order() throws {
        let text = """
            {"auths": {"a.test": {"auth": "\(Self.base64("me:a"))"}, "b.test": {"auth": "\(Self.base64("me:b"))"},
                       "c.test": {}, "off.test": {}},
             "credHelpers": {"a.test": "ecr-login", "https://index.docker.io/v1/": "hub_1.x", "off.test": ""},
             "credsStore": "secretservice"}
            """
        #expect(try Self.lookup(text, "a.test") == .helper(name: "ecr-login", serverURL: "a.test"))
        #expect(try Self.lookup(text, "b.test") == .credentials(UpstreamCredentials(user: "me", password: "b")))
        #expect(try Self.lookup(text, "c.test") == .helper(name: "secretservice", serverURL: "c.test"))
        #expect(try Self.lookup(text, "d.test:5000") == .helper(name: "secretservice", serverURL: "d.test:5000"))
        #expect(try Self.lookup(text, "off.test") == nil)
        #expect(
            try Self.lookup(text, "docker.io")
                == .helper(name: "hub_1.x", serverURL: "https://index.docker.io/v1/"))
    }

    @Test(
        "a helper's name has no character that could name another file",
        arguments: ["a/b", "../x", "a b", "a\\u0000", "\u{e9}", "a;b", String(repeating: "a", count: 201)])
    func helperNames(name: String) throws {
        let helpers = try #require(try Self.reason("{\"credHelpers\":{\"a.test\":\"\(name)\"}}"))
        #expect(helpers.contains("credHelpers"))
        let store = try #require(try Self.reason("{\"credsStore\":\"\(name)\"}"))
        #expect(store.contains("credsStore"))
        #expect(try Self.reason("{\"credHelpers\":{\"a.test\":\"\(name)\"}}", "b.test") == nil)
    }

    @Test("a helper's name that is no text fails its own registry only")
    func helperType() throws {
        let text = "{\"credHelpers\":{\"a.test\":7,\"b.test\":\"h\"}}"
        #expect(try Self.reason(text) == "entry a.test: not a text")
        #expect(try Self.reason(text, "b.test") == nil)
    }

    // MARK: Files

    @Test("an empty file has no entries", arguments: ["", " \n", "{}", "{\"auths\":null,\"credsStore\":\"\"}"])
    func emptyFiles(text: String) throws {
        #expect(try Self.lookup(text, "a.test") == nil)
    }

    @Test(
        "a file that is no docker configuration is refused without its text",
        arguments: ["s3cret", "[]", "{\"auths\":[]}", "{\"auths\":{\"s3cret\":{}", "{\"credsStore\":7}", "null"])
    func otherFiles(text: String) throws {
        #expect(try Self.reason(text) == "not the JSON of a docker configuration")
    }

    @Test("a file over the limit is refused")
    func limit() throws {
        let text = "{\"auths\":{}\(String(repeating: " ", count: DockerConfig.maximumBytes))}"
        #expect(try Self.reason(text) == "larger than 1024 KiB")
    }

    @Test("deeply nested JSON is refused or ignored")
    func nesting() throws {
        let deep = String(repeating: "[", count: 100_000)
        #expect(try Self.reason("{\"auths\":\(deep)") != nil)
        #expect(throws: CredentialFailure.self) { try CredentialHelperReply.decode(Array(deep.utf8)) }
    }

    // MARK: Helpers' output

    @Test("a helper's output gives a password, an identity token, or nothing")
    func helperReplies() throws {
        func decode(_ text: String) throws -> UpstreamCredentials? {
            try CredentialHelperReply.decode(Array(text.utf8))
        }
        let password = "{\"ServerURL\":\"a.test\",\"Username\":\"me\",\"Secret\":\"p:w\"}\n"
        #expect(try decode(password) == UpstreamCredentials(user: "me", password: "p:w"))
        #expect(try decode("{\"Username\":\"<token>\",\"Secret\":\"id\"}") == .identityToken(Secret("id")))
        #expect(try decode("{\"Username\":\"\",\"Secret\":\"\"}") == nil)
        for text in [
            "", "s3cret", "{\"Username\":\"<token>\",\"Secret\":\"\"}", "{\"Secret\":\"s3cret\"}",
            "{\"Username\":\"a:b\",\"Secret\":\"s3cret\"}", "{\"Username\":\"me\",\"Secret\":7}",
            "{\"Username\":\"me\",\"Secret\":\"\(String(repeating: "s3cret", count: 11_000))\"}",
        ] {
            let failure = #expect(throws: CredentialFailure.self) { try decode(text) }
            #expect(failure?.reason.contains("s3cret") == false)
        }
    }

    @Test("only the message of docker's helpers means that there are no credentials")
    func notFound() {
        #expect(CredentialHelperReply.isNotFound(Array("credentials not found in native keychain\n".utf8)))
        #expect(CredentialHelperReply.isNotFound(Array(" credentials not found in native keychain".utf8)))
        for text in ["", "credentials not found", "error: credentials not found in native keychain", "{}"] {
            #expect(!CredentialHelperReply.isNotFound(Array(text.utf8)))
        }
    }

    // MARK: The exchange

    @Test("the form of an identity token's exchange is encoded")
    func form() {
        let form = IdentityTokenExchange.form(
            Secret("a+b/c=&d e"), service: "reg.test & co", scope: "repository:a/b:pull repository:c:pull")
        #expect(
            String(decoding: form, as: UTF8.self)
                == "grant_type=refresh_token&service=reg.test%20%26%20co"
                + "&scope=repository%3Aa%2Fb%3Apull%20repository%3Ac%3Apull&client_id=ociregistry"
                + "&refresh_token=a%2Bb%2Fc%3D%26d%20e")
        let short = IdentityTokenExchange.form(Secret("t"), service: nil, scope: "")
        #expect(
            String(decoding: short, as: UTF8.self) == "grant_type=refresh_token&client_id=ociregistry&refresh_token=t")
    }

    @Test("an exchange follows a redirect only to its own origin, and only with the form")
    func redirects() throws {
        let from = try #require(UpstreamURL("https://a.test/token"))
        let same = try #require(UpstreamURL("https://a.test:443/other"))
        for status in [301, 302, 303] { #expect(!IdentityTokenExchange.follows(status: status, from: from, to: same)) }
        for status in [307, 308] {
            #expect(IdentityTokenExchange.follows(status: status, from: from, to: same))
            for other in ["http://a.test/token", "https://a.test:444/token", "https://b.a.test/token"] {
                let target = try #require(UpstreamURL(other))
                #expect(!IdentityTokenExchange.follows(status: status, from: from, to: target), "\(other)")
            }
        }
    }

    @Test("only invalid_grant means that the identity token is refused")
    func refusedToken() {
        #expect(IdentityTokenExchange.isTokenRefused(Array("{\"error\":\"invalid_grant\"}".utf8)))
        for text in ["", "{}", "{\"error\":\"invalid_scope\"}", "{\"error\":7}", "invalid_grant"] {
            #expect(!IdentityTokenExchange.isTokenRefused(Array(text.utf8)))
        }
    }
}

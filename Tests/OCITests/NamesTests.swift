import TestSupport
import Testing

@testable import OCI
@testable import Registry

@Suite struct NamesTests {
    @Test(arguments: [
        "a", "library/hello-world", "a/b/c/d/e/f/g", "a.b/c_d/e__f/g--h", "0/1", "a---b", "my.repo/x.y.z",
    ])
    func takesNamesOfTheGrammar(name: String) {
        #expect(RepositoryName(name)?.text == name)
    }

    @Test(arguments: [
        "", "/", "a/", "/a", "a//b", "A", "a/B", "-a", "a-", "a..b", "a___b", "a._b", "a-_b", "a b", "a/../b", "é",
        String(repeating: "a", count: 256),
    ])
    func refusesOtherNames(name: String) {
        #expect(RepositoryName(name) == nil)
    }

    @Test func knowsTheBytesOfANamesParts() {
        #expect(RepositoryName.classes.utf8CodeUnitCount == 256)
        for byte in UInt8.min...UInt8.max {
            let isPart = ASCII.isLower(byte) || ASCII.isDigit(byte)
            #expect((RepositoryName.classes.utf8Start[Int(byte)] == 0x61) == isPart)
        }
    }

    @Test(arguments: [
        ("docker.io", "docker.io"), ("index.docker.io", "docker.io"), ("registry-1.docker.io", "docker.io"),
        ("GHCR.io", "ghcr.io"), ("localhost:5000", "localhost:5000"), ("[::1]:5000", "[::1]:5000"),
        ("10.0.0.1", "10.0.0.1"), ("a_b.example:1", "a_b.example:1"),
    ])
    func canonicalisesHosts(text: String, canonical: String) throws {
        #expect(try #require(RegistryHost(text)).text == canonical)
    }

    @Test(arguments: [
        "", ":80", "a:", "a:0", "a:65536", "a:b", "a/b", "user@a", "a b", "-a", "a-.b", "a..b", "[::1", "::1", "a:1:2",
        "http://a", "a?b", "a\r\nb", String(repeating: "a", count: 64), String(repeating: "a.", count: 130),
    ])
    func refusesOtherHosts(text: String) {
        #expect(RegistryHost(text) == nil)
    }

    @Test func partsOfAHost() throws {
        let host = try #require(RegistryHost("[fe80::1]:8443"))
        #expect(host.name == "[fe80::1]")
        #expect(host.port == 8443)
        #expect(try #require(RegistryHost("quay.io")).port == nil)
    }

    @Test(arguments: ["latest", "V1.0", "_x", "a-b.c_d", String(repeating: "x", count: 128)])
    func takesTags(tag: String) {
        #expect(Reference(tag) == .tag(tag))
    }

    @Test(arguments: ["", ".x", "-x", "a b", "a/b", "a:b", "sha256:00", String(repeating: "x", count: 129)])
    func refusesOtherReferences(text: String) {
        #expect(Reference(text) == nil)
    }
}

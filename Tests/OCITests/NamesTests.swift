import TestSupport
import Testing

@testable import OCI
@testable import Registry

@Suite struct NamesTests {
    @Test(
        "repository names of the specification's grammar are accepted",
        arguments: [
            "a", "library/hello-world", "a/b/c/d/e/f/g", "a.b/c_d/e__f/g--h", "0/1", "a---b", "my.repo/x.y.z",
        ])
    func validNames(name: String) {
        #expect(RepositoryName(name)?.text == name)
    }

    @Test(
        "repository names outside the specification's grammar are refused",
        arguments: [
            "", "/", "a/", "/a", "a//b", "A", "a/B", "-a", "a-", "a..b", "a___b", "a._b", "a-_b", "a b", "a/../b", "é",
            String(repeating: "a", count: 256),
        ])
    func invalidNames(name: String) {
        #expect(RepositoryName(name) == nil)
    }

    @Test("the byte classes of a repository name mark lower-case letters and digits") func nameBytes() {
        #expect(RepositoryName.classes.utf8CodeUnitCount == 256)
        for byte in UInt8.min...UInt8.max {
            let isPart = ASCII.isLower(byte) || ASCII.isDigit(byte)
            #expect((RepositoryName.classes.utf8Start[Int(byte)] == 0x61) == isPart)
        }
    }

    @Test(
        "a registry host is lower-cased, and Docker Hub's aliases become docker.io",
        arguments: [
            ("docker.io", "docker.io"), ("index.docker.io", "docker.io"), ("registry-1.docker.io", "docker.io"),
            ("GHCR.io", "ghcr.io"), ("localhost:5000", "localhost:5000"), ("[::1]:5000", "[::1]:5000"),
            ("10.0.0.1", "10.0.0.1"), ("a_b.example:1", "a_b.example:1"),
        ])
    func canonicalHosts(text: String, canonical: String) throws {
        #expect(try #require(RegistryHost(text)).text == canonical)
    }

    @Test(
        "a text that is not host[:port] is refused as a registry host",
        arguments: [
            "", ":80", "a:", "a:0", "a:65536", "a:b", "a/b", "user@a", "a b", "-a", "a-.b", "a..b", "[::1", "::1",
            "a:1:2",
            "http://a", "a?b", "a\r\nb", String(repeating: "a", count: 64), String(repeating: "a.", count: 130),
        ])
    func invalidHosts(text: String) {
        #expect(RegistryHost(text) == nil)
    }

    @Test("a registry host is divided into a name and an optional port") func hostParts() throws {
        let host = try #require(RegistryHost("[fe80::1]:8443"))
        #expect(host.name == "[fe80::1]")
        #expect(host.port == 8443)
        #expect(try #require(RegistryHost("quay.io")).port == nil)
    }

    @Test(
        "tags of the specification's grammar are accepted",
        arguments: ["latest", "V1.0", "_x", "a-b.c_d", String(repeating: "x", count: 128)])
    func validTags(tag: String) {
        #expect(Reference(tag) == .tag(tag))
    }

    @Test(
        "a text that is neither a tag nor a digest is refused as a reference",
        arguments: ["", ".x", "-x", "a b", "a/b", "a:b", "sha256:00", String(repeating: "x", count: 129)])
    func invalidReferences(text: String) {
        #expect(Reference(text) == nil)
    }
}

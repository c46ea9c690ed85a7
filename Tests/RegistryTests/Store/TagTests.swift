// Tags: in memory by the bytes of a request, on disk by their names.

import Foundation
import TestSupport
import Testing

@testable import OCI
@testable import Registry

@Suite struct TagTests {
    private let digest = digestOf([1])
    private let other = digestOf([2], .sha512)

    private func host(_ text: String = "docker.io") throws -> RegistryHost { try #require(RegistryHost(text)) }
    private func name(_ text: String) throws -> RepositoryName { try #require(RepositoryName(text)) }

    private func set(_ fixture: StoreFixture, _ name: String, _ tag: String, _ digest: Digest) throws {
        let error: StoreError? = try fixture.wait {
            fixture.store.setTag(
                host: RegistryHost.dockerHub, repository: RepositoryName(name).unsafelyUnwrapped, tag: tag,
                digest: digest, then: $0)
        }
        #expect(error == nil)
    }

    private func lookup(_ store: Store, _ host: String, _ isLibrary: Bool, _ name: String, _ tag: String) -> Digest? {
        Array(host.utf8).withUnsafeBytes { host in
            Array(name.utf8).withUnsafeBytes { name in
                Array(tag.utf8).withUnsafeBytes { tag in
                    store.tag(
                        TagBytes(
                            RepositoryBytes(host: host, isLibrary: isLibrary, repository: name), tag: tag))?.digest
                }
            }
        }
    }

    @Test("a tag is found by the bytes of a request, with case and library prefix") func requestBytes() throws {
        let fixture = try StoreFixture()
        try set(fixture, "library/hello", "Latest", digest)
        #expect(lookup(fixture.store, "docker.io", false, "library/hello", "Latest") == digest)
        #expect(lookup(fixture.store, "docker.io", true, "hello", "Latest") == digest)
        #expect(lookup(fixture.store, "docker.io", true, "library/hello", "Latest") == nil)
        #expect(lookup(fixture.store, "docker.io", false, "hello", "Latest") == nil)
        #expect(lookup(fixture.store, "docker.io", true, "hello", "latest") == nil)
        #expect(lookup(fixture.store, "docker.io", true, "hell", "oLatest") == nil)
        #expect(lookup(fixture.store, "docker.i", true, "hello", "Latest") == nil)
    }

    @Test("case and deep repository names survive a restart") func restart() throws {
        let fixture = try StoreFixture()
        let deep = (0..<40).map { "s\($0)" }.joined(separator: "/")
        for (name, tag, digest) in [(deep, "v1", digest), (deep, "V1", other), ("a/tags/b", "_x", digest)] {
            try set(fixture, name, tag, digest)
        }
        try fixture.reopen()
        #expect(fixture.store.tag(host: try host(), repository: try name(deep), tag: "v1")?.digest == digest)
        #expect(fixture.store.tag(host: try host(), repository: try name(deep), tag: "V1")?.digest == other)
        #expect(fixture.store.tag(host: try host(), repository: try name("a/tags/b"), tag: "_x")?.digest == digest)
        #expect(try fixture.quarantined().isEmpty)
    }

    @Test("before the recovery a tag is looked up on the disk") func beforeRecovery() throws {
        let fixture = try StoreFixture()
        try set(fixture, "a/b", "one", digest)
        try fixture.reopen(isRecovered: false)
        #expect(fixture.store.tag(host: try host(), repository: try name("a/b"), tag: "one") == nil)
        let found: TagRecord? = try fixture.wait {
            fixture.store.findTag(
                host: .dockerHub, repository: RepositoryName("a/b").unsafelyUnwrapped, tag: "one", then: $0)
        }
        #expect(found?.digest == digest)
        let absent: TagRecord? = try fixture.wait {
            fixture.store.findTag(
                host: .dockerHub, repository: RepositoryName("a/b").unsafelyUnwrapped, tag: "two", then: $0)
        }
        #expect(absent == nil)
    }

    @Test("the last of many writes of a tag is the one on disk") func lastWrite() throws {
        let fixture = try StoreFixture()
        var written = 0
        for number in 0..<200 {
            fixture.store.setTag(
                host: try host(), repository: try name("a/b"), tag: "moving", digest: digestOf(pattern(number + 1))
            ) { if $0 == nil { written += 1 } }
        }
        try fixture.wait(until: { written == 200 })
        try fixture.reopen()
        let last = fixture.store.tag(host: try host(), repository: try name("a/b"), tag: "moving")
        #expect(last?.digest == digestOf(pattern(200)))
    }

    @Test("confirming a tag keeps its time over a restart without writing its file") func confirmation() throws {
        let fixture = try StoreFixture()
        try set(fixture, "a/b", "one", digest)
        let path = "\(fixture.store.layout.tags)/docker.io/a/b/_tags/one"
        var times = [timeval(tv_sec: 1000, tv_usec: 0), timeval(tv_sec: 1000, tv_usec: 0)]
        #expect(utimes(path, &times) == 0)
        func seconds() throws -> Int64? {
            fixture.store.tag(host: try host(), repository: try name("a/b"), tag: "one")?.resolvedAtSeconds
        }
        try fixture.reopen()
        #expect(try #require(try seconds()) > 1000, "CHECKS has it")
        try Disk.unlink(fixture.store.layout.checks)
        try fixture.reopen()
        #expect(try seconds() == 1000, "without CHECKS the time of the tag's file counts")
        try set(fixture, "a/b", "one", digest)
        let confirmed = try #require(try seconds())
        #expect(confirmed > 1000)
        try fixture.reopen()
        #expect(try seconds() == confirmed)
        #expect(try Disk.status(at: path).modifiedSeconds == 1000, "nothing is written to it")
    }

    @Test("a confirmation does not bring back a tag that was removed or moved") func lateConfirmation() throws {
        let fixture = try StoreFixture()
        let store = fixture.store
        let (host, repository) = (try host(), try name("a/b"))
        try set(fixture, "a/b", "one", digest)
        try set(fixture, "a/b", "one", other)
        store.confirmTag(host: host, repository: repository, tag: "one", digest: digest, checked: store.tagClock)
        #expect(store.tag(host: host, repository: repository, tag: "one")?.digest == other)
        store.removeTag(host: host, repository: repository, tag: "one", digest: digest, checked: store.tagClock)
        #expect(store.tag(host: host, repository: repository, tag: "one")?.digest == other)
        store.removeTag(host: host, repository: repository, tag: "one", digest: other, checked: store.tagClock)
        store.confirmTag(host: host, repository: repository, tag: "one", digest: other, checked: store.tagClock)
        #expect(store.tag(host: host, repository: repository, tag: "one") == nil)
        try fixture.wait(until: { fixture.offload.inFlight == 0 })
        #expect(!fixture.exists("\(store.layout.tags)/docker.io/a/b/_tags/one"))
        try fixture.reopen()
        #expect(fixture.store.tag(host: host, repository: repository, tag: "one") == nil)
    }

    @Test("an answer that is older than a tag's last check changes nothing") func lateAnswer() throws {
        let fixture = try StoreFixture()
        let store = fixture.store
        let before = store.tagClock
        store.tagClockLead += 5000
        try set(fixture, "a/b", "one", digest)
        let error: StoreError? = try fixture.wait {
            store.setTag(
                host: .dockerHub, repository: RepositoryName("a/b").unsafelyUnwrapped, tag: "one", digest: other,
                checked: before, then: $0)
        }
        #expect(error == nil)
        #expect(store.tag(host: try host(), repository: try name("a/b"), tag: "one")?.digest == digest)
    }

    @Test(
        "an invalid tag is not written",
        arguments: ["", ".", "..", "../../x", "a/b", "-x", String(repeating: "x", count: 129)])
    func invalidTags(tag: String) throws {
        let fixture = try StoreFixture()
        let error: StoreError? = try fixture.wait {
            fixture.store.setTag(
                host: .dockerHub, repository: RepositoryName("a/b").unsafelyUnwrapped, tag: tag, digest: digest,
                then: $0)
        }
        #expect(error != nil)
        #expect(try fixture.names(fixture.store.layout.tags).isEmpty)
    }
}

// What is remembered of answers: that a request asked again is answered as it would be without, whatever has changed.

import TestSupport
import Testing

@testable import Configuration
@testable import OCI
@testable import Registry

@Suite struct RecentAnswersTests {
    private static let old = FakeImage(seed: 1)
    private static let new = FakeImage(seed: 2)
    private static let v1 = "/v2/team/app/manifests/v1"

    /// A mirror that has been asked for `v1` often enough to remember it.
    private func remembering() throws -> MirrorKit {
        let mirror = try MirrorKit { $0.prefetchLayers = .manifest }
        Self.old.put(on: mirror.fake, tag: "v1")
        for _ in 0..<2 {
            #expect(mirror.get(Self.v1).body == Self.old.manifest)
            mirror.settle()
        }
        for _ in 0..<3 { #expect(mirror.get(Self.v1).body == Self.old.manifest) }
        #expect(mirror.fake.requests(to: Self.v1).count == 1)
        return mirror
    }

    @Test("a moved tag is not served from the remembered answers") func movedTag() throws {
        let mirror = try remembering()
        Self.new.put(on: mirror.fake, tag: "v2")
        #expect(mirror.get("/v2/team/app/manifests/v2").body == Self.new.manifest)
        #expect(mirror.get(Self.v1).body == Self.old.manifest)
        let repository = try #require(RepositoryName("team/app"))
        mirror.store.setTag(host: MirrorKit.host, repository: repository, tag: "v1", digest: Self.new.digest)
        for _ in 0..<3 { #expect(mirror.get(Self.v1).body == Self.new.manifest) }
        mirror.close()
    }

    @Test("a pruned image is not served from the remembered answers") func pruned() throws {
        let mirror = try remembering()
        let blob = "/v2/team/app/blobs/\(digestOf(Self.old.config))"
        for _ in 0..<3 { #expect(mirror.get(blob).body == Self.old.config) }
        mirror.fake.close()
        var isPruned = false
        mirror.store.prune(
            selecting: { _ in true }, ignoringLease: true, orphanAge: OrphanAge(), reporting: { _ in }
        ) { _ in isPruned = true }
        mirror.wait(until: { isPruned })
        #expect(mirror.get(Self.v1).status >= 500 && mirror.get(blob).status >= 500)
        mirror.close()
    }

    /// The target is the same; what is asked for is not.
    @Test("conditions, ranges, HEAD and other methods are honoured for a remembered target")
    func requestHeaders() throws {
        let mirror = try remembering()
        let digest = "\(Self.old.digest)"
        #expect(mirror.get(Self.v1, [("X-Registry", "not a host")]).status == 400)
        #expect(mirror.get(Self.v1, [("If-None-Match", "\"\(digest)\"")]).status == 304)
        let part = mirror.get(Self.v1, range: "bytes=2-5")
        #expect(part.status == 206 && part.body == Array(Self.old.manifest[2...5]))
        let head = mirror.head(Self.v1)
        #expect(head.status == 200 && head.body.isEmpty && head.header("docker-content-digest") == digest)
        #expect(head.header("content-length") == "\(Self.old.manifest.count)")
        #expect(mirror.ask(.init(method: "DELETE", target: Self.v1)).response.status == 405)
        mirror.close()
    }

    @Test("OCI-Namespace is sent only to a request with ns, for remembered answers too") func namespaceHeader() throws {
        let mirror = try remembering()
        for _ in 0..<4 {
            let named = mirror.get("\(Self.v1)?ns=\(MirrorKit.host)")
            #expect(named.body == Self.old.manifest && named.header("oci-namespace") == "\(MirrorKit.host)")
            #expect(mirror.get(Self.v1).header("oci-namespace") == nil)
        }
        mirror.close()
    }

    @Test("every remembered answer counts as a pull and a hit") func counts() throws {
        let mirror = try remembering()
        let blob = "/v2/team/app/blobs/\(digestOf(Self.old.config))"
        for _ in 0..<4 { #expect(mirror.get(blob).status == 200) }
        let counts = mirror.metrics.requests
        #expect(counts.manifestPulls == 5 && counts.blobPulls == 4 && counts.endpointHits == 9)
        #expect(counts.answers(.manifest, .hit) == 4 && counts.answers(.manifest, .miss) == 1)
        let number = try #require(mirror.metrics.number(of: MirrorKit.host))
        #expect(mirror.metrics.byNamespace[number].cachedPulls == 4)
        mirror.close()
    }

    // MARK: The table

    private func left(_ manifests: UInt64) -> Store.CacheGeneration {
        .init(manifests: manifests, blobs: 100, files: 0)
    }

    private func answer(_ table: inout HostTable, _ position: Int) throws -> RecentAnswers.Answer {
        let entry = try #require(Array("a.test".utf8).withUnsafeBytes { table.entry(for: $0) })
        let manifest = CachedManifest(digest: digestOf([1]), mediaType: .ociManifest, body: [1])
        // Nobody looks at the manifest here.
        return .init(
            content: .manifest(.passUnretained(manifest)), position: position, host: .passUnretained(entry),
            echoesHost: false)
    }

    @Test("a used answer keeps its slot against others and expires with its generation") func usedStays() throws {
        var hosts = HostTable()
        var recent = RecentAnswers()
        let first = try answer(&hosts, 7)
        Array("/first".utf8).withUnsafeBytes { recent.note(first, to: $0, generation: left(0)) }
        let position = { (recent: inout RecentAnswers, text: String, removals: UInt64) in
            Array(text.utf8).withUnsafeBytes { recent.answer(to: $0, generation: left(removals))?.position }
        }
        #expect(position(&recent, "/first", 0) == 7 && position(&recent, "/first", 1) == nil)
        #expect(position(&recent, "/second", 0) == nil && position(&recent, "", 0) == nil)
        // Far more than there are places: each wants one once, so that what is asked for in between stays.
        for number in 0..<4 * RecentAnswers.slotCount {
            let other = try answer(&hosts, number)
            Array("/other/\(number)".utf8).withUnsafeBytes { recent.note(other, to: $0, generation: left(0)) }
            guard position(&recent, "/first", 0) == 7 else {
                Issue.record("displaced by the \(number)th")
                break
            }
        }
        // What no longer holds makes way at once.
        let later = try answer(&hosts, 9)
        Array("/first".utf8).withUnsafeBytes { recent.note(later, to: $0, generation: left(3)) }
        #expect(position(&recent, "/first", 3) == 9 && position(&recent, "/first", 0) == nil)
        let long = String(repeating: "x", count: RecentAnswers.maximumTargetBytes + 1)
        Array(long.utf8).withUnsafeBytes { recent.note(first, to: $0, generation: left(3)) }
        #expect(position(&recent, long, 3) == nil)
    }

    /// In one place each, a twentieth of so many would meet another, and go the longer way every second time.
    @Test("nearly all of many targets are remembered, despite hash collisions") func collisions() throws {
        var hosts = HostTable()
        var recent = RecentAnswers()
        let targets = (0..<RecentAnswers.slotCount / 10).map { Array("/v2/team/app/manifests/\($0)".utf8) }
        let answer = try answer(&hosts, 1)
        for _ in 0..<3 {
            for target in targets {
                target.withUnsafeBytes { bytes in
                    if recent.answer(to: bytes, generation: left(0)) == nil {
                        recent.note(answer, to: bytes, generation: left(0))
                    }
                }
            }
        }
        let missing = targets.filter { $0.withUnsafeBytes { recent.answer(to: $0, generation: left(0)) == nil } }
        // Two or three on average; the hash is keyed anew each time.
        #expect(missing.count <= targets.count / 30)
    }
}

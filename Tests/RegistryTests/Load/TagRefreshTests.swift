// `refresh`, and `load` of lists: cached tags are checked although their ttl is not over.

import Foundation
import TestSupport
import Testing

@testable import Configuration
@testable import OCI
@testable import Registry

@Suite struct TagRefreshTests {
    private static let old = FakeImage(seed: 1)
    private static let new = FakeImage(seed: 2)

    private func context(_ mirror: MirrorKit) -> LoadContext {
        LoadContext(
            loop: mirror.run.loop, offload: mirror.offload, store: mirror.store, puller: mirror.puller,
            names: mirror.api.names, tags: mirror.api.tags, pseudonym: "test")
    }

    private func refresh(_ mirror: MirrorKit, _ pattern: String) throws -> (tags: [RefreshedTag], RefreshReport) {
        var tags: [RefreshedTag] = []
        var report: RefreshReport?
        let pattern = try Pattern(pattern)
        let run = TagRefresh(context(mirror)) { event in
            switch event {
            case .tag(let tag): tags.append(tag)
            case .ended(let ended): report = ended
            }
        }
        run.start { try pattern.matches($0.name) }
        mirror.wait(until: { report != nil })
        return (tags.sorted { $0.name < $1.name }, try #require(report))
    }

    private func mirror(_ tags: String...) throws -> MirrorKit {
        let mirror = try MirrorKit { $0.policy.tags = TagPolicies(ttl: .forever) }
        for tag in tags {
            Self.old.put(on: mirror.fake, tag: tag)
            #expect(mirror.get("/v2/team/app/manifests/\(tag)").status == 200)
        }
        mirror.wait(for: { mirror.store.whenWritten(then: $0) })
        return mirror
    }

    @Test("refresh checks the tags that match now, and says what has changed") func results() throws {
        let mirror = try mirror("v1", "v2", "v3", "v4", "other")
        Self.new.put(on: mirror.fake, tag: "v2")
        mirror.fake.on("/v2/team/app/manifests/v3", .status(404))
        mirror.fake.on("/v2/team/app/manifests/v4", .status(500))
        let (tags, report) = try refresh(mirror, ":v")
        let name = "registry.test/team/app:v"
        #expect(tags.map(\.name) == (1...4).map { "\(name)\($0)" })
        #expect(tags.map(\.result) == [.unchanged, .moved, .deleted, .failed])
        #expect(tags.allSatisfy { $0.digest == "\(Self.old.digest)" } && tags[1].movedTo == "\(Self.new.digest)")
        #expect(tags[3].reason?.contains("500") == true)
        #expect(report == RefreshReport(unchanged: 1, moved: 1, deleted: 1, failed: 1))
        #expect(mirror.get("/v2/team/app/manifests/v2").body == Self.new.manifest)
        #expect(mirror.fake.requests(to: "/v2/team/app/manifests/other").map(\.method) == ["GET"])
        mirror.close()
    }

    @Test("a refresh of nothing ends, and one that is stopped does not wait") func ends() throws {
        let mirror = try mirror("v1")
        #expect(try refresh(mirror, "nothing").1 == RefreshReport())
        mirror.fake.on("/v2/team/app/manifests/v1", .silent)
        var report: RefreshReport?
        let run = TagRefresh(context(mirror)) { if case .ended(let ended) = $0 { report = ended } }
        run.start { _ in true }
        mirror.wait(until: { mirror.fake.requests(to: "/v2/team/app/manifests/v1").count == 2 })
        run.stop()
        mirror.wait(until: { report != nil })
        #expect(report?.isStopped == true && report?.failed == 0)
        mirror.close()
    }

    @Test("a tag whose name is denied is not asked about") func denied() throws {
        let mirror = try mirror("v1")
        let config = try ConfigDecoder.decode(yaml: Array("deny: ['team/']".utf8), file: "c.yaml") { _ in nil }
        mirror.api.replaceNamePolicy(config.namePolicy)
        let (tags, report) = try refresh(mirror, "v1")
        #expect(tags.first?.reason?.contains("may not be pulled here") == true && report.failed == 1)
        #expect(mirror.fake.requests.count == 1)
        mirror.close()
    }

    @Test("a server that becomes air-gapped asks nobody, also for a refresh") func airGapped() throws {
        let mirror = try mirror("v1")
        mirror.api.tags.airGapped = true
        let (tags, report) = try refresh(mirror, "v1")
        #expect(tags.first?.reason?.contains("airGapped") == true && report.failed == 1)
        #expect(mirror.fake.requests.count == 1)
        mirror.close()
    }

    @Test("an event of a refresh is one flat object of JSON") func lines() throws {
        let tag = RefreshedTag(name: "a.b/c:d", result: .failed, digest: "\(Self.old.digest)", reason: "why")
        for event in [RefreshEvent.tag(tag), .ended(RefreshReport(unchanged: 1, failed: 2))] {
            let line = try JSONEncoder().encode(event)
            #expect(try JSONDecoder().decode(RefreshEvent.self, from: line) == event)
        }
        let text = String(decoding: try JSONEncoder().encode(RefreshEvent.tag(tag)), as: UTF8.self)
        #expect(text.contains("\"result\":\"failed\"") && !text.contains("tag\":"))
    }

    @Test("load of a list pulls a tag that has moved, and keeps what is cached when nothing answers") func load() throws
    {
        let files = try TemporaryDirectory()
        let mirror = try mirror("v1")
        Self.new.put(on: mirror.fake, tag: "v1")
        let list = try files.write("registry.test/team/app:v1", to: "list.txt")
        func load() throws -> LoadReport {
            var report: LoadReport?
            Loader(context(mirror), LoadChoices(platforms: .all)) { _ in }.load(list) { report = $0 }
            mirror.wait(until: { report != nil })
            return try #require(report)
        }
        let first = try load()
        #expect(first.progress.loaded == 1 && first.failures.isEmpty)
        #expect(mirror.get("/v2/team/app/manifests/v1").body == Self.new.manifest)
        #expect(try load().progress.present == 1)
        mirror.fake.on("/v2/team/app/manifests/v1", .status(503))
        let last = try load()
        #expect(last.progress.present == 1 && last.failures.isEmpty)
        mirror.close()
    }
}

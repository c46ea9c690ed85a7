// A load in a server: one that is stopped and gone on with, one whose registry fails, one of an archive that lies.

import Foundation
import TestSupport
import Testing

@testable import Configuration
@testable import ImageArchive
@testable import OCI
@testable import Registry

@Suite struct LoaderTests {
    private let files: TemporaryDirectory
    private let name = "registry.test/team/app:1"

    init() throws { files = try TemporaryDirectory() }

    private func loader(
        _ mirror: MirrorKit, _ change: (inout LoadChoices) -> Void = { _ in },
        onEvent: @escaping (LoadEvent) -> Void = { _ in }
    ) -> Loader {
        var choices = LoadChoices(platforms: .only(Platform(os: "linux", architecture: "amd64")))
        change(&choices)
        let context = LoadContext(
            loop: mirror.run.loop, offload: mirror.offload, store: mirror.store, puller: mirror.puller,
            names: mirror.api.names, tags: mirror.api.tags, pseudonym: "test")
        return Loader(context, choices, onEvent: onEvent)
    }

    private func load(
        _ mirror: MirrorKit, _ text: String, _ change: (inout LoadChoices) -> Void = { _ in }
    ) throws -> LoadReport {
        var report: LoadReport?
        loader(mirror, change).load(text) { report = $0 }
        mirror.wait(until: { report != nil })
        return try #require(report)
    }

    private func list(_ names: String...) throws -> String {
        try files.write(names.joined(separator: "\n"), to: "list.txt")
    }

    @Test("a denied image of a list fails with the rule, before anything is asked, and the others are loaded")
    func denied() throws {
        let image = FakeImage()
        let mirror = try MirrorKit()
        for repository in ["team/app", "evil/x"] { image.put(on: mirror.fake, repository: repository, tag: "1") }
        let policy = try ConfigDecoder.decode(yaml: Array("deny: [evil/]".utf8), file: "c") { _ in nil }.namePolicy
        mirror.api.replaceNamePolicy(policy)
        let report = try load(mirror, try list("registry.test/evil/x:1", name, "registry.test/evil/x:2"))
        #expect(report.progress.loaded == 1 && report.progress.failed == 2)
        #expect(
            report.failures.map { "\($0.image ?? ""): \($0.reason)" }.sorted() == [
                "registry.test/evil/x:1: may not be pulled here: deny[0] 'evil/'",
                "registry.test/evil/x:2: may not be pulled here: deny[0] 'evil/'",
            ])
        #expect(mirror.fake.requests.allSatisfy { $0.path.hasPrefix("/v2/team/app/") })
        // Cached under that name or not: the rule counts.
        let other = try ConfigDecoder.decode(yaml: Array("deny: [team/]".utf8), file: "c") { _ in nil }.namePolicy
        mirror.api.replaceNamePolicy(other)
        #expect(try load(mirror, try list(name)).progress.failed == 1)
        mirror.close()
    }

    /// In a server the puller goes on: what nobody else waits for is let go, and a client's pull is not.
    @Test("a stopped load ends its own pulls and leaves those that a client waits for", arguments: [false, true])
    func stoppedInServer(_ isWantedByAClient: Bool) throws {
        let image = FakeImage(layerBytes: [300_000])
        let path = "/v2/team/app/blobs/\(digestOf(image.layers[0]))"
        let mirror = try MirrorKit()
        image.put(on: mirror.fake, tag: "1")
        mirror.fake.on(path, .ok(image.layers[0]).stall(after: 200_000))
        let loader = loader(mirror)
        var report: LoadReport?
        loader.load(try list(name)) { report = $0 }
        mirror.wait(until: { loader.progress.arrivedBytes >= 200_000 && mirror.puller.blobsInFlight == 1 })
        let client = isWantedByAClient ? mirror.start(.get(path)) : nil
        if let client { mirror.wait(until: { client.response.body.count >= 100_000 }) }
        loader.stop()
        mirror.wait(until: { report != nil })
        #expect(report?.isStopped == true && report?.failures == [])
        if isWantedByAClient {
            #expect(mirror.puller.blobsInFlight == 1)
        } else {
            mirror.wait(until: { mirror.puller.blobsInFlight == 0 })
        }
        mirror.close()
    }

    @Test("the next load resumes a layer where a stopped one left it") func resumedLayer() throws {
        let image = FakeImage(layerBytes: [1000, 300_000])
        let big = "/v2/team/app/blobs/\(digestOf(image.layers[1]))"
        let list = try list(name)
        do {
            let mirror = try MirrorKit { $0.imagePath = files.path }
            image.put(on: mirror.fake, tag: "1")
            mirror.fake.on(big, .ok(image.layers[1]).stall(after: 200_000))
            let loader = loader(mirror)
            var report: LoadReport?
            loader.load(list) { report = $0 }
            mirror.wait(until: { loader.progress.arrivedBytes >= 200_000 && mirror.puller.blobsInFlight == 1 })
            loader.stop()
            mirror.puller.close()
            mirror.wait(until: { report != nil })
            #expect(report?.isStopped == true)
            #expect(report?.failures == [])
            #expect(report?.progress.ended == 0)
            mirror.close()
        }
        let mirror = try MirrorKit { $0.imagePath = files.path }
        image.put(on: mirror.fake, tag: "1")
        mirror.fake.on(big) { .blob(image.layers[1], for: $0) }
        let report = try load(mirror, list)
        #expect(report.progress.loaded == 1 && report.failures == [], "\(report)")
        #expect(mirror.fake.requests.map(\.method) == ["HEAD", "GET"], "the tag may have moved")
        let last = try #require(mirror.fake.requests.last)
        #expect(last.path == big && last.rangeStart.map { $0 >= 200_000 } == true)
        mirror.settle()
        #expect(mirror.inspectBlobs() == ([], 3))
        #expect(try load(mirror, list).progress.present == 1)
        mirror.close()
    }

    @Test("a layer of two images is fetched once") func sharedLayer() throws {
        let mirror = try MirrorKit()
        let image = FakeImage()
        image.put(on: mirror.fake, tag: "1")
        image.put(on: mirror.fake, tag: "2")
        let report = try load(mirror, try list(name, "registry.test/team/app:2"))
        #expect(report.progress.loaded == 2)
        #expect(mirror.fake.requests.filter { $0.path.contains("/blobs/") }.count == image.blobs.count)
        mirror.close()
    }

    @Test("a missing layer fails its image and no other") func missingLayer() throws {
        let mirror = try MirrorKit()
        let (good, bad) = (FakeImage(seed: 1), FakeImage(seed: 2))
        good.put(on: mirror.fake, tag: "1")
        bad.put(on: mirror.fake, tag: "2")
        let missing = digestOf(bad.layers[1])
        mirror.fake.on("/v2/team/app/blobs/\(missing)", .status(404))
        let report = try load(mirror, try list(name, "registry.test/team/app:2"))
        #expect(report.progress.loaded == 1 && report.progress.failed == 1)
        let failure = try #require(report.failures.first)
        #expect(failure.image == "registry.test/team/app:2" && failure.reason.hasPrefix("\(missing): blob unknown"))
        mirror.close()
    }

    @Test("load in an air gap fails without an upstream request") func airGapped() throws {
        let mirror = try MirrorKit()
        let report = try load(mirror, try list(name)) { $0.isAirGapped = true }
        #expect(report.failures.first?.reason.contains("airGapped") == true)
        #expect(mirror.fake.requests.isEmpty)
        mirror.close()
    }

    // MARK: Archives

    @Test("an archive is loaded without upstream requests and served by its name") func archive() throws {
        let mirror = try MirrorKit()
        let (archive, top) = SampleArchive.one()
        let path = try archive.write(to: files, "saved.tar")
        let report = try load(mirror, path)
        #expect(report.progress.loaded == 1 && report.failures == [], "\(report)")
        let got = mirror.get("/v2/docker.io/library/one/manifests/1")
        #expect(got.status == 200 && digestOf(got.body) == top)
        #expect(mirror.inspectBlobs() == ([], 3))
        #expect(mirror.fake.requests.isEmpty)
        #expect(try load(mirror, path).progress.present == 1)
        mirror.close()
    }

    /// What an earlier attempt left of a blob is other content: it shows, and the blob is read once more.
    @Test("wrong bytes of an earlier attempt are detected, and the blob is read again") func wrongPartial() throws {
        let mirror = try MirrorKit()
        let path = try SampleArchive.one().archive.write(to: files, "saved.tar")
        let digest = digestOf(Array("first layer".utf8))
        let key = PullKey(
            host: .dockerHub, repository: try #require(RepositoryName("library/one")), digest: digest)
        var isWritten = false
        mirror.store.beginIngest(key) { result in
            guard case .success(let ingest) = result else { return }
            _ = Array("false".utf8).withUnsafeBytes { ingest.append($0) }
            ingest.suspend()
            isWritten = true
        }
        mirror.wait(until: { isWritten })
        let report = try load(mirror, path)
        #expect(report.progress.loaded == 1 && report.failures == [], "\(report)")
        #expect(mirror.inspectBlobs() == ([], 3))
        mirror.close()
    }

    /// One blob is not what its name says: its image fails, nothing of it is named, the other image is loaded.
    @Test("an archive image with a wrong blob fails, and the others are loaded") func wrongBlob() throws {
        let mirror = try MirrorKit()
        var archive = SampleArchive()
        let (good, bad) = (archive.addImage(["good layer"]), archive.addImage(["bad layer"]))
        archive.addLayout([
            archive.descriptor(bad, MediaType.ociManifest.text, SampleArchive.name("docker.io/library/bad:1")),
            archive.descriptor(good, MediaType.ociManifest.text, SampleArchive.name("docker.io/library/good:1")),
        ])
        let wrong = EntryName.blob(digestOf(Array("bad layer".utf8)))
        archive.replace(wrong, with: Array("BAD layer".utf8))
        let report = try load(mirror, try archive.write(to: files, "saved.tar"))
        #expect(report.progress.loaded == 1 && report.progress.failed == 1)
        #expect(report.failures.first?.image == "docker.io/library/bad:1")
        #expect(report.failures.first?.reason.contains("hashes to") == true, "\(report)")
        #expect(mirror.get("/v2/docker.io/library/good/manifests/1").status == 200)
        let repository = try #require(RepositoryName("library/bad"))
        #expect(mirror.store.tag(host: .dockerHub, repository: repository, tag: "1") == nil)
        #expect(mirror.inspectBlobs().wrong == [])
        mirror.close()
    }
}

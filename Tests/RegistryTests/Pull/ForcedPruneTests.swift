// A prune that is forced removes what is being pulled as well: names at once, and nothing from under its readers.

import TestSupport
import Testing

@testable import Configuration
@testable import OCI
@testable import Registry

@Suite struct ForcedPruneTests {
    private static let image = FakeImage(layerBytes: [1000, 24 << 20], seed: 99)
    private static let manifest = "/v2/team/app/manifests/v1"
    private static var layer: [UInt8] { image.layers[1] }
    private static func target(_ blob: [UInt8]) -> String { "/v2/team/app/blobs/\(digestOf(blob))" }

    /// Runs what `DELETE /cmd/prune` does.
    private static func prune(_ mirror: MirrorKit, _ prune: AdminCommand.Prune) -> String {
        let queries = AdminQueries(store: mirror.store, ignoresLeases: false) { TagPolicies() }
        var answer: Result<[UInt8], RegistryError>?
        queries.answer(.prune(prune), asJSON: false) { answer = $0 }
        mirror.wait(until: { answer != nil })
        return (try? answer?.get()).map { String(decoding: $0, as: UTF8.self) } ?? "\(String(describing: answer))"
    }

    private static func all(_ isForced: Bool) -> AdminCommand.Prune {
        AdminCommand.Prune(.pattern("team/app"), limit: nil, isDryRun: false, isForced: isForced)
    }

    private static func expectNothingCached(_ mirror: MirrorKit, _ location: SourceLocation = #_sourceLocation) {
        mirror.settle()
        #expect(mirror.store.manifests.count == 0 && mirror.store.blobs.count == 0, sourceLocation: location)
        #expect(mirror.store.tags.count == 0, sourceLocation: location)
        #expect(mirror.inspectBlobs() == ([], 0), sourceLocation: location)
    }

    @Test("a reader in the middle of a body gets the rest, and the next request pulls again")
    func readerKeepsItsFile() throws {
        let mirror = try MirrorKit { $0.prefetchLayers = .manifest }
        mirror.wait(until: { mirror.store.isRecovered })
        Self.image.put(on: mirror.fake, tag: "v1")
        #expect(mirror.get(Self.manifest).body == Self.image.manifest)
        mirror.settle()
        let slow = TestClient.ClientBehavior(readBytes: 64 * 1024, pauseMilliseconds: 1, receiveBufferBytes: 64 * 1024)
        let reader = mirror.start(.get(Self.target(Self.layer)), manner: slow)
        mirror.wait(until: { reader.response.body.count > 64 * 1024 })
        #expect(Self.prune(mirror, Self.all(false)) == "skipped registry.test/team/app:v1\n", "served a moment ago")
        #expect(Self.prune(mirror, Self.all(true)) == "pruned registry.test/team/app:v1\n")
        #expect(reader.response.body.count < Self.layer.count, "still in the middle")
        Self.expectNothingCached(mirror)
        mirror.wait(for: [reader])
        #expect(reader.isComplete && reader.response.body == Self.layer)
        let before = mirror.fake.requests.count
        #expect(mirror.get(Self.manifest).body == Self.image.manifest)
        #expect(mirror.get(Self.target(Self.layer)).body == Self.layer)
        #expect(mirror.fake.requests[before...].map(\.path).contains(Self.manifest))
        #expect(mirror.fake.requests[before...].map(\.path).contains(Self.target(Self.layer)))
        mirror.settle()
        #expect(mirror.inspectBlobs() == ([], 3))
        mirror.close()
    }

    @Test("in an air gap an image removed by a forced prune is not found, although just served")
    func goneInAnAirGap() throws {
        let directory = try TemporaryDirectory()
        let image = FakeImage(seed: 100)
        let former = try MirrorKit {
            $0.imagePath = directory.path
            $0.prefetchLayers = .manifest
        }
        image.put(on: former.fake, tag: "v1")
        #expect(former.get(Self.manifest).status == 200)
        former.settle()
        former.close()
        let mirror = try MirrorKit {
            $0.imagePath = directory.path
            $0.policy = API.Policy(airGapped: true, defaultHost: MirrorKit.host)
        }
        mirror.wait(until: { mirror.store.isRecovered })
        for _ in 0..<3 { #expect(mirror.get(Self.manifest).body == image.manifest) }
        let blob = Self.target(image.layers[0])
        for _ in 0..<3 { #expect(mirror.get(blob).body == image.layers[0]) }
        // A layer that nothing keeps open is found by its name alone.
        mirror.store.openFiles.removeAll()
        let forced = AdminCommand.Prune(
            .createdBefore(seconds: EventLoop.unixSeconds + 60), limit: nil, isDryRun: false, isForced: true)
        #expect(Self.prune(mirror, forced) == "pruned registry.test/team/app:v1\n")
        #expect(mirror.get(Self.manifest).status == 404 && mirror.get(blob).status == 404)
        #expect(mirror.get("/v2/team/app/manifests/\(image.digest)").status == 404)
        Self.expectNothingCached(mirror)
        mirror.close()
    }

    @Test("a forced prune lets a running pull finish, and leaves a layer without an image to age")
    func pullUnderWay() throws {
        let bytes = pattern(300_000, seed: 101)
        let mirror = try MirrorKit()
        mirror.wait(until: { mirror.store.isRecovered })
        let image = FakeImage(layerBytes: [1000], seed: 102)
        image.put(on: mirror.fake, tag: "v1")
        mirror.fake.on(Self.target(bytes), { _ in .ok(bytes).dripping(50_000, everyMilliseconds: 5) })
        #expect(mirror.get(Self.manifest).status == 200)
        mirror.settle()
        let client = mirror.start(.get(Self.target(bytes)))
        mirror.wait(until: { client.response.body.count > 50_000 })
        #expect(Self.prune(mirror, Self.all(true)) == "pruned registry.test/team/app:v1\n")
        mirror.wait(for: [client])
        #expect(client.isComplete && client.response.body == bytes)
        mirror.settle()
        #expect(mirror.inspectBlobs() == ([], 1))
        mirror.close()
    }

    @Test("a forced prune removes images used while it runs, and keeps those stored while it runs")
    func usedMeanwhileGoes() throws {
        let mirror = try MirrorKit { $0.prefetchLayers = .manifest }
        mirror.wait(until: { mirror.store.isRecovered })
        let (known, fresh) = (FakeImage(seed: 103), FakeImage(seed: 104))
        known.put(on: mirror.fake, tag: "v1")
        #expect(mirror.get(Self.manifest).status == 200)
        mirror.settle()
        var report: PruneReport?
        mirror.store.prune(selecting: { _ in true }, isForced: true, reporting: { $0 }) { report = try? $0.get() }
        // The look at the disk is under way in the pool.
        if let cached = mirror.store.cachedManifest(known.digest) { mirror.store.touch(cached) }
        mirror.store.loading[known.digest] = []
        mirror.store.putManifest(
            fresh.manifest, digest: fresh.digest, mediaType: .ociManifest, blobs: fresh.blobs.map { digestOf($0) })
        mirror.wait(until: { report != nil })
        #expect(report?.images.map(\.digest) == [known.digest] && report?.skipped.isEmpty == true)
        #expect(mirror.store.manifests[known.digest] == nil && mirror.store.manifests[fresh.digest] != nil)
        #expect(mirror.store.removedWhileLoading == [known.digest])
        mirror.store.loading[known.digest] = nil
        mirror.close()
    }

    @Test("a manifest removed by a forced prune during its read is sent to waiting clients, not kept")
    func removedWhileRead() throws {
        let fixture = try StoreFixture()
        // Too large to be read at once: the pool reads it.
        let image = FakeImage(layerBytes: Array(repeating: 1, count: 150), seed: 105)
        _ = try fixture.wait {
            fixture.store.putManifest(image.manifest, digest: image.digest, mediaType: .ociManifest, then: $0)
        }.get()
        try fixture.reopen()
        let store = fixture.store
        var found: [CachedManifest?] = []
        store.findManifest(image.digest) { found.append($0) }
        #expect(found.isEmpty && store.loading[image.digest] != nil)
        // What a forced prune does before the loop gets what the pool has read: see the test above.
        store.manifests[image.digest] = nil
        store.removedWhileLoading.insert(image.digest)
        try fixture.wait(until: { !found.isEmpty })
        #expect(found.first??.digest == image.digest, "the request that waited gets it")
        #expect(store.manifests[image.digest] == nil && store.cachedManifest(image.digest) == nil)
        #expect(store.removedWhileLoading.isEmpty)
        #expect(try fixture.findManifest(image.digest) == nil)
    }
}

// Pruning: which images are removed, what stays, and what happens to content that is used meanwhile.

import Foundation
import TestSupport
import Testing

@testable import Configuration
@testable import OCI
@testable import Registry

@Suite struct PruneTests {
    private static let repository = PruneFixture.repository("team/app")
    private static let images = (1...4).map { FakeImage(layerBytes: [1000, 2000], seed: UInt64($0)) }

    @Test("a prune removes the selected images with their blobs, and keeps shared content") func selection() throws {
        let cache = PruneFixture()
        let (one, two) = (Self.images[0], Self.images[1])
        try cache.put(one, as: "v1")
        try cache.put(one, as: "same", in: "other/name")
        try cache.put(two, as: "v2")
        #expect(try cache.names() == ["other/name:same", "team/app:v1", "team/app:v2"])
        let first = try cache.prune { $0.name.hasSuffix(":v1") }
        #expect(first.images.map(\.name) == ["registry.test/team/app:v1"])
        #expect(first.blobCount == 0 && first.freedBytes == 0, "the manifest has another name")
        #expect(try cache.has(one.blobs[1]))
        let second = try cache.prune { $0.name.hasSuffix(":same") }
        #expect(second.blobCount == 3)
        #expect(second.freedBytes == Int64(one.manifest.count + one.blobs.map(\.count).reduce(0, +)))
        for blob in one.blobs { #expect(try !cache.has(blob)) }
        #expect(try cache.names() == ["team/app:v2"])
        try cache.expectWhole(Self.images)
        let fixture = try cache.fixture.get()
        try fixture.reopen()
        #expect(try cache.names() == ["team/app:v2"], "the disk says the same")
        #expect(try cache.store.blobs.count == 3 && cache.store.manifests.count == 1)
    }

    @Test("a dry run reports the same as a prune and removes nothing") func dryRun() throws {
        let cache = PruneFixture()
        for (number, image) in Self.images.enumerated() { try cache.put(image, as: "v\(number)") }
        let dry = try cache.prune(limit: 3, dryRun: true)
        #expect(dry.isDryRun && dry.images.count == 3 && dry.blobCount == 9)
        #expect(try cache.names().count == 4)
        let wet = try cache.prune(limit: 3)
        #expect(wet.images == dry.images && wet.blobCount == 9 && wet.freedBytes == dry.freedBytes)
        #expect(try cache.names().count == 1)
    }

    @Test("the longest unused images are pruned first, and leased images stay") func order() throws {
        let cache = PruneFixture()
        for (number, image) in Self.images.enumerated() {
            try cache.put(image, as: "v\(number)", usedSecondsAgo: [5000, 10, 9000, 599][number])
        }
        let report = try cache.prune(limit: 1)
        #expect(report.images.map(\.reference) == [.tag("v2")])
        let rest = try cache.prune()
        #expect(rest.images.map(\.reference) == [.tag("v0")])
        #expect(Set(rest.skipped.map(\.reference)) == [.tag("v1"), .tag("v3")])
        #expect(try cache.prune(ignoringLease: true).images.count == 2)
        #expect(try cache.names().isEmpty)
        #expect(try cache.store.blobs.totalBytes == 0 && cache.store.manifests.totalBytes == 0)
    }

    @Test("an index keeps its platform images, which are pruned with it") func index() throws {
        let cache = PruneFixture()
        let (one, two) = (Self.images[0], Self.images[1])
        try cache.put(one, as: "\(one.digest)")
        for blob in two.blobs { try cache.fixture.get().put(blob) }
        let store = try cache.store
        let _: Result<CachedManifest, StoreError> = try cache.fixture.get().wait {
            store.putManifest(two.manifest, digest: two.digest, mediaType: .ociManifest, then: $0)
        }
        cache.use(two.digest, secondsAgo: 3600)
        try cache.put(FakeImage.index([one, two]), .ociIndex, as: "multi")
        #expect(try cache.names().count == 3, "one has no name of its own and is given the index's")
        let kept = try cache.prune { !$0.mediaType.isIndex }
        #expect(kept.images.map(\.digest) == [one.digest], "its own name goes; the index still lists it")
        #expect(kept.skipped.map(\.digest) == [two.digest] && kept.blobCount == 0)
        try cache.expectWhole([one, two])
        let gone = try cache.prune()
        #expect(gone.images.count == 3 && gone.blobCount == 6)
        #expect(try cache.store.manifests.count == 0 && cache.store.blobs.count == 0)
    }

    @Test("a selection that throws removes nothing, and the next prune runs") func failingSelection() throws {
        struct Refused: Error {}
        let cache = PruneFixture()
        try cache.put(Self.images[0], as: "v1")
        #expect(throws: Refused.self) { try cache.prune { _ in throw Refused() } }
        #expect(try cache.names() == ["team/app:v1"])
        #expect(try cache.prune().images.count == 1, "the next is not held up")
    }

    /// What happens between the look and the removal: the name is pointed elsewhere, the manifest is served, or one
    /// that needs the same blobs is stored.
    @Test("content that is used or stored while a prune runs stays") func usedMeanwhile() throws {
        let cache = PruneFixture()
        let fixture = try cache.fixture.get()
        for (number, image) in Self.images.enumerated() { try cache.put(image, as: "v\(number)") }
        let cousin = FakeImage.index([])
        let result: Result<PruneReport, any Error> = try fixture.wait { done in
            fixture.store.prune(selecting: { _ in true }, ignoringLease: true, reporting: { $0 }, then: done)
            // The look is under way in the pool; this is the loop.
            fixture.store.setTag(
                host: PruneFixture.host, repository: Self.repository, tag: "v0", digest: digestOf(cousin))
            if let served = fixture.store.cachedManifest(Self.images[1].digest) {
                fixture.store.touch(served)
            }
            fixture.store.putManifest(
                cousin, digest: digestOf(cousin), mediaType: .ociIndex, blobs: [digestOf(Self.images[2].blobs[0])])
        }
        let report = try result.get()
        #expect(Set(report.skipped.map(\.reference)).isSuperset(of: [.tag("v1")]))
        #expect(!report.images.map(\.reference).contains(.tag("v0")))
        #expect(try cache.has(Self.images[2].blobs[0]), "the new manifest may use it")
        #expect(try !cache.has(Self.images[2].blobs[1]))
        try cache.expectWhole([Self.images[1]])
        #expect(fixture.store.tag(host: PruneFixture.host, repository: Self.repository, tag: "v0") != nil)
    }

    /// A client is about to be given it.
    @Test("a manifest that is being read from the disk is not pruned") func loadingManifest() throws {
        let cache = PruneFixture()
        for (number, image) in Self.images.enumerated() { try cache.put(image, as: "v\(number)") }
        let store = try cache.store
        store.loading[Self.images[2].digest] = []
        let report = try cache.prune()
        store.loading[Self.images[2].digest] = nil
        #expect(report.skipped.map(\.reference) == [.tag("v2")] && report.images.count == 3)
        #expect(try cache.has(Self.images[2].blobs[1]))
        try cache.expectWhole(Self.images)
    }

    /// A look at the disk cannot see it yet; memory serves it already.
    @Test("the blobs of a manifest that is being written are not pruned") func writingManifest() throws {
        let cache = PruneFixture()
        let image = Self.images[0]
        try cache.put(image, as: "v1")
        let fixture = try cache.fixture.get()
        let cousin = FakeImage.index([])
        let result: Result<PruneReport, any Error> = try fixture.wait { done in
            // The write waits for its turn, and the look begins meanwhile.
            fixture.store.putManifest(
                cousin, digest: digestOf(cousin), mediaType: .ociIndex, blobs: [digestOf(image.blobs[0])])
            fixture.store.prune(selecting: { _ in true }, ignoringLease: true, reporting: { $0 }, then: done)
        }
        #expect(try result.get().images.count == 1)
        #expect(try cache.has(image.blobs[0]) && !cache.has(image.blobs[1]))
    }

    /// Readers hold the file.
    @Test("a pruned blob stays readable for its open readers") func openBlob() throws {
        let cache = PruneFixture()
        let image = Self.images[0]
        try cache.put(image, as: "v1")
        let fixture = try cache.fixture.get()
        let held: OpenFile? = try fixture.wait { fixture.store.findBlob(digestOf(image.blobs[1]), then: $0) }
        try cache.prune()
        #expect(try !cache.has(image.blobs[1]))
        #expect(try fixture.content(#require(held)) == image.blobs[1])
    }
}

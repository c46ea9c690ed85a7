// Random schedules of pulls, uses, evictions, prunes and restarts, over images, build caches that share layers, and
// blobs without a manifest.

import TestSupport
import Testing

@testable import OCI
@testable import Registry

@Suite struct BlobLifeScheduleTests {
    /// One kind of content that can be put into the cache and leave it.
    private enum Content {
        case image(FakeImage)
        case buildCache(FakeBuildCache)
        case blob([UInt8])

        var manifest: Digest? {
            switch self {
            case .image(let image): image.digest
            case .buildCache(let cache): cache.digest
            case .blob: nil
            }
        }

        var blobs: [[UInt8]] {
            switch self {
            case .image(let image): image.blobs
            case .buildCache(let cache): cache.blobs
            case .blob(let bytes): [bytes]
            }
        }

        /// The digest that its last use is recorded under.
        var key: Digest { manifest ?? digestOf(blobs[0]) }
    }

    /// The third build cache has all layers of the others, and one of the single blobs.
    private static let contents: [Content] = {
        let images = (0..<3).map { FakeImage(layerBytes: [500, 700], seed: UInt64(300 + $0)) }
        let caches = [
            FakeBuildCache(.index, layerBytes: [900], seed: 40),
            FakeBuildCache(.image, layerBytes: [900, 800], seed: 40),
            FakeBuildCache(.dockerList, layerBytes: [900, 800, 600], seed: 40),
        ]
        let blobs = (0..<4).map { pattern(1000 + $0, seed: UInt64(320 + $0)) } + [caches[2].layers[2]]
        return images.map { .image($0) } + caches.map { .buildCache($0) } + blobs.map { .blob($0) }
    }()

    private final class Schedule {
        let cache = PruneFixture()
        let fixture: StoreFixture
        var random: SeededRandom
        let place: Comment
        /// Steps are 1,000 seconds apart, the last one an hour ago.
        var clock: Int64

        init(seed: UInt64, steps: Int) throws {
            fixture = try cache.fixture.get()
            random = SeededRandom(seed: seed)
            place = "seed \(seed)"
            clock = EventLoop.unixSeconds - 3600 - Int64(steps) * 1000
        }

        private var contents: [Content] { BlobLifeScheduleTests.contents }

        func chance(_ count: Int) -> Int { Int(random.next() % UInt64(count)) }

        func isCached(_ content: Content) -> Bool {
            guard let manifest = content.manifest else { return fixture.store.blobs[content.key] != nil }
            return fixture.store.manifests[manifest] != nil
        }

        /// Whether a cached manifest names the blob.
        func isNamed(_ blob: Digest) -> Bool {
            contents.contains { content in
                content.manifest != nil && isCached(content) && content.blobs.contains { digestOf($0) == blob }
            }
        }

        func use(_ number: Int) throws {
            let content = contents[number]
            clock += 1000
            for blob in content.blobs where fixture.store.blobs[digestOf(blob)] == nil {
                let digest = try fixture.put(blob)
                fixture.store.age(digest, secondsAgo: EventLoop.unixSeconds - clock)
            }
            switch content {
            case _ where isCached(content): break
            case .image(let image): try cache.put(image, as: "v\(number)")
            case .buildCache(let built): try cache.put(built.manifest, built.mediaType, as: "v\(number)")
            case .blob: break
            }
            fixture.store.accessTimes.touch(content.key, at: clock)
        }

        func remove(goalBytes: Int64?, usedBefore: Int64) throws {
            let before = contents.filter { isCached($0) && ($0.manifest != nil || !isNamed($0.key)) }.map(\.key)
            let result: Result<PruneReport, any Error> = try fixture.wait { done in
                fixture.store.prune(
                    selecting: { $0.pulledSeconds < usedBefore },
                    orphanAge: OrphanAge(usedBefore: min(usedBefore, fixture.store.leaseBegin)), goalBytes: goalBytes,
                    reporting: { $0 }, then: done)
            }
            let report = try result.get()
            let removed =
                report.images.map { ($0.digest, $0.pulledSeconds) }
                + report.orphans.map { ($0.digest, $0.usedSeconds) }
            #expect(Set(removed.map(\.0)).isSubset(of: before), place)
            #expect(removed.allSatisfy { $0.1 < usedBefore }, place)
            #expect(report.skipped.isEmpty, place)
            let latest = removed.map(\.1).max() ?? 0
            for content in contents where isCached(content) && before.contains(content.key) {
                let used = fixture.store.accessTimes.seconds[content.key] ?? 0
                #expect(used >= (goalBytes == nil ? usedBefore : latest), "what stays was used later; \(place)")
            }
            if let goalBytes { #expect(report.freedBytes >= goalBytes || removed.count == before.count, place) }
        }

        func expectWhole() {
            for content in contents where content.manifest != nil && isCached(content) {
                for blob in content.blobs {
                    #expect(fixture.store.blobs[digestOf(blob)] != nil, place)
                    #expect(fixture.exists(fixture.store.layout.blob(digestOf(blob))), place)
                }
            }
        }
    }

    @Test(
        "no schedule loses a blob that a cached manifest names, or removes what was used later first", arguments: 1...8)
    func schedules(_ seed: UInt64) throws {
        let steps = 60
        let schedule = try Schedule(seed: seed, steps: steps)
        for _ in 0..<steps {
            switch schedule.chance(8) {
            case 0: try schedule.remove(goalBytes: Int64(1 + schedule.chance(4000)), usedBefore: .max)
            case 1: try schedule.remove(goalBytes: nil, usedBefore: schedule.clock - Int64(schedule.chance(12_000)))
            case 2:
                try schedule.fixture.reopen()
                let store = schedule.fixture.store
                try schedule.fixture.wait(until: { store.accessTimes.isLoaded && !store.accessTimes.isBusy })
                if schedule.chance(2) == 0 { store.rewriteAccessTimes() }
                try schedule.fixture.wait(until: { !store.accessTimes.isBusy })
            default: try schedule.use(schedule.chance(Self.contents.count))
            }
            schedule.expectWhole()
        }
        try schedule.remove(goalBytes: nil, usedBefore: .max)
        #expect(schedule.fixture.store.blobs.count == 0 && schedule.fixture.store.manifests.count == 0)
    }
}

// Scheduled pruning: old images are removed within its limit.

import TestSupport
import Testing

@testable import Configuration
@testable import Registry

@Suite struct BackgroundPruningTests {
    @Test("scheduled pruning removes old images within its limit, and keeps pinned ones") func schedule() throws {
        let cache = PruneFixture()
        let images = (1...4).map { FakeImage(layerBytes: [1000], seed: UInt64($0)) }
        for (number, image) in images.enumerated() {
            let days = [10, 5, 1, 20][number]
            try cache.put(image, as: "v\(number)", usedSecondsAgo: Int64(days) * 86_400)
        }
        var schedule = PruneSchedule()
        schedule.durationSeconds = 3 * 86_400
        schedule.isDryRun = true
        let fixture = try cache.fixture.get()
        var limits = fixture.store.limits
        limits.isPinned = { $0.name.hasSuffix(":v3") }
        fixture.store.reload(limits)
        /// The tags that the log says went.
        func run() throws -> [String] {
            let pruning = BackgroundPruning(fixture.store, schedule)
            let before = fixture.log.entries.count
            #expect(try fixture.wait { pruning.run(then: $0) })
            return fixture.log.entries[before...].compactMap { $0["image"].map { String($0.suffix(2)) } }
        }
        #expect(try run() == ["v0", "v1"])
        schedule.isDryRun = false
        schedule.limit = 1
        #expect(try run() == ["v0"])
        #expect(try run() == ["v1"])
        #expect(try run() == [])
        #expect(try cache.names() == ["team/app:v2", "team/app:v3"])
        schedule.kind = .created
        schedule.durationSeconds = -10
        #expect(try run() == ["v2"], "all of them came just now")
    }
    @Test("scheduled pruning removes blobs without an image by last use or by creation, and none that are in use")
    func blobsWithoutImage() throws {
        let cache = PruneFixture()
        let fixture = try cache.fixture.get()
        let digests = try (0..<3).map { try fixture.put(pattern(1000, seed: UInt64(20 + $0))) }
        for digest in digests { fixture.store.age(digest, secondsAgo: 10 * 86_400) }
        cache.use(digests[1], secondsAgo: 86_400)
        cache.use(digests[2], secondsAgo: 10)
        var schedule = PruneSchedule()
        schedule.durationSeconds = 3 * 86_400
        /// The blobs that the log says went.
        func run() throws -> [String] {
            let pruning = BackgroundPruning(fixture.store, schedule)
            let before = fixture.log.entries.count
            #expect(try fixture.wait { pruning.run(then: $0) })
            return fixture.log.entries[before...].compactMap { $0["blob"] }
        }
        schedule.isDryRun = true
        #expect(try run() == ["\(digests[0])"])
        schedule.isDryRun = false
        #expect(try run() == ["\(digests[0])"] && run() == [])
        schedule.kind = .created
        #expect(try run() == ["\(digests[1])"], "the third is in use")
        #expect(fixture.store.blobs.count == 1)
    }
}

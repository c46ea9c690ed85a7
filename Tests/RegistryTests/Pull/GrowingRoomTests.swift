// Room for what nobody has announced: bodies without a length take it in steps, and what interrupted pulls left counts
// and is the first to leave.

import Foundation
import TestSupport
import Testing

@testable import Configuration
@testable import Registry

@Suite struct GrowingRoomTests {
    private static func put(_ image: FakeImage, _ mirror: MirrorKit, as tag: String) -> [Int] {
        image.put(on: mirror.fake, tag: tag)
        return [mirror.get("/v2/team/app/manifests/\(tag)").status]
            + image.blobs.map { mirror.get("/v2/team/app/blobs/\(digestOf($0))").status }
    }

    private static func path(_ blob: [UInt8]) -> String { "/v2/team/app/blobs/\(digestOf(blob))" }

    @Test("a body without a length evicts images as it grows, within the budget") func growingBody() throws {
        let limit: Int64 = 2_000_000
        let mirror = try MirrorKit {
            $0.limits.leaseSeconds = 0
            $0.limits.budget.maxBytes = limit
        }
        mirror.wait(until: { mirror.store.isRecovered })
        for number in 0..<3 {
            let image = FakeImage(layerBytes: [500_000], seed: UInt64(700 + number))
            #expect(Self.put(image, mirror, as: "v\(number)") == [200, 200, 200])
        }
        let blob = pattern(1_200_000, seed: 71)
        mirror.fake.on(Self.path(blob)) { .blob(blob, for: $0).chunked().dripping(100_000, everyMilliseconds: 1) }
        let client = mirror.start(.get(Self.path(blob)))
        var most: Int64 = 0
        mirror.wait(until: {
            most = max(most, mirror.store.usedBytes)
            return client.isDone
        })
        #expect(client.response.status == 200 && client.isComplete && client.response.body == blob)
        #expect(most <= limit, "held to the budget at every moment")
        #expect(try mirror.scrape()["ociregistry_store_removed_images_total{reason=\"no_room\"}"] ?? 0 >= 1)
        mirror.settle()
        #expect(mirror.store.reservedBytes == 0 && mirror.store.partials.entries.isEmpty)
        mirror.close()
    }

    @Test("a body without a length that finds no room ends short and frees its bytes") func noRoom() throws {
        let mirror = try MirrorKit {
            $0.limits.budget.maxBytes = 1_500_000
            $0.limits.isPinned = { _ in true }
        }
        mirror.wait(until: { mirror.store.isRecovered })
        let image = FakeImage(layerBytes: [500_000], seed: 711)
        #expect(Self.put(image, mirror, as: "v1") == [200, 200, 200])
        mirror.settle()
        let used = mirror.store.usedBytes
        let endless = pattern(3_000_000, seed: 72)
        mirror.fake.on(Self.path(endless)) { .blob(endless, for: $0).chunked().dripping(100_000, everyMilliseconds: 1) }
        let begun = mirror.ask(.get(Self.path(endless)))
        #expect(begun.response.status == 200 && !begun.isComplete)
        #expect(begun.response.body.count <= 1_000_000 && endless.starts(with: begun.response.body))
        mirror.settle()
        #expect(mirror.store.usedBytes == used, "it has given everything back")
        #expect(try mirror.scrape()["ociregistry_store_write_failures_total{reason=\"no_space\"}"] == 1)
        #expect(mirror.log.text.contains("blob pull failed"))
        // Nothing can leave, and this fills what is left.
        let rest = pattern(1_500_000 - Int(used) - 100, seed: 73)
        mirror.fake.on(Self.path(rest)) { .blob(rest, for: $0) }
        #expect(mirror.get(Self.path(rest)).status == 200)
        let passed = mirror.get(Self.path(endless))
        #expect(passed.body == endless && passed.header("x-ociregistry-cache") == "bypass")
        mirror.close()
    }

    /// A small one takes no more than it needs, however it is sent.
    @Test("a small body without a length takes no more room than its bytes") func smallBody() throws {
        let blob = pattern(90_000, seed: 74)
        let mirror = try MirrorKit { $0.limits.budget.maxBytes = 100_000 }
        mirror.wait(until: { mirror.store.isRecovered })
        mirror.fake.on(Self.path(blob)) { .blob(blob, for: $0).chunked() }
        #expect(mirror.get(Self.path(blob)).body == blob)
        mirror.settle()
        #expect(mirror.store.usedBytes == 90_000)
        mirror.close()
    }

    // MARK: Partial files

    private static func limits(_ maxBytes: Int64) -> StoreLimits {
        var limits = StoreLimits()
        limits.budget.maxBytes = maxBytes
        limits.leaseSeconds = 0
        return limits
    }

    private static func leavePartial(_ fixture: StoreFixture, _ bytes: [UInt8], of whole: [UInt8]) throws -> PullKey {
        let key = try fixture.key(digestOf(whole))
        let ingest = try fixture.begin(key)
        try fixture.append(bytes, to: ingest)
        // What has no room yet would not be kept.
        try fixture.wait(until: { ingest.writtenBytes == bytes.count })
        ingest.suspend()
        try fixture.wait(until: { fixture.store.writing[key] == nil })
        return key
    }

    @Test("partial files count towards the budget and are evicted first, except when resumed")
    func partialFiles() throws {
        let fixture = try StoreFixture(limits: Self.limits(1_000_000))
        let stored = try fixture.put(pattern(300_000, seed: 1))
        let wholes = (2...3).map { pattern(300_000, seed: UInt64($0)) }
        let keys = try wholes.map { try Self.leavePartial(fixture, Array($0[..<200_000]), of: $0) }
        #expect(fixture.store.usedBytes == 700_000)
        try fixture.reopen(limits: Self.limits(1_000_000))
        #expect(fixture.store.usedBytes == 700_000, "and after a restart")
        // The second is gone on with: what it has is not counted twice, and stays.
        let resumed = try fixture.begin(keys[1])
        #expect(resumed.offsetBytes == 200_000)
        #expect(try fixture.wait { resumed.reserve(totalBytes: 300_000, then: $0) } == nil)
        #expect(fixture.store.usedBytes == 800_000)
        let large = try fixture.begin(try fixture.key(digestOf(pattern(400_000, seed: 4))))
        #expect(try fixture.wait { large.reserve(totalBytes: 400_000, then: $0) } == nil)
        #expect(fixture.store.usedBytes == 1_000_000)
        #expect(!fixture.exists(fixture.store.layout.partialFile(keys[0])), "the one nobody goes on with has left")
        #expect(try fixture.find(stored) != nil, "and nothing else had to")
        try fixture.append(Array(wholes[1][200_000...]), to: resumed)
        #expect(try fixture.wait { resumed.verify(then: $0) }.get())
        _ = try fixture.wait { resumed.commit(then: $0) }.get()
        large.discard()
        try fixture.wait(until: { fixture.store.writing.isEmpty })
        #expect(fixture.store.usedBytes == 600_000 && fixture.store.partials.entries.isEmpty)
    }

    @Test("a pull of a partial file that is being evicted starts from zero") func evictedPartial() throws {
        let fixture = try StoreFixture(limits: Self.limits(1_000_000))
        let whole = pattern(300_000, seed: 5)
        let key = try Self.leavePartial(fixture, Array(whole[..<200_000]), of: whole)
        var foundEnough: Bool?
        fixture.store.evict(100_000) { foundEnough = $0 }
        try fixture.wait(until: { !fixture.store.partialsLeaving.isEmpty || foundEnough != nil })
        #expect(foundEnough == nil, "it is being removed")
        let ingest = try fixture.begin(key)
        #expect(foundEnough == true && ingest.offsetBytes == 0)
        try fixture.append(whole, to: ingest)
        #expect(try fixture.wait { ingest.verify(then: $0) }.get())
        #expect(try fixture.wait { ingest.commit(then: $0) }.get().sizeBytes == 300_000)
    }

    /// Bytes that have no room wait, and so does who sends them.
    @Test("bytes without room are not written, and their source is paused") func noWrites() throws {
        let fixture = try StoreFixture(limits: Self.limits(1_000_000))
        let ingest = try fixture.begin(try fixture.key(digestOf(pattern(2_000_000))))
        var failure: StoreError?
        ingest.onFailure = { failure = $0 }
        var sent = 0
        var isPaused = false
        let piece = pattern(100_000)
        while failure == nil, sent < 40 {
            if !isPaused {
                sent += 1
                isPaused = !piece.withUnsafeBytes { ingest.append($0) }
                if isPaused { ingest.onDrained = { isPaused = false } }
            }
            try fixture.wait(until: { !isPaused || failure != nil })
            #expect(fixture.store.usedBytes <= 1_000_000 && ingest.handedBytes <= 1_000_000)
        }
        #expect(failure?.isNoSpace == true)
        #expect(try fixture.wait { ingest.verify(then: $0) }.failure?.isNoSpace == true)
        ingest.discard()
    }
}

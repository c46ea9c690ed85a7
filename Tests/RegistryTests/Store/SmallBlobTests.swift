// Small blobs that are kept in memory: what they hold, how much of it, and that nothing outlives its file.

import TestSupport
import Testing

@testable import OCI
@testable import Registry

@Suite struct SmallBlobTests {
    private func small(_ fixture: StoreFixture, _ digest: Digest) -> [UInt8]? {
        let blob = fixture.store.smallBlob(digest) { digest, size in Array("\(digest) \(size)".utf8) }
        guard let blob else { return nil }
        let fields = UnsafeRawBufferPointer(rebasing: blob.wire[..<blob.fieldsCount])
        let size = blob.wire.count - blob.fieldsCount
        #expect(String(decoding: fields, as: UTF8.self) == "\(digest) \(size)")
        return Array(blob.wire[blob.fieldsCount...])
    }

    @Test("a small open blob is read into memory once, and a large one is not") func openBlob() throws {
        let fixture = try StoreFixture()
        let bytes = pattern(5000)
        let digest = try fixture.put(bytes)
        #expect(small(fixture, digest) == bytes)
        #expect(small(fixture, digest) == bytes && fixture.store.smallBlobs.count == 1)
        #expect(small(fixture, digestOf([9])) == nil)
        let large = try fixture.put(pattern(Int(CachedBlob.maximumBytes) + 1))
        #expect(small(fixture, large) == nil)
        let empty = try fixture.put([])
        #expect(small(fixture, empty) == [])
    }

    @Test("a small blob that is not open is not read into memory") func closedBlob() throws {
        let fixture = try StoreFixture()
        let digest = try fixture.put(pattern(5000))
        try fixture.reopen()
        #expect(small(fixture, digest) == nil)
        #expect(try fixture.find(digest) != nil)
        #expect(small(fixture, digest) == pattern(5000))
    }

    @Test("small blobs in memory stay within their budget") func budget() throws {
        var limits = StoreLimits()
        limits.smallBlobBytes = 20_000
        let fixture = try StoreFixture(limits: limits)
        for seed in 1...20 {
            let digest = try fixture.put(pattern(3000, seed: UInt64(seed)))
            #expect(small(fixture, digest)?.count == 3000)
            #expect(fixture.store.smallBlobs.weight <= 20_000)
        }
        #expect(fixture.store.smallBlobs.count >= 5)
    }

    /// Set aside or removed, it is not served from memory either.
    @Test("a quarantined or removed blob leaves the memory too") func removedBlob() throws {
        let fixture = try StoreFixture()
        let first = try fixture.put(pattern(100))
        let second = try fixture.put(pattern(200))
        #expect(small(fixture, first) != nil && small(fixture, second) != nil)
        fixture.store.quarantineBlob(first, reason: "flipped")
        #expect(fixture.store.removeFromIndex(second))
        fixture.store.removeBlobs([(second, 0)]) { _ in }
        #expect(small(fixture, first) == nil && small(fixture, second) == nil)
        #expect(fixture.store.smallBlobs.count == 0)
        try fixture.wait(until: { fixture.store.pendingRemoval.isEmpty })
        try fixture.put(pattern(100))
        #expect(small(fixture, first) == pattern(100))
    }
}

// Writing blobs: from the first byte to the final name, and every way that can end.

import Foundation
import TestSupport
import Testing

@testable import OCI
@testable import Registry

@Suite struct IngestTests {
    @Test("a partial file with a hole is resumed from what is before the hole") func hole() throws {
        let fixture = try StoreFixture()
        let bytes = pattern(2_000_000)
        let key = try fixture.key(digestOf(bytes))
        let path = fixture.store.layout.partialFile(key)
        try Disk.makeDirectories(fixture.store.layout.partial, fixture.store.layout.group)
        let descriptor = try Disk.open(path, O_RDWR | O_CREAT)
        try bytes[..<500_000].withUnsafeBytes { try Disk.write($0, to: descriptor, at: 0, path) }
        try bytes[1_500_000...].withUnsafeBytes { try Disk.write($0, to: descriptor, at: 1_500_000, path) }
        close(descriptor)
        let ingest = try fixture.begin(key)
        #expect(ingest.offsetBytes > 400_000 && ingest.offsetBytes <= 500_000)
        try fixture.append(Array(bytes[Int(ingest.offsetBytes)...]), to: ingest)
        let matches = try fixture.wait { ingest.verify(then: $0) }
        #expect(try matches.get())
        ingest.discard()
    }

    @Test(
        "a committed blob is found by its digest, after a restart too",
        arguments: Digest.Algorithm.allCases, [0, 1, 4096, 262_144, 3_000_001])
    func commit(algorithm: Digest.Algorithm, count: Int) throws {
        let fixture = try StoreFixture()
        let bytes = pattern(count)
        let digest = try fixture.put(bytes, algorithm)
        #expect(fixture.store.blobSize(digest) == .present(Int64(count)))
        #expect(try fixture.content(try #require(fixture.store.cachedBlob(digest))) == bytes)
        #expect(try fixture.names(fixture.store.layout.partial).isEmpty)
        try fixture.reopen()
        #expect(try fixture.content(try #require(try fixture.find(digest))) == bytes)
        #expect(try [UInt8](Data(contentsOf: URL(fileURLWithPath: fixture.store.layout.blob(digest)))) == bytes)
    }

    @Test("readers see written bytes before the commit, and the blob is not found yet") func growingFile() throws {
        let fixture = try StoreFixture()
        let bytes = pattern(1_000_000)
        let ingest = try fixture.begin(try fixture.key(digestOf(bytes)))
        try fixture.append(Array(bytes[..<500_000]), to: ingest)
        try fixture.wait(until: { ingest.writtenBytes == 500_000 })
        #expect(try fixture.content(ingest.file) == Array(bytes[..<500_000]))
        #expect(fixture.store.cachedBlob(digestOf(bytes)) == nil)
        #expect(try fixture.find(digestOf(bytes)) == nil)
        ingest.discard()
    }

    @Test("any division into chunks gives the same file", arguments: 1...8)
    func chunking(seed: Int) throws {
        var random = SplitMix(state: UInt64(seed))
        let fixture = try StoreFixture()
        let bytes = pattern(2_500_000, seed: UInt64(seed))
        let ingest = try fixture.begin(try fixture.key(digestOf(bytes)))
        var start = 0
        while start < bytes.count {
            let chunk = min(bytes.count - start, Int(random.next() % 700_000) + 1)
            try fixture.append(Array(bytes[start..<(start + chunk)]), to: ingest, chunkBytes: chunk)
            start += chunk
        }
        #expect(try fixture.wait { ingest.verify(then: $0) }.get(), "seed \(seed)")
        #expect(try fixture.content(try fixture.wait { ingest.commit(then: $0) }.get()) == bytes, "seed \(seed)")
    }

    @Test("a fast writer is paused at the buffer limit and resumed when it has drained") func backpressure() throws {
        let fixture = try StoreFixture()
        let bytes = pattern(BufferPool.bufferBytes)
        let ingest = try fixture.begin(try fixture.key(digestOf(bytes)))
        var accepted = 0
        // The first goes out as a job; the loop does not turn here, so the rest waits.
        while bytes.withUnsafeBytes({ ingest.append($0) }) {
            accepted += 1
            guard accepted < 100 else { break }
        }
        #expect(accepted == Ingest.maximumWaitingBuffers)
        let _: Bool = try fixture.wait { done in ingest.onDrained = { done(true) } }
        try fixture.wait(until: { ingest.writtenBytes == Int64((accepted + 1) * bytes.count) })
        ingest.discard()
    }

    @Test("wrong bytes fail verification and cannot be committed") func wrongBytes() throws {
        let fixture = try StoreFixture()
        let digest = digestOf(pattern(1000))
        let key = try fixture.key(digest)
        let ingest = try fixture.begin(key)
        try fixture.append(pattern(1000, seed: 2), to: ingest)
        #expect(try fixture.wait { ingest.verify(then: $0) }.get() == false)
        let committed: Result<OpenFile, StoreError> = try fixture.wait { ingest.commit(then: $0) }
        #expect(committed.failure == .notVerified)
        ingest.discard()
        // The next ingest of the key waits for the discard to be done.
        let next = try fixture.begin(key)
        #expect(next.offsetBytes == 0)
        #expect(try fixture.find(digest) == nil)
        #expect(!fixture.exists(fixture.store.layout.blob(digest)))
        next.discard()
    }

    @Test("a commit before verification is refused") func unverifiedCommit() throws {
        let fixture = try StoreFixture()
        let bytes = pattern(10)
        let ingest = try fixture.begin(try fixture.key(digestOf(bytes)))
        try fixture.append(bytes, to: ingest)
        let committed: Result<OpenFile, StoreError> = try fixture.wait { ingest.commit(then: $0) }
        #expect(committed.failure == .notVerified)
        ingest.discard()
    }

    @Test("a suspended ingest resumes at its offset, after a restart too", arguments: [false, true])
    func suspended(acrossRestart: Bool) throws {
        let fixture = try StoreFixture()
        let bytes = pattern(1_500_000)
        let key = try fixture.key(digestOf(bytes))
        let first = try fixture.begin(key)
        #expect(try fixture.wait { first.reserve(totalBytes: 1_500_000, then: $0) } == nil)
        try fixture.append(Array(bytes[..<900_000]), to: first)
        first.suspend()
        if acrossRestart { try fixture.reopen() }
        let second = try fixture.begin(key)
        #expect(second.offsetBytes == 900_000)
        #expect(try fixture.content(second.file) == Array(bytes[..<900_000]))
        try fixture.append(Array(bytes[900_000...]), to: second)
        #expect(try fixture.wait { second.verify(then: $0) }.get())
        #expect(try fixture.content(try fixture.wait { second.commit(then: $0) }.get()) == bytes)
    }

    @Test("a partial file left by a crash is hashed again, and its damage is detected") func crash() throws {
        let fixture = try StoreFixture()
        let bytes = pattern(300_000)
        let key = try fixture.key(digestOf(bytes), "a/b")
        var damaged = Array(bytes[..<100_000])
        damaged[50_000] ^= 1
        try Data(damaged).write(to: URL(fileURLWithPath: fixture.store.layout.partialFile(key)))
        let resumed = try fixture.begin(key)
        #expect(resumed.offsetBytes == 100_000)
        try fixture.append(Array(bytes[100_000...]), to: resumed)
        #expect(try fixture.wait { resumed.verify(then: $0) }.get() == false)
        let fresh = try fixture.wait { resumed.restart(then: $0) }.get()
        #expect(fresh.offsetBytes == 0)
        try fixture.append(bytes, to: fresh)
        #expect(try fixture.wait { fresh.verify(then: $0) }.get())
        _ = try fixture.wait { fresh.commit(then: $0) }.get()
        // Readers of the old file still have it.
        #expect(try fixture.content(resumed.file).prefix(100_000).elementsEqual(damaged))
    }

    @Test("an ingest of the same key waits for the first to end and resumes it") func sameKey() throws {
        let fixture = try StoreFixture()
        let bytes = pattern(1000)
        let key = try fixture.key(digestOf(bytes))
        let first = try fixture.begin(key)
        var second: Ingest?
        fixture.store.beginIngest(key) { second = try? $0.get() }
        try fixture.append(Array(bytes[..<400]), to: first)
        try fixture.wait(until: { first.writtenBytes == 400 })
        #expect(second == nil)
        first.suspend()
        try fixture.wait(until: { second != nil })
        #expect(second?.offsetBytes == 400)
        second?.discard()
    }

    @Test("ingests of one digest from two repositories may both commit") func sameDigest() throws {
        let fixture = try StoreFixture()
        let bytes = pattern(200_000)
        let digest = digestOf(bytes)
        let ingests = try ["a/one", "b/two"].map { try fixture.begin(try fixture.key(digest, $0)) }
        for ingest in ingests {
            try fixture.append(bytes, to: ingest)
            #expect(try fixture.wait { ingest.verify(then: $0) }.get())
        }
        for ingest in ingests { _ = try fixture.wait { ingest.commit(then: $0) }.get() }
        #expect(try fixture.content(try #require(try fixture.find(digest))) == bytes)
        #expect(try fixture.names(fixture.store.layout.partial).isEmpty)
    }

    @Test("a partial file with a second hard link is not written to") func hardLink() throws {
        let fixture = try StoreFixture()
        let bytes = pattern(5000)
        let digest = try fixture.put(bytes)
        let key = try fixture.key(digest, "other/repository")
        let partial = fixture.store.layout.partialFile(key)
        #expect(link(fixture.store.layout.blob(digest), partial) == 0)
        let ingest = try fixture.begin(key)
        #expect(ingest.offsetBytes == 0)
        try fixture.append(pattern(5000, seed: 9), to: ingest)
        try fixture.wait(until: { ingest.writtenBytes == 5000 })
        #expect(try fixture.content(try #require(try fixture.find(digest))) == bytes)
        ingest.discard()
    }

    @Test("a symbolic link in place of a partial file is quarantined, not followed") func symbolicLink() throws {
        let fixture = try StoreFixture()
        let target = try fixture.directory.write("precious", to: "outside")
        let key = try fixture.key(digestOf(pattern(10)))
        #expect(symlink(target, fixture.store.layout.partialFile(key)) == 0)
        let ingest = try fixture.begin(key)
        try fixture.append(pattern(10), to: ingest)
        try fixture.wait(until: { ingest.writtenBytes == 10 })
        #expect(try String(contentsOfFile: target, encoding: .utf8) == "precious")
        #expect(try fixture.quarantined().count == 1)
        ingest.discard()
    }

    @Test("a dropped ingest frees its key and keeps its partial file") func dropped() throws {
        let fixture = try StoreFixture()
        let bytes = pattern(1000)
        let key = try fixture.key(digestOf(bytes))
        var dropped: Ingest? = try fixture.begin(key)
        try fixture.append(Array(bytes[..<600]), to: try #require(dropped))
        try fixture.wait(until: { dropped?.writtenBytes == 600 })
        dropped = nil
        let next = try fixture.begin(key)
        #expect(next.offsetBytes == 600)
        next.suspend()
    }

    @Test("closing the store waits for a commit") func closing() throws {
        let fixture = try StoreFixture()
        let bytes = pattern(2_000_000)
        let ingest = try fixture.begin(try fixture.key(digestOf(bytes)))
        try fixture.append(bytes, to: ingest)
        #expect(try fixture.wait { ingest.verify(then: $0) }.get())
        var isCommitted = false
        ingest.commit { _ in isCommitted = true }
        try fixture.reopen()
        #expect(isCommitted)
        #expect(try fixture.content(try #require(try fixture.find(digestOf(bytes)))) == bytes)
    }

    @Test("a closed store refuses new ingests") func closedStore() throws {
        let fixture = try StoreFixture()
        let store = fixture.store
        try fixture.reopen()
        let key = try fixture.key(digestOf([1]))
        let begun: Result<Ingest, StoreError> = try fixture.wait { store.beginIngest(key, then: $0) }
        #expect(begun.failure == .closed)
    }
}

/// A small seeded generator (splitmix64), so that a failure can be repeated.
private struct SplitMix {
    var state: UInt64
    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var mixed = state
        mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
        return mixed ^ (mixed >> 31)
    }
}

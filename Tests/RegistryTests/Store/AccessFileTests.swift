// The file of last uses: bounded, rewritten while the server runs, and without losing uses.

import Foundation
import TestSupport
import Testing

@testable import OCI
@testable import Registry

@Suite struct AccessFileTests {
    private static let now: Int64 = 2_000_000_000
    private static func digest(_ number: Int) -> Digest { digestOf(Array("\(number)".utf8)) }

    private func uses(_ numbers: Range<Int>) -> DigestMap<Int64> {
        numbers.reduce(into: [:]) { $0[Self.digest($1)] = Int64(1000 + $1) }
    }

    private func lines(_ store: Store) throws -> [String] {
        try String(contentsOfFile: store.layout.access, encoding: .utf8).split(separator: "\n").map(String.init)
    }

    private func load(_ layout: Layout) throws -> AccessFile.Content { try AccessFile.load(layout, now: Self.now) }

    /// Puts manifests, so that their uses are not of something gone.
    private func put(_ count: Int, in fixture: StoreFixture) throws -> [Digest] {
        try (0..<count).map { number in
            let body = Array("{\"number\":\(number)}".utf8)
            let _: Result<CachedManifest, StoreError> = try fixture.wait {
                fixture.store.putManifest(body, digest: digestOf(body), mediaType: .ociIndex, then: $0)
            }
            return digestOf(body)
        }
    }

    @Test("appended and rewritten access times are read back") func roundTrip() throws {
        let fixture = try StoreFixture()
        let layout = fixture.store.layout
        var state = try AccessFile.append(uses(0..<10), to: 0, layout)
        #expect(state.lines == 10)
        state = try AccessFile.append([Self.digest(3): 5000], to: state.lines, layout)
        var expected = uses(0..<10)
        expected[Self.digest(3)] = 5000
        let read = try load(layout)
        #expect(read.uses == expected && read.state == state && read.skippedBytes == 0)
        let rewritten = try AccessFile.rewrite(expected, layout)
        #expect(rewritten.lines == 10 && rewritten.bytes < state.bytes)
        #expect(try load(layout).uses == expected)
        #expect(try lines(fixture.store).last == "5000 \(Self.digest(3))", "the newest is the last")
        #expect(try fixture.names(layout.temporary).isEmpty)
    }

    @Test("only the end of a file above the limit is read") func tooLarge() throws {
        let fixture = try StoreFixture()
        let layout = fixture.store.layout
        let state = try AccessFile.append(uses(0..<10_000), to: 0, layout)
        let whole = try AccessFile.append(
            [Self.digest(7): Self.now + 99, Self.digest(10_001): 5], to: state.lines, layout)
        let read = try AccessFile.load(layout, now: Self.now, maximumBytes: 500_000)
        #expect(read.skippedBytes == whole.bytes - 500_000)
        #expect((6000...6600).contains(read.uses.count), "what half a megabyte has room for")
        #expect(read.uses[Self.digest(10_001)] == 5)
        #expect(read.uses[Self.digest(7)] == Self.now, "nothing is used in the future")
        #expect(read.state.bytes < 500_000 && read.state.lines == read.uses.count, "and it is small again")
        #expect(try lines(fixture.store).count == read.uses.count)
    }

    @Test("overlong, torn and out-of-range lines are skipped")
    func odd() throws {
        let fixture = try StoreFixture()
        let layout = fixture.store.layout
        let digest = Self.digest(1)
        let long = String(repeating: "z", count: 3 * LineFile.stepBytes)
        let large = "99999999999999999999"
        let text = "5 \(digest)\n\(long)\n-7 \(digest)\n\(large) \(digest)\n\(digest)\n \(digest)\n6 \(digest)"
        try text.write(toFile: layout.access, atomically: true, encoding: .utf8)
        #expect(try load(layout).uses == [digest: 6])
        // The last line has got its end, so that nothing is appended to it.
        #expect(try lines(fixture.store) == ["6 \(digest)"])
        let many = (0..<20_000).map { "\($0) \(Self.digest($0 % 7000))\n" }.joined()
        try many.write(toFile: layout.access, atomically: true, encoding: .utf8)
        let read = try load(layout)
        #expect(read.uses.count == 7000 && read.uses[Self.digest(5999)] == 19_999)
    }

    @Test("the file is rewritten while the server runs without losing entries") func whileRunning() throws {
        let fixture = try StoreFixture()
        let store = fixture.store
        let digests = try put(3, in: fixture)
        try fixture.wait(until: { store.accessTimes.isLoaded })
        var rounds = 0
        var most = 0
        while rounds < 1200 {
            for digest in digests { store.accessTimes.touch(digest, at: Int64(1000 + rounds)) }
            // As the timer does.
            store.saveAccessTimes()
            try fixture.wait(until: { !store.accessTimes.isBusy })
            rounds += 1
            most = max(most, store.accessTimes.file.lines)
        }
        #expect(most <= 2 * digests.count + LineFile.State.spareLines + digests.count)
        #expect(try lines(store).count == store.accessTimes.file.lines)
        #expect(try Disk.status(at: store.layout.access).sizeBytes == store.accessTimes.file.bytes)
        #expect(store.usedBytes == store.blobs.totalBytes + store.manifests.totalBytes + store.accessTimes.file.bytes)
        let before = store.accessTimes.seconds
        #expect(digests.allSatisfy { before[$0] == 2199 })
        try fixture.reopen()
        try fixture.wait(until: { fixture.store.accessTimes.isLoaded })
        #expect(fixture.store.accessTimes.seconds == before)
    }

    @Test("uses of removed manifests leave the file at its next rewrite") func gone() throws {
        let fixture = try StoreFixture()
        let store = fixture.store
        let digests = try put(2, in: fixture)
        for number in 0..<50 { store.accessTimes.touch(Self.digest(number), at: 5) }
        store.rewriteAccessTimes()
        try fixture.wait(until: { !store.accessTimes.isBusy })
        #expect(store.accessTimes.seconds.count == 2 && digests.allSatisfy { store.accessTimes.seconds[$0] != nil })
        #expect(try lines(store).count == 2)
    }

    /// The file is a directory: nothing can be appended, and nothing renamed over it.
    @Test("a failed write is repeated later") func failing() throws {
        let fixture = try StoreFixture()
        let store = fixture.store
        let digests = try put(2, in: fixture)
        try fixture.wait(until: { store.accessTimes.isLoaded })
        try FileManager.default.createDirectory(atPath: store.layout.access, withIntermediateDirectories: true)
        for round in 0..<3 {
            for digest in digests { store.accessTimes.touch(digest, at: Int64(100 + round)) }
            store.saveAccessTimes()
            try fixture.wait(until: { !store.accessTimes.isBusy })
            #expect(store.accessTimes.hasUnwritten && store.accessTimes.needsRewriting)
        }
        try FileManager.default.removeItem(atPath: store.layout.access)
        store.saveAccessTimes()
        try fixture.wait(until: { !store.accessTimes.isBusy })
        #expect(!store.accessTimes.needsRewriting)
        #expect(try load(store.layout).uses == store.accessTimes.seconds)
        #expect(store.accessTimes.seconds[digests[0]] == 102)
    }

    @Test("a file that could not be read is not overwritten") func unreadable() throws {
        let fixture = try StoreFixture(isRecovered: false)
        let store = fixture.store
        try FileManager.default.createDirectory(atPath: store.layout.access, withIntermediateDirectories: true)
        try fixture.recover()
        #expect(!store.accessTimes.isLoaded && fixture.log.text.contains("last uses are not known yet"))
        try FileManager.default.removeItem(atPath: store.layout.access)
        _ = try AccessFile.append(uses(0..<3), to: 0, store.layout)
        store.saveAccessTimes()
        try fixture.wait(until: { store.accessTimes.isLoaded && !store.accessTimes.isBusy })
        #expect(store.accessTimes.seconds == uses(0..<3))
    }

    /// A prune may take minutes, and answers go out meanwhile.
    @Test("uses during a prune are recorded no more often than otherwise") func duringAPrune() throws {
        let fixture = try StoreFixture()
        let store = fixture.store
        let digest = try put(1, in: fixture)[0]
        let manifest = try #require(store.cachedManifest(digest))
        let _: Result<Int, any Error> = try fixture.wait { done in
            store.prune(selecting: { _ in false }, reporting: { _ in 0 }, then: done)
            _ = store.accessTimes.takeUnwritten()
            for _ in 0..<1000 { store.touch(manifest) }
        }
        #expect(!store.accessTimes.hasUnwritten)
    }

    @Test("access times survive a restart, and invalid lines are skipped") func accessTimes() throws {
        let cache = PruneFixture()
        let fixture = try cache.fixture.get()
        try cache.put(FakeImage(seed: 1), as: "v1", usedSecondsAgo: 5000)
        try cache.put(FakeImage(seed: 2), as: "v2", usedSecondsAgo: 50)
        let before = fixture.store.accessTimes.seconds
        try fixture.reopen()
        try fixture.wait(until: { fixture.store.accessTimes.seconds == before })
        let file = try String(contentsOfFile: fixture.store.layout.access, encoding: .utf8)
        #expect(file.split(separator: "\n").count >= 2)
        // A torn last line, and lines of no meaning.
        let handle = try #require(FileHandle(forWritingAtPath: fixture.store.layout.access))
        try handle.seekToEnd()
        try handle.write(contentsOf: Data("x\n12 sha256:zz\n99".utf8))
        try fixture.reopen()
        try fixture.wait(until: { fixture.store.accessTimes.seconds == before })
    }

    @Test("the access file is rewritten when most of it is outdated") func accessFileRewrite() throws {
        let cache = PruneFixture()
        let fixture = try cache.fixture.get()
        let digest = digestOf([1])
        let lines = (0..<3000).map { "\($0) \(digest)\n" }.joined()
        try lines.write(toFile: fixture.store.layout.access, atomically: true, encoding: .utf8)
        try fixture.reopen()
        try fixture.wait(until: { !fixture.store.accessTimes.seconds.isEmpty })
        #expect(fixture.store.accessTimes.seconds == [digest: 2999])
        #expect(try String(contentsOfFile: fixture.store.layout.access, encoding: .utf8) == "2999 \(digest)\n")
    }
}

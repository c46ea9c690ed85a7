// The background scrub: what it finds, in which order, how it continues after a restart, and how fast.

import Foundation
import Glibc
import TestSupport
import Testing

@testable import Configuration
@testable import OCI
@testable import Registry

@Suite struct ScrubTests {
    private static let fast = ScrubSchedule(intervalSeconds: 3600, bytesPerSecond: 1 << 40)

    /// A store with some blobs, the empty one among them, and a manifest.
    private final class Scene {
        let fixture: StoreFixture
        var blobs: [Digest] = []
        let manifest = FakeImage(seed: 5)
        private var scrubs: [StoreScrub] = []

        init(blobBytes: [Int] = [0, 10, 70_000, 300_000]) throws {
            fixture = try StoreFixture()
            for (number, size) in blobBytes.enumerated() {
                blobs.append(try fixture.put(pattern(size, seed: UInt64(200 + number))))
            }
            blobs.append(try fixture.put(pattern(1000, seed: 7), .sha512))
            _ = try fixture.wait {
                fixture.store.putManifest(
                    manifest.manifest, digest: manifest.digest, mediaType: .ociManifest, then: $0)
            }.get()
        }

        deinit { for scrub in scrubs { scrub.close() } }

        var store: Store { fixture.store }

        func start(_ schedule: ScrubSchedule = ScrubTests.fast) -> StoreScrub {
            let scrub = StoreScrub(store, schedule)
            scrubs.append(scrub)
            scrub.start()
            return scrub
        }

        /// Ends a scrub, and waits until its progress is written.
        func stop(_ scrub: StoreScrub) throws {
            scrub.close()
            try fixture.wait(until: { fixture.offload.inFlight == 0 })
        }

        func runPass(_ schedule: ScrubSchedule = ScrubTests.fast) throws {
            let before = passes
            let scrub = start(schedule)
            try fixture.wait(until: { passes > before })
            try stop(scrub)
        }

        var passes: Int { fixture.log.entries.count { $0.message == "scrub: pass complete" } }

        func flipABit(in path: String) throws {
            let handle = try FileHandle(forUpdating: URL(filePath: path))
            let byte = try #require(try handle.read(upToCount: 1)?.first)
            try handle.seek(toOffset: 0)
            try handle.write(contentsOf: [byte ^ 4])
            try handle.close()
        }

        /// All paths in the order of a walk.
        func walk(after position: String = "") -> [String] {
            var walk = ContentWalk(store.layout, after: position)
            var paths: [String] = []
            while let content = walk.next() { paths.append(store.layout.relative(content.path)) }
            return paths
        }

        func state() throws -> ScrubState { try ScrubState.load(store.layout) }
    }

    @Test("a pass finds damaged blobs and manifests, and nothing else")
    func findsDamage() throws {
        let scene = try Scene()
        let layout = scene.store.layout
        try scene.flipABit(in: layout.blob(scene.blobs[3]))
        #expect(truncate(layout.blob(scene.blobs[2]), 69_999) == 0)
        let manifestPath = layout.manifest(scene.manifest.digest, .ociManifest)
        try scene.flipABit(in: manifestPath)
        try scene.runPass()
        #expect(scene.store.damageCounts[Int(DamageFinder.scrub.rawValue)] == 3)
        #expect(try scene.fixture.quarantined().count == 3)
        for digest in [scene.blobs[2], scene.blobs[3]] { #expect(scene.store.blobSize(digest) == .absent) }
        #expect(scene.store.blobSize(scene.blobs[0]) == .present(0), "no bytes are no damage")
        try scene.fixture.wait(until: { scene.fixture.exists(manifestPath) })
        #expect(scene.store.scrub.files == 6)
        let line = try #require(scene.fixture.log.entries.first { $0.message == "scrub: pass complete" })
        #expect(line["files"] == "6" && line["damaged"] == "3")
        #expect(try !scene.state().isInPass && scene.state().completedSeconds > 0)
    }

    @Test("the walk is sorted, and resumes behind each of its files")
    func walk() throws {
        let scene = try Scene(blobBytes: Array(1...20))
        let all = scene.walk()
        #expect(all.count == 22 && all == all.sorted())
        for (number, position) in all.enumerated() {
            #expect(scene.walk(after: position) == Array(all[(number + 1)...]))
        }
        #expect(scene.walk(after: "blobs/sha256/0") == all && scene.walk(after: "zzz").isEmpty)
        #expect(scene.walk(after: "\u{0}") == all)
    }

    @Test("a pass continues where an earlier process stopped")
    func resumesAfterRestart() throws {
        let scene = try Scene()
        let all = scene.walk()
        let layout = scene.store.layout
        // Damage on both sides of the place that an earlier process came to.
        let blobs = all.filter { $0.hasPrefix("blobs/sha256/") && !$0.contains("e3b0c442") }
        try scene.flipABit(in: "\(layout.root)/\(blobs[0])")
        try scene.flipABit(in: "\(layout.root)/\(blobs[2])")
        let now = EventLoop.unixSeconds
        let former = ScrubState(startedSeconds: now - 500, position: blobs[1], files: 2, bytes: 1000)
        try former.save(layout)
        try scene.runPass()
        let rest = all.count - 1 - (all.firstIndex(of: blobs[1]) ?? 0)
        #expect(scene.store.scrub.files == UInt64(rest))
        let state = try scene.state()
        #expect(state.startedSeconds == now - 500 && state.files == Int64(2 + rest) && !state.isInPass)
        #expect(scene.fixture.exists("\(layout.root)/\(blobs[0])"), "it is the next pass's to find")
        #expect(!scene.fixture.exists("\(layout.root)/\(blobs[2])"))
        // The next one is due an interval after the start of this one, and not before.
        let again = scene.start()
        try scene.fixture.wait(until: { scene.fixture.offload.inFlight == 0 })
        #expect(!scene.store.scrub.isRunning && scene.store.scrub.files == UInt64(rest))
        try scene.stop(again)
        try scene.runPass(ScrubSchedule(intervalSeconds: 400, bytesPerSecond: 1 << 40))
        try scene.fixture.wait(until: { !scene.fixture.exists("\(layout.root)/\(blobs[0])") })
    }

    @Test("a stopped scrub saves its progress, and each file is hashed once in total")
    func savesProgress() throws {
        // Several steps of 64 KiB each.
        let scene = try Scene(blobBytes: Array(repeating: 30_000, count: 12))
        let slow = ScrubSchedule(intervalSeconds: 3600, bytesPerSecond: 650_000)
        let first = scene.start(slow)
        try scene.fixture.wait(until: { scene.store.scrub.files >= 1 })
        #expect(scene.store.scrub.isRunning && scene.store.readings.scrubProgress > 0)
        try scene.stop(first)
        #expect(!scene.store.scrub.isRunning)
        let state = try scene.state()
        #expect(state.isInPass && state.files == Int64(scene.store.scrub.files))
        #expect(state.position == scene.walk()[Int(state.files) - 1])
        try scene.runPass()
        #expect(scene.store.scrub.files == UInt64(scene.walk().count))
        #expect(try scene.state().startedSeconds == state.startedSeconds)
    }

    @Test("the recovery walk ignores the scrub's progress file")
    func progressFile() throws {
        let scene = try Scene()
        try scene.runPass()
        try scene.fixture.reopen()
        #expect(scene.fixture.exists(scene.store.layout.scrub))
        #expect(try scene.fixture.quarantined().isEmpty)
    }

    @Test(
        "an invalid progress file starts a new pass",
        arguments: ["", "x", "started -5\nposition\n", "started 99999999999999999999\nfiles 1 2\n\u{FF}\n"])
    func invalidProgress(_ text: String) throws {
        let state = ScrubState(text)
        #expect(state.startedSeconds == 0 && state.files == 0 && !state.isInPass)
        #expect(state.secondsToNext(60, now: 1_000_000) <= 0)
    }

    @Test("a scrub's progress is read as it was written")
    func progress() throws {
        let states = [
            ScrubState(), ScrubState(startedSeconds: 5, position: "", files: 1, bytes: 2, completedSeconds: 3),
            ScrubState(startedSeconds: 5, position: "blobs/sha256/00/00ff", files: 1, bytes: 2),
        ]
        for state in states { #expect(ScrubState(state.text) == state) }
    }

    @Test("the next pass is due an interval after the last start, whatever the clock's changes")
    func nextPass() {
        let state = ScrubState(startedSeconds: 1000)
        #expect(state.secondsToNext(60, now: 1010) == 50)
        #expect(state.secondsToNext(60, now: 2000) < 0)
        #expect(state.secondsToNext(60, now: 10) == 60, "the clock was set back")
        #expect(ScrubState().secondsToNext(60, now: 10) == 0)
    }

    @Test("scrubbing keeps to its rate, and does not catch up after a slow disk")
    func pace() {
        var pace = ScrubPace(bytesPerSecond: 1_000_000)
        #expect(pace.stepBytes == 100_000)
        #expect(ScrubPace(bytesPerSecond: 1).stepBytes == 65_536)
        #expect(ScrubPace(bytesPerSecond: .max).stepBytes == 4 << 20)
        // A step took 30 ms: what is left of a tenth of a second is waited, once the second of grace is used up.
        var now: Int64 = 1_000_000
        var (waited, done) = (Int64(0), Int64(0))
        for _ in 0..<100 {
            now += 30
            done += 100_000
            let pause = Int64(pace.pause(after: 100_000, now: now))
            now += pause
            waited += pause
        }
        #expect(waited == 6030 && done == 10_000_000, "100 steps of 100 ms, but for the grace")
        now += 3_600_000
        #expect(pace.pause(after: 100_000, now: now) == 0)
        var pauses = 0
        while pace.pause(after: 100_000, now: now) == 0 { pauses += 1 }
        #expect(pauses < 15)
    }
}

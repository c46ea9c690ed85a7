// How long blobs live that no image has: with the build cache that names them, or by their own last use.

import Foundation
import Glibc
import TestSupport
import Testing

@testable import OCI
@testable import Registry

@Suite struct BlobLifeTests {
    private static let images = (1...2).map { FakeImage(layerBytes: [1000, 2000], seed: UInt64(70 + $0)) }
    private static let alone = (0..<4).map { pattern(20_000, seed: UInt64(700 + $0)) }

    private func prune(
        _ cache: PruneFixture, _ age: OrphanAge? = nil, limit: Int? = nil, dryRun: Bool = false,
        goalBytes: Int64? = nil, isForced: Bool = false,
        _ selecting: @escaping @Sendable (CachedImage) throws -> Bool = { _ in false },
        meanwhile: (Store) -> Void = { _ in }
    ) throws -> PruneReport {
        let fixture = try cache.fixture.get()
        let result: Result<PruneReport, any Error> = try fixture.wait { done in
            fixture.store.prune(
                selecting: selecting, limit: limit, dryRun: dryRun, isForced: isForced, orphanAge: age,
                goalBytes: goalBytes, reporting: { $0 }, then: done)
            meanwhile(fixture.store)
        }
        return try result.get()
    }

    private func entries(_ cache: PruneFixture) throws -> [Digest: BlobEntry] {
        let fixture = try cache.fixture.get()
        let result: Result<[BlobEntry], any Error> = try fixture.wait {
            fixture.store.blobEntries(making: { $0 }, then: $0)
        }
        return Dictionary(uniqueKeysWithValues: try result.get().map { ($0.digest, $0) })
    }

    /// Puts blobs that no manifest names, each with its age.
    private func put(alone ages: [Int64], in cache: PruneFixture) throws {
        for (bytes, age) in zip(Self.alone, ages) {
            let digest = try cache.fixture.get().put(bytes)
            try cache.store.age(digest, secondsAgo: age)
        }
    }

    private func put(_ buildCache: FakeBuildCache, as tag: String, in cache: PruneFixture) throws {
        for blob in buildCache.blobs {
            let digest = try cache.fixture.get().put(blob)
            try cache.store.age(digest, secondsAgo: 90_000)
        }
        try cache.put(buildCache.manifest, buildCache.mediaType, as: tag)
    }

    @Test(
        "a build cache is listed with its size, keeps its blobs, and takes them along when it is pruned",
        arguments: FakeBuildCache.Form.allCases)
    func buildCache(_ form: FakeBuildCache.Form) throws {
        let cache = PruneFixture()
        let buildCache = FakeBuildCache(form)
        try put(buildCache, as: "cache", in: cache)
        let fixture = try cache.fixture.get()
        let images: Result<[CachedImage], any Error> = try fixture.wait {
            fixture.store.images(making: { $0 }, then: $0)
        }
        let listed = try images.get()
        #expect(listed.count == 1 && listed[0].sizeBytes == buildCache.blobBytes)
        #expect(Set(listed[0].blobs.map(\.digest)) == Set(buildCache.blobs.map { digestOf($0) }))
        // Its blobs are old, and its manifest was served an hour ago.
        #expect(try prune(cache, OrphanAge()).blobCount == 0)
        let blobs = try entries(cache)
        #expect(blobs.count == 3 && blobs.values.allSatisfy { $0.referenceCount == 1 })
        let now = EventLoop.unixSeconds
        #expect(blobs.values.allSatisfy { (3500...4000).contains(now - $0.usedSeconds) }, "as its manifest")
        let report = try prune(cache) { $0.name.hasSuffix(":cache") }
        #expect(report.images.count == 1 && report.blobCount == 3 && report.orphans.isEmpty)
        #expect(report.freedBytes == buildCache.blobBytes + Int64(buildCache.manifest.count))
        #expect(try cache.store.blobs.count == 0 && cache.store.manifests.count == 0)
    }

    @Test("a blob that two build caches name leaves with the second") func shared() throws {
        let cache = PruneFixture()
        let (short, long) = (FakeBuildCache(layerBytes: [3000]), FakeBuildCache(layerBytes: [3000, 4000]))
        #expect(short.layers[0] == long.layers[0])
        try put(short, as: "short", in: cache)
        try put(long, as: "long", in: cache)
        #expect(try entries(cache)[digestOf(long.layers[0])]?.referenceCount == 2)
        #expect(try prune(cache, OrphanAge()) { $0.name.hasSuffix(":long") }.blobCount == 2)
        #expect(try cache.has(short.layers[0]) && cache.has(short.config) && !cache.has(long.layers[1]))
        #expect(try prune(cache) { _ in true }.blobCount == 2)
        #expect(try cache.store.blobs.count == 0)
    }

    @Test(
        "an index keeps entries that are cached as blobs, whatever type they state", arguments: ["", "x/manifest.v9"])
    func unknownType(_ type: String) throws {
        let cache = PruneFixture()
        try put(alone: [90_000], in: cache)
        let entry = FakeImage.descriptor(type, Self.alone[0])
        let index = Array("{\"schemaVersion\":2,\"manifests\":[\(entry)]}".utf8)
        #expect(try Manifest.decode(index, contentType: MediaType.ociIndex.text).manifests.count == 1)
        try cache.put(index, .ociIndex, as: "odd")
        #expect(try prune(cache, OrphanAge()).blobCount == 0 && cache.has(Self.alone[0]))
        #expect(try prune(cache) { _ in true }.blobCount == 1)
        #expect(try cache.store.blobs.count == 0)
    }

    @Test("eviction removes images and blobs without one in the order of their last uses") func order() throws {
        let cache = PruneFixture()
        for (image, (tag, age)) in zip(Self.images, [("old", 5000), ("young", 3000)]) {
            try cache.put(image, as: tag, usedSecondsAgo: Int64(age))
        }
        try put(alone: [4000, 2000, 90_000, 10], in: cache)
        // This one is old, but was served a while ago.
        let served = digestOf(Self.alone[2])
        cache.use(served, secondsAgo: 1000)
        var leaving: [String] = []
        for round in 0..<6 {
            let report = try prune(cache, OrphanAge(usedBefore: cache.store.leaseBegin), goalBytes: 1) { _ in true }
            leaving += report.images.map { String($0.name.dropFirst("registry.test/team/app:".count)) }
            leaving += report.orphans.map { blob in "\(Self.alone.firstIndex { digestOf($0) == blob.digest } ?? -1)" }
            #expect(leaving.count == min(round + 1, 5), "no more than is wanted")
        }
        #expect(leaving == ["old", "0", "young", "1", "2"])
        #expect(try cache.has(Self.alone[3]), "it came a moment ago, so that its manifest may still come")
        #expect(try cache.store.blobs.count == 1)
    }

    @Test("a prune selects blobs without an image by last use or creation, within its limit, and so does a dry run")
    func selection() throws {
        let cache = PruneFixture()
        try put(alone: [5000, 4000, 3000, 2000], in: cache)
        try cache.put(Self.images[0], as: "v1", usedSecondsAgo: 4500)
        cache.use(digestOf(Self.alone[1]), secondsAgo: 700)
        let now = EventLoop.unixSeconds
        let dry = try prune(cache, OrphanAge(usedBefore: now - 1000), limit: 3, dryRun: true) { _ in true }
        #expect(dry.images.count == 1 && dry.orphans.map(\.digest) == [0, 2].map { digestOf(Self.alone[$0]) })
        #expect(try cache.store.blobs.count == 7)
        let wet = try prune(cache, OrphanAge(usedBefore: now - 1000), limit: 3) { _ in true }
        #expect(wet.orphans == dry.orphans && wet.images == dry.images && wet.blobCount == 5)
        #expect(wet.freedBytes == dry.freedBytes)
        // By creation, only what is not in use.
        let age = OrphanAge(createdBefore: now - 3500, usedBefore: now - 900)
        #expect(try prune(cache, age).blobCount == 0)
        let second = try prune(cache, OrphanAge(createdBefore: now - 3500))
        #expect(second.orphans.map(\.digest) == [digestOf(Self.alone[1])])
        #expect(try prune(cache).blobCount == 0, "without an age none is selected")
        #expect(try cache.has(Self.alone[3]))
    }

    @Test("uses of a blob without an image are recorded, survive a restart, and leave the file with the blob")
    func restart() throws {
        let cache = PruneFixture()
        let fixture = try cache.fixture.get()
        try put(alone: [90_000, 80_000], in: cache)
        let digests = Self.alone.map { digestOf($0) }
        let file = try #require(try fixture.find(digests[0]))
        for _ in 0..<100 { fixture.store.touch(file, digests[0]) }
        #expect(fixture.store.recordedAge(of: digests[0]).map { $0 < 60 } == true)
        #expect(fixture.store.recordedAge(of: digests[1]) == nil)
        for _ in 0..<2 {
            try fixture.reopen()
            try fixture.wait(until: { fixture.store.accessTimes.isLoaded && !fixture.store.accessTimes.isBusy })
            #expect(fixture.store.recordedAge(of: digests[0]).map { $0 < 60 } == true)
            fixture.store.rewriteAccessTimes()
            try fixture.wait(until: { !fixture.store.accessTimes.isBusy })
        }
        let used = try entries(cache)
        #expect(used[digests[0]].map { EventLoop.unixSeconds - $0.usedSeconds < 60 && $0.referenceCount == 0 } == true)
        #expect(used[digests[1]].map { EventLoop.unixSeconds - $0.usedSeconds > 79_000 } == true)
        let age = OrphanAge(usedBefore: fixture.store.leaseBegin)
        #expect(try prune(cache, age).orphans.map(\.digest) == [digests[1]])
        #expect(try prune(cache, OrphanAge()).orphans.map(\.digest) == [digests[0]])
        fixture.store.rewriteAccessTimes()
        try fixture.wait(until: { !fixture.store.accessTimes.isBusy })
        #expect(fixture.store.accessTimes.seconds.isEmpty)
        #expect(try String(contentsOfFile: fixture.store.layout.access, encoding: .utf8) == "")
    }

    @Test("uses of a blob that a cached manifest is known to name are not recorded until that manifest has left")
    func named() throws {
        let cache = PruneFixture()
        let fixture = try cache.fixture.get()
        let (one, two) = (FakeBuildCache(layerBytes: [3000]), FakeBuildCache(layerBytes: [3000, 4000]))
        try put(one, as: "one", in: cache)
        try put(two, as: "two", in: cache)
        let layer = digestOf(one.layers[0])
        func use() throws {
            let file = try #require(try fixture.find(layer))
            file.nextTouchMilliseconds = 0
            fixture.store.touch(file, layer)
        }
        try use()
        #expect(fixture.store.recordedAge(of: layer) != nil, "nothing is known about it yet")
        fixture.store.noteNamed([layer], by: digestOf([1]))
        #expect(fixture.store.recordedAge(of: layer) != nil, "there is no such manifest")
        fixture.store.noteNamed([layer], by: one.digest)
        #expect(fixture.store.recordedAge(of: layer) == nil)
        try use()
        #expect(fixture.store.recordedAge(of: layer) == nil)
        // The mark stays when the blob is opened anew.
        fixture.store.openFiles.remove(layer)
        try use()
        #expect(fixture.store.recordedAge(of: layer) == nil && fixture.store.blobs[layer]?.isNamed == true)
        _ = try prune(cache) { $0.name.hasSuffix(":one") }
        try use()
        #expect(fixture.store.recordedAge(of: layer) == nil, "the other build cache names it")
        _ = try prune(cache) { _ in true }
        try fixture.put(one.layers[0])
        try use()
        #expect(fixture.store.recordedAge(of: layer) != nil, "it came without a manifest")
    }

    @Test(
        "a blob without an image that is served, or named by a new manifest, during a prune stays",
        arguments: [false, true])
    func usedMeanwhile(_ isForced: Bool) throws {
        let cache = PruneFixture()
        let fixture = try cache.fixture.get()
        try put(alone: [5000, 5000, 5000], in: cache)
        let digests = Self.alone.map { digestOf($0) }
        let file = try #require(try fixture.find(digests[0]))
        // Its use was recorded a moment ago, and is not recorded again.
        file.nextTouchMilliseconds = .max
        let report = try prune(cache, OrphanAge(), isForced: isForced) { _ in
            false
        } meanwhile: { store in
            store.touch(file, digests[0])
            store.putManifest([0x7B, 0x7D], digest: digestOf([0x7B, 0x7D]), mediaType: .ociIndex, blobs: [digests[1]])
        }
        #expect(report.orphans.map(\.digest) == [digests[2]] && report.blobCount == 1)
        #expect(try cache.has(Self.alone[0]) && cache.has(Self.alone[1]) && !cache.has(Self.alone[2]))
    }

    @Test("a blob without an image that cannot be removed stays counted and is not reported as removed")
    func cannotBeRemoved() throws {
        let cache = PruneFixture()
        let fixture = try cache.fixture.get()
        try put(alone: [5000, 4000], in: cache)
        let stuck = digestOf(Self.alone[1])
        let layout = fixture.store.layout
        try cache.put(Self.images[0], as: "v1")
        let report = try prune(cache, OrphanAge()) { _ in
            // Between the scan and the removal: what is not empty cannot be unlinked, not even by root.
            unlink(layout.blob(stuck))
            mkdir(layout.blob(stuck), 0o755)
            mkdir(layout.blob(stuck) + "/inside", 0o755)
            return false
        }
        #expect(report.orphans.map(\.digest) == [digestOf(Self.alone[0])] && report.blobCount == 1)
        #expect(report.freedBytes == Int64(Self.alone[0].count))
        #expect(fixture.store.blobs[stuck] != nil && fixture.store.pendingRemoval.isEmpty)
        #expect(fixture.log.text.contains("1 blobs cannot be removed"))
    }
}

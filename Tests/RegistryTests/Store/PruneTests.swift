// Removing images: what goes, what stays, and what becomes of those who ask for it meanwhile.

import Foundation
import TestSupport
import Testing

@testable import Configuration
@testable import OCI
@testable import Registry

/// A store with images in it, whose uses are as old as a test says.
private struct Shelf {
    let fixture = Result { try StoreFixture() }
    static let host = RegistryHost("registry.test")!  // a valid host

    var store: Store { get throws { try fixture.get().store } }

    static func repository(_ name: String) -> RepositoryName { RepositoryName(name)! }  // literals of these tests

    /// Puts an image with its blobs under a name; an index above it if `index` is its tag.
    func put(
        _ image: FakeImage, as reference: String, in repository: String = "team/app", usedSecondsAgo: Int64 = 3600
    ) throws {
        let fixture = try fixture.get()
        for blob in image.blobs { try fixture.put(blob) }
        try put(image.manifest, .ociManifest, as: reference, in: repository, usedSecondsAgo: usedSecondsAgo)
    }

    func put(
        _ manifest: [UInt8], _ type: MediaType, as reference: String, in repository: String = "team/app",
        usedSecondsAgo: Int64 = 3600
    ) throws {
        let fixture = try fixture.get()
        let digest = digestOf(manifest)
        let _: Result<CachedManifest, StoreError> = try fixture.wait {
            fixture.store.putManifest(manifest, digest: digest, mediaType: type, then: $0)
        }
        let name = Self.repository(repository)
        let error: StoreError? = try fixture.wait { done in
            switch Reference(reference) {
            case .tag(let tag):
                fixture.store.setTag(host: Self.host, repository: name, tag: tag, digest: digest, then: done)
            default: fixture.store.noteDigest(host: Self.host, repository: name, digest: digest, then: done)
            }
        }
        #expect(error == nil)
        use(digest, secondsAgo: usedSecondsAgo)
    }

    func use(_ digest: Digest, secondsAgo: Int64) {
        (try? store)?.accessTimes.touch(digest, at: EventLoop.unixSeconds - secondsAgo)
    }

    func names() throws -> [String] {
        let fixture = try fixture.get()
        let images: Result<[CachedImage], any Error> = try fixture.wait {
            fixture.store.images(making: { $0 }, then: $0)
        }
        return try images.get().map { String($0.name.dropFirst("registry.test/".count).prefix(24)) }
    }

    @discardableResult
    func prune(
        limit: Int? = nil, dryRun: Bool = false, ignoringLease: Bool = false,
        _ selecting: @escaping @Sendable (CachedImage) throws -> Bool = { _ in true }
    ) throws -> PruneReport {
        let fixture = try fixture.get()
        let result: Result<PruneReport, any Error> = try fixture.wait { done in
            fixture.store.prune(
                selecting: selecting, limit: limit, dryRun: dryRun, ignoringLease: ignoringLease,
                reporting: { $0 }, then: done)
        }
        return try result.get()
    }

    func has(_ blob: [UInt8]) throws -> Bool {
        let fixture = try fixture.get()
        let file: OpenFile? = try fixture.wait { fixture.store.findBlob(digestOf(blob), then: $0) }
        return file != nil
    }

    /// Every manifest that can be found has all its blobs.
    func expectWhole(_ images: [FakeImage], _ location: SourceLocation = #_sourceLocation) throws {
        let fixture = try fixture.get()
        for image in images where try fixture.findManifest(image.digest) != nil {
            for blob in image.blobs { #expect(try has(blob), sourceLocation: location) }
        }
    }
}

@Suite struct PruneTests {
    private static let images = (1...4).map { FakeImage(layerBytes: [1000, 2000], seed: UInt64($0)) }

    @Test("a prune removes the selected images with their blobs, and keeps shared content") func selection() throws {
        let shelf = Shelf()
        let (one, two) = (Self.images[0], Self.images[1])
        try shelf.put(one, as: "v1")
        try shelf.put(one, as: "same", in: "other/name")
        try shelf.put(two, as: "v2")
        #expect(try shelf.names() == ["other/name:same", "team/app:v1", "team/app:v2"])
        let first = try shelf.prune { $0.name.hasSuffix(":v1") }
        #expect(first.images.map(\.name) == ["registry.test/team/app:v1"])
        #expect(first.blobCount == 0 && first.freedBytes == 0, "the manifest has another name")
        #expect(try shelf.has(one.blobs[1]))
        let second = try shelf.prune { $0.name.hasSuffix(":same") }
        #expect(second.blobCount == 3)
        #expect(second.freedBytes == Int64(one.manifest.count + one.blobs.map(\.count).reduce(0, +)))
        for blob in one.blobs { #expect(try !shelf.has(blob)) }
        #expect(try shelf.names() == ["team/app:v2"])
        try shelf.expectWhole(Self.images)
        let fixture = try shelf.fixture.get()
        try fixture.reopen()
        #expect(try shelf.names() == ["team/app:v2"], "the disk says the same")
        #expect(try shelf.store.blobs.count == 3 && shelf.store.manifests.count == 1)
    }

    @Test("a dry run reports the same as a prune and removes nothing") func dryRun() throws {
        let shelf = Shelf()
        for (number, image) in Self.images.enumerated() { try shelf.put(image, as: "v\(number)") }
        let dry = try shelf.prune(limit: 3, dryRun: true)
        #expect(dry.isDryRun && dry.images.count == 3 && dry.blobCount == 9)
        #expect(try shelf.names().count == 4)
        let wet = try shelf.prune(limit: 3)
        #expect(wet.images == dry.images && wet.blobCount == 9 && wet.freedBytes == dry.freedBytes)
        #expect(try shelf.names().count == 1)
    }

    @Test("the longest unused images are pruned first, and leased images stay") func order() throws {
        let shelf = Shelf()
        for (number, image) in Self.images.enumerated() {
            try shelf.put(image, as: "v\(number)", usedSecondsAgo: [5000, 10, 9000, 599][number])
        }
        let report = try shelf.prune(limit: 1)
        #expect(report.images.map(\.reference) == [.tag("v2")])
        let rest = try shelf.prune()
        #expect(rest.images.map(\.reference) == [.tag("v0")])
        #expect(Set(rest.skipped.map(\.reference)) == [.tag("v1"), .tag("v3")])
        #expect(try shelf.prune(ignoringLease: true).images.count == 2)
        #expect(try shelf.names().isEmpty)
        #expect(try shelf.store.blobs.totalBytes == 0 && shelf.store.manifests.totalBytes == 0)
    }

    @Test("an index keeps its platform images, which are pruned with it") func index() throws {
        let shelf = Shelf()
        let (one, two) = (Self.images[0], Self.images[1])
        try shelf.put(one, as: "\(one.digest)")
        for blob in two.blobs { try shelf.fixture.get().put(blob) }
        let store = try shelf.store
        let _: Result<CachedManifest, StoreError> = try shelf.fixture.get().wait {
            store.putManifest(two.manifest, digest: two.digest, mediaType: .ociManifest, then: $0)
        }
        shelf.use(two.digest, secondsAgo: 3600)
        try shelf.put(FakeImage.index([one, two]), .ociIndex, as: "multi")
        #expect(try shelf.names().count == 3, "one has no name of its own and is given the index's")
        let kept = try shelf.prune { !$0.mediaType.isIndex }
        #expect(kept.images.map(\.digest) == [one.digest], "its own name goes; the index still lists it")
        #expect(kept.skipped.map(\.digest) == [two.digest] && kept.blobCount == 0)
        try shelf.expectWhole([one, two])
        let gone = try shelf.prune()
        #expect(gone.images.count == 3 && gone.blobCount == 6)
        #expect(try shelf.store.manifests.count == 0 && shelf.store.blobs.count == 0)
    }

    @Test("a selection that throws removes nothing, and the next prune runs") func failingSelection() throws {
        struct Refused: Error {}
        let shelf = Shelf()
        try shelf.put(Self.images[0], as: "v1")
        #expect(throws: Refused.self) { try shelf.prune { _ in throw Refused() } }
        #expect(try shelf.names() == ["team/app:v1"])
        #expect(try shelf.prune().images.count == 1, "the next is not held up")
    }

    /// What happens between the look and the removal: the name is pointed elsewhere, the manifest is served, or one
    /// that needs the same blobs is stored.
    @Test("content that is used or stored while a prune runs stays") func usedMeanwhile() throws {
        let shelf = Shelf()
        let fixture = try shelf.fixture.get()
        for (number, image) in Self.images.enumerated() { try shelf.put(image, as: "v\(number)") }
        let cousin = FakeImage.index([])
        let result: Result<PruneReport, any Error> = try fixture.wait { done in
            fixture.store.prune(selecting: { _ in true }, ignoringLease: true, reporting: { $0 }, then: done)
            // The look is under way in the pool; this is the loop.
            fixture.store.setTag(
                host: Shelf.host, repository: Shelf.repository("team/app"), tag: "v0", digest: digestOf(cousin))
            if let served = fixture.store.cachedManifest(Self.images[1].digest) {
                fixture.store.touch(served)
            }
            fixture.store.putManifest(
                cousin, digest: digestOf(cousin), mediaType: .ociIndex, blobs: [digestOf(Self.images[2].blobs[0])])
        }
        let report = try result.get()
        #expect(Set(report.skipped.map(\.reference)).isSuperset(of: [.tag("v1")]))
        #expect(!report.images.map(\.reference).contains(.tag("v0")))
        #expect(try shelf.has(Self.images[2].blobs[0]), "the new manifest may use it")
        #expect(try !shelf.has(Self.images[2].blobs[1]))
        try shelf.expectWhole([Self.images[1]])
        #expect(fixture.store.tag(host: Shelf.host, repository: Shelf.repository("team/app"), tag: "v0") != nil)
    }

    /// A client is about to be given it.
    @Test("a manifest that is being read from the disk is not pruned") func loadingManifest() throws {
        let shelf = Shelf()
        for (number, image) in Self.images.enumerated() { try shelf.put(image, as: "v\(number)") }
        let store = try shelf.store
        store.loading[Self.images[2].digest] = []
        let report = try shelf.prune()
        store.loading[Self.images[2].digest] = nil
        #expect(report.skipped.map(\.reference) == [.tag("v2")] && report.images.count == 3)
        #expect(try shelf.has(Self.images[2].blobs[1]))
        try shelf.expectWhole(Self.images)
    }

    /// A look at the disk cannot see it yet; memory serves it already.
    @Test("the blobs of a manifest that is being written are not pruned") func writingManifest() throws {
        let shelf = Shelf()
        let image = Self.images[0]
        try shelf.put(image, as: "v1")
        let fixture = try shelf.fixture.get()
        let cousin = FakeImage.index([])
        let result: Result<PruneReport, any Error> = try fixture.wait { done in
            // The write waits for its turn, and the look begins meanwhile.
            fixture.store.putManifest(
                cousin, digest: digestOf(cousin), mediaType: .ociIndex, blobs: [digestOf(image.blobs[0])])
            fixture.store.prune(selecting: { _ in true }, ignoringLease: true, reporting: { $0 }, then: done)
        }
        #expect(try result.get().images.count == 1)
        #expect(try shelf.has(image.blobs[0]) && !shelf.has(image.blobs[1]))
    }

    /// Readers hold the file.
    @Test("a pruned blob stays readable for its open readers") func openBlob() throws {
        let shelf = Shelf()
        let image = Self.images[0]
        try shelf.put(image, as: "v1")
        let fixture = try shelf.fixture.get()
        let held: OpenFile? = try fixture.wait { fixture.store.findBlob(digestOf(image.blobs[1]), then: $0) }
        try shelf.prune()
        #expect(try !shelf.has(image.blobs[1]))
        let bytes = try Disk.read(try #require(held).descriptor, count: image.blobs[1].count)
        #expect(bytes == image.blobs[1])
    }

    @Test("access times survive a restart, and invalid lines are skipped") func accessTimes() throws {
        let shelf = Shelf()
        let fixture = try shelf.fixture.get()
        try shelf.put(Self.images[0], as: "v1", usedSecondsAgo: 5000)
        try shelf.put(Self.images[1], as: "v2", usedSecondsAgo: 50)
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
        let shelf = Shelf()
        let fixture = try shelf.fixture.get()
        let digest = digestOf([1])
        let lines = (0..<3000).map { "\($0) \(digest)\n" }.joined()
        try lines.write(toFile: fixture.store.layout.access, atomically: true, encoding: .utf8)
        try fixture.reopen()
        try fixture.wait(until: { !fixture.store.accessTimes.seconds.isEmpty })
        #expect(fixture.store.accessTimes.seconds == [digest: 2999])
        #expect(try String(contentsOfFile: fixture.store.layout.access, encoding: .utf8) == "2999 \(digest)\n")
    }
}

extension Disk {
    /// The first bytes of a file.
    fileprivate static func read(_ descriptor: Int32, count: Int) throws -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: count)
        let read = try bytes.withUnsafeMutableBytes { try Disk.read(descriptor, into: $0, at: 0, "test") }
        return Array(bytes[..<read])
    }
}

@Suite struct BackgroundPruningTests {
    @Test("scheduled pruning removes old images within its limit, and keeps pinned ones") func schedule() throws {
        let shelf = Shelf()
        let images = (1...4).map { FakeImage(layerBytes: [1000], seed: UInt64($0)) }
        for (number, image) in images.enumerated() {
            let days = [10, 5, 1, 20][number]
            try shelf.put(image, as: "v\(number)", usedSecondsAgo: Int64(days) * 86_400)
        }
        var schedule = PruneSchedule()
        schedule.durationSeconds = 3 * 86_400
        schedule.isDryRun = true
        let fixture = try shelf.fixture.get()
        /// The tags that the log says went.
        func run() throws -> [String] {
            let pruning = BackgroundPruning(fixture.store, schedule) { $0.name.hasSuffix(":v3") }
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
        #expect(try shelf.names() == ["team/app:v2", "team/app:v3"])
        schedule.kind = .created
        schedule.durationSeconds = -10
        #expect(try run() == ["v2"], "all of them came just now")
    }
}

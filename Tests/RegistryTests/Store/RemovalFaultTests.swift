// Files that cannot be removed, and content that cannot be made durable: what happened is logged, what is still there
// stays known and counted, and the rest is removed. A directory in a file's place is what no user, not even root, can
// unlink.

import Foundation
import Glibc
import TestSupport
import Testing

@testable import OCI
@testable import Registry

@Suite struct RemovalFaultTests {
    private static let images = (11...14).map { FakeImage(layerBytes: [1000, 2000], seed: UInt64($0)) }
    private static let host = RegistryHost("registry.test")!  // a valid host
    private static let repository = RepositoryName("team/app")!  // a valid name

    private func shelf() throws -> StoreFixture {
        let fixture = try StoreFixture()
        for (number, image) in Self.images.enumerated() {
            for blob in image.blobs { try fixture.put(blob) }
            let _: Result<CachedManifest, StoreError> = try fixture.wait {
                fixture.store.putManifest(image.manifest, digest: image.digest, mediaType: .ociManifest, then: $0)
            }
            let error: StoreError? = try fixture.wait {
                fixture.store.setTag(
                    host: Self.host, repository: Self.repository, tag: "v\(number)", digest: image.digest, then: $0)
            }
            #expect(error == nil)
        }
        return fixture
    }

    private static func obstruct(_ path: String) {
        unlink(path)
        mkdir(path, 0o755)
        // Not empty, so that nothing that removes empty directories helps.
        mkdir("\(path)/inside", 0o755)
    }

    /// Prunes all; what `prepare` does happens between the look and the removal.
    private func prune(_ fixture: StoreFixture, _ prepare: @escaping @Sendable (Layout) -> Void) throws -> PruneReport {
        let layout = fixture.store.layout
        let result: Result<PruneReport, any Error> = try fixture.wait { done in
            fixture.store.prune(
                selecting: { image in
                    if image.reference == .tag("v0") { prepare(layout) }
                    return true
                }, ignoringLease: true, reporting: { $0 }, then: done)
        }
        return try result.get()
    }

    @Test("a tag that cannot be removed stays, and all others are removed") func name() throws {
        let fixture = try shelf()
        let report = try prune(fixture) { layout in
            Self.obstruct(layout.nameFile(Self.host, Self.repository, .tag("v1")))
        }
        #expect(Set(report.images.map(\.reference)) == [.tag("v0"), .tag("v2"), .tag("v3")])
        #expect(report.skipped.map(\.reference) == [.tag("v1")])
        #expect(fixture.store.tag(host: Self.host, repository: Self.repository, tag: "v1") != nil)
        #expect(fixture.store.tag(host: Self.host, repository: Self.repository, tag: "v2") == nil)
        #expect(fixture.store.manifests.count == 0 && fixture.store.blobs.count == 0)
        #expect(fixture.log.text.contains("prune: 1 files cannot be removed"))
    }

    @Test("a manifest that cannot be removed keeps its blobs, and both stay counted") func manifest() throws {
        let fixture = try shelf()
        let image = Self.images[2]
        let before = fixture.store.usedBytes
        let report = try prune(fixture) { Self.obstruct($0.manifest(image.digest, .ociManifest)) }
        #expect(report.images.count == 4 && report.blobCount == 9)
        let imageBytes = Int64(image.manifest.count + image.blobs.map(\.count).reduce(0, +))
        #expect(fixture.store.usedBytes == imageBytes && report.freedBytes == before - imageBytes)
        #expect(fixture.store.manifests[image.digest] != nil && fixture.store.manifests.count == 1)
        for blob in image.blobs { #expect(try fixture.find(digestOf(blob)) != nil) }
        #expect(fixture.store.pendingRemoval.isEmpty)
    }

    @Test("a blob that cannot be removed stays counted, and the other blobs are removed") func blob() throws {
        let fixture = try shelf()
        let stuck = Self.images[1].blobs[1]
        let before = fixture.store.usedBytes
        let report = try prune(fixture) { Self.obstruct($0.blob(digestOf(stuck))) }
        #expect(report.images.count == 4 && report.blobCount == 11)
        #expect(fixture.store.blobs.count == 1 && fixture.store.usedBytes == Int64(stuck.count))
        #expect(report.freedBytes == before - Int64(stuck.count))
        #expect(fixture.log.text.contains("1 blobs cannot be removed"))
        #expect(fixture.store.pendingRemoval.isEmpty)
    }

    @Test("partial files that cannot be removed stay counted, and the others make room") func partials() throws {
        let fixture = try StoreFixture()
        let keys = try (0..<3).map { try fixture.key(digestOf([UInt8($0)]), "a/b\($0)") }
        for (number, key) in keys.enumerated() {
            let ingest = try fixture.begin(key)
            try fixture.append(pattern(1000 * (number + 1)), to: ingest)
            ingest.suspend()
        }
        try fixture.wait(until: { fixture.store.writing.isEmpty })
        #expect(fixture.store.partials.totalBytes == 6000 && fixture.store.partials.abandonedCount == 3)
        Self.obstruct(fixture.store.layout.partialFile(keys[1]))
        let freed: Int64 = try fixture.wait { fixture.store.removePartials(6000, then: $0) }
        #expect(freed == 4000)
        #expect(fixture.store.partials.totalBytes == 2000 && fixture.store.partials.abandonedCount == 1)
        #expect(fixture.log.text.contains("1 partial files cannot be removed"))
        #expect(fixture.store.partialsLeaving.isEmpty)
    }

    /// /dev/null takes every write and refuses to be flushed.
    @Test("a blob whose flush fails is not kept, and takes no room", arguments: [false, true])
    func failedFlush(isStuck: Bool) throws {
        let fixture = try StoreFixture()
        let bytes = pattern(300_000)
        let key = try fixture.key(digestOf(bytes))
        fixture.store.writing[key] = []
        let path = fixture.store.layout.partialFile(key)
        if isStuck { Self.obstruct(path) } else { try Data(bytes).write(to: URL(filePath: path)) }
        let descriptor = try Disk.open("/dev/null", O_RDWR)
        let ingest = fixture.store.makeIngest(
            key, try OpenedPartial(descriptor: descriptor, path: path), path: path)
        try fixture.append(bytes, to: ingest)
        #expect(try fixture.wait { ingest.verify(then: $0) }.get())
        let committed: Result<OpenFile, StoreError> = try fixture.wait { ingest.commit(then: $0) }
        #expect(committed.failure?.description.contains("fsync") == true)
        // What could not be removed is still there, and counts.
        #expect(fixture.store.usedBytes == (isStuck ? 300_000 : 0))
        #expect(fixture.exists(path) == isStuck)
        #expect(fixture.store.blobs.count == 0 && fixture.store.writing.isEmpty && fixture.store.reservedBytes == 0)
    }

    @Test("a blob that cannot be renamed keeps its partial file, which stays counted") func noName() throws {
        let fixture = try StoreFixture()
        let bytes = pattern(5000)
        let ingest = try fixture.begin(try fixture.key(digestOf(bytes)))
        try fixture.append(bytes, to: ingest)
        #expect(try fixture.wait { ingest.verify(then: $0) }.get())
        let shard = fixture.store.layout.blobDirectory(digestOf(bytes))
        try Disk.makeDirectories(shard, .none)
        Self.obstruct(fixture.store.layout.blob(digestOf(bytes)))
        let committed: Result<OpenFile, StoreError> = try fixture.wait { ingest.commit(then: $0) }
        #expect(committed.failure?.description.contains("rename") == true)
        #expect(fixture.store.usedBytes == 5000 && fixture.store.partials.abandonedCount == 1)
        rmdir("\(fixture.store.layout.blob(digestOf(bytes)))/inside")
        rmdir(fixture.store.layout.blob(digestOf(bytes)))
        #expect(try fixture.begin(try fixture.key(digestOf(bytes))).offsetBytes == 5000, "and the next pull has it")
    }

    @Test("a fresh ingest that cannot remove the old partial file counts it") func restart() throws {
        let fixture = try StoreFixture()
        let bytes = pattern(5000)
        let ingest = try fixture.begin(try fixture.key(digestOf(bytes)))
        try fixture.append(bytes, to: ingest)
        try fixture.wait(until: { ingest.writtenBytes == 5000 })
        Self.obstruct(ingest.writer.path)
        let fresh: Result<Ingest, StoreError> = try fixture.wait { ingest.restart(then: $0) }
        #expect(fresh.failure != nil && fixture.store.writing.isEmpty)
        #expect(fixture.store.partials.totalBytes > 0)
    }

    @Test("a dropped ingest frees its memory") func dropped() throws {
        let fixture = try StoreFixture()
        var ingest: Ingest? = try fixture.begin(try fixture.key(digestOf([1])))
        for _ in 0..<3 { _ = pattern(400_000).withUnsafeBytes { ingest?.append($0) } }
        #expect(fixture.store.backlog.heldBytes > 1_000_000)
        ingest = nil
        try fixture.wait(until: { fixture.offload.inFlight == 0 })
        #expect(fixture.store.backlog.heldBytes == 0)
    }
}

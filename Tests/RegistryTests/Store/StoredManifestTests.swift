// Manifests in memory, on disk, and on the way between.

import Foundation
import TestSupport
import Testing

@testable import OCI
@testable import Registry

@Suite struct StoredManifestTests {
    private func put(_ fixture: StoreFixture, _ body: [UInt8], _ type: MediaType = .ociManifest) throws -> Digest {
        _ = try fixture.wait { (done: @escaping (Result<CachedManifest, StoreError>) -> Void) in
            fixture.store.putManifest(body, digest: digestOf(body), mediaType: type, then: done)
        }.get()
        return digestOf(body)
    }

    /// Stores a manifest, restarts, and then replaces the bytes of its file.
    private func putDamaged(
        _ fixture: StoreFixture, _ body: [UInt8], onDisk: [UInt8]
    ) throws -> (digest: Digest, path: String) {
        let digest = try put(fixture, body)
        try fixture.reopen()
        let path = fixture.store.layout.manifest(digest, .ociManifest)
        try Data(onDisk).write(to: URL(fileURLWithPath: path))
        return (digest, path)
    }

    @Test(
        "a stored manifest is found at once and after a restart, with its response fields",
        arguments: MediaType.allCases)
    func manifest(type: MediaType) throws {
        let fixture = try StoreFixture()
        let body = Array("{\"schemaVersion\":2}".utf8)
        let manifest = fixture.store.putManifest(body, digest: digestOf(body), mediaType: type)
        #expect(fixture.store.cachedManifest(digestOf(body)) === manifest)
        let fields = ResponseFields.entity(
            contentType: type.text, digest: digestOf(body), sizeBytes: Int64(body.count), range: nil)
        #expect(Array(manifest.wire) == fields + body)
        #expect(manifest.fieldsCount == fields.count && manifest.sizeBytes == body.count)
        #expect(Array(manifest.fields) == fields && Array(manifest.body) == body)
        try fixture.reopen()
        #expect(fixture.store.cachedManifest(digestOf(body)) == nil)
        let found = try #require(try fixture.findManifest(digestOf(body)))
        #expect(Array(found.wire) == fields + body && found.mediaType == type)
        #expect(fixture.store.cachedManifest(digestOf(body)) === found)
    }

    @Test("a manifest that is stored before its absence has been reported is found") func storedMeanwhile() throws {
        let fixture = try StoreFixture()
        let body = Array("{}".utf8)
        var found: CachedManifest?
        var isAnswered = false
        fixture.store.findManifest(digestOf(body)) {
            found = $0
            isAnswered = true
        }
        let stored = fixture.store.putManifest(body, digest: digestOf(body), mediaType: .ociManifest)
        try fixture.wait(until: { isAnswered })
        #expect(found === stored)
    }

    @Test("before the recovery a manifest is looked up on the disk") func beforeRecovery() throws {
        let fixture = try StoreFixture()
        let digest = try put(fixture, Array("{}".utf8), .dockerManifest)
        try fixture.reopen(isRecovered: false)
        #expect(try fixture.findManifest(digest)?.mediaType == .dockerManifest)
        #expect(try fixture.findManifest(digestOf([9])) == nil)
    }

    @Test("manifests in memory stay within the budget, and evicted ones are read again") func budget() throws {
        var limits = StoreLimits()
        limits.manifestMemoryBytes = 100_000
        let fixture = try StoreFixture(limits: limits)
        let bodies = (0..<40).map { pattern(10_000, seed: UInt64($0 + 1)) }
        let hot = try put(fixture, bodies[0])
        for body in bodies.dropFirst() {
            _ = try put(fixture, body)
            #expect(fixture.store.manifestCache.weight <= limits.manifestMemoryBytes)
            #expect(fixture.store.cachedManifest(hot) != nil, "what is in use stays")
        }
        #expect(fixture.store.cachedManifest(digestOf(bodies[1])) == nil)
        for body in bodies { #expect(try fixture.findManifest(digestOf(body))?.body.elementsEqual(body) == true) }
        #expect(fixture.store.manifestCache.weight <= limits.manifestMemoryBytes)
    }

    @Test("a manifest that is not written yet is not evicted from memory") func unwritten() throws {
        var limits = StoreLimits()
        limits.manifestMemoryBytes = 20_000
        let fixture = try StoreFixture(limits: limits)
        let bodies = (0..<10).map { pattern(10_000, seed: UInt64($0 + 1)) }
        var written = 0
        for body in bodies {
            fixture.store.putManifest(body, digest: digestOf(body), mediaType: .ociIndex) { _ in written += 1 }
        }
        for body in bodies { #expect(fixture.store.cachedManifest(digestOf(body)) != nil) }
        try fixture.wait(until: { written == bodies.count })
        #expect(fixture.store.manifestCache.weight <= limits.manifestMemoryBytes)
    }

    @Test("concurrent loads of one digest share one read") func coalescedLoads() throws {
        let fixture = try StoreFixture()
        let digest = try put(fixture, pattern(20_000))
        try fixture.reopen()
        var found: [CachedManifest?] = []
        for _ in 0..<5 { fixture.store.findManifest(digest) { found.append($0) } }
        #expect(fixture.offload.inFlight == 1)
        try fixture.wait(until: { found.count == 5 })
        #expect(found.allSatisfy { $0 != nil && $0 === found[0] })
    }

    /// The file has just been written, so the kernel has all of it.
    @Test("a small manifest in the page cache is read on the loop", arguments: [1, 1000, 16 * 1024])
    func readOnLoop(_ sizeBytes: Int) throws {
        let fixture = try StoreFixture()
        let body = pattern(sizeBytes)
        let digest = try put(fixture, body)
        try fixture.reopen()
        #expect(fixture.store.cachedManifest(digest) == nil)
        let found = fixture.store.manifestAtOnce(digest)
        #expect(fixture.offload.inFlight == 0 && found?.body.elementsEqual(body) == true)
        #expect(fixture.store.cachedManifest(digest) === found)
    }

    /// Longer or shorter than the index says: the pool looks at it, and sets it aside.
    @Test("a manifest of another length than indexed is not served", arguments: [999, 1001])
    func wrongLength(_ sizeBytes: Int) throws {
        let fixture = try StoreFixture()
        let (digest, path) = try putDamaged(fixture, pattern(1000), onDisk: Array((pattern(1000) + [0])[..<sizeBytes]))
        #expect(try fixture.findManifest(digest) == nil)
        try fixture.wait(until: { !fixture.exists(path) })
    }

    @Test("a manifest with a wrong digest is quarantined, and can be stored again") func wrongDigest() throws {
        let fixture = try StoreFixture()
        let body = pattern(1000)
        let (digest, path) = try putDamaged(fixture, body, onDisk: pattern(1000, seed: 2))
        #expect(try fixture.findManifest(digest) == nil)
        try fixture.wait(until: { !fixture.exists(path) })
        #expect(try fixture.quarantined() == ["\(digest.hex).hash-mismatch"])
        _ = try put(fixture, body)
        #expect(try fixture.findManifest(digest)?.body.elementsEqual(body) == true)
        try fixture.reopen()
        #expect(try fixture.findManifest(digest)?.body.elementsEqual(body) == true)
    }

    @Test("a manifest stored again while its damage is found is not quarantined") func overwritten() throws {
        let fixture = try StoreFixture()
        let body = pattern(1000)
        let digest = try putDamaged(fixture, body, onDisk: pattern(1000, seed: 2)).digest
        // The load finds the damage; the put is queued before the quarantine, whatever the pool's order.
        var found: CachedManifest??
        fixture.store.findManifest(digest) { found = .some($0) }
        fixture.store.putManifest(body, digest: digest, mediaType: .ociManifest)
        try fixture.wait(until: { found != nil })
        try fixture.reopen()
        #expect(try fixture.findManifest(digest)?.body.elementsEqual(body) == true)
        #expect(try fixture.quarantined().isEmpty)
    }

    @Test("a manifest stored with another media type replaces the old file") func changedType() throws {
        let fixture = try StoreFixture()
        let body = Array("{\"schemaVersion\":2}".utf8)
        let digest = try put(fixture, body, .ociManifest)
        _ = try put(fixture, body, .dockerManifest)
        #expect(!fixture.exists(fixture.store.layout.manifest(digest, .ociManifest)))
        try fixture.reopen()
        #expect(try fixture.findManifest(digest)?.mediaType == .dockerManifest)
    }

    @Test("many concurrent writes are all stored") func manyWrites() throws {
        let fixture = try StoreFixture()
        let bodies = (0..<300).map { pattern(200, seed: UInt64($0 + 1)) }
        var written = 0
        for body in bodies {
            fixture.store.putManifest(body, digest: digestOf(body), mediaType: .ociManifest) {
                if case .success = $0 { written += 1 }
            }
        }
        try fixture.wait(until: { written == bodies.count })
        #expect(try fixture.names(fixture.store.layout.temporary).isEmpty)
        try fixture.reopen(isRecovered: false)
        #expect(try fixture.recover().manifestCount == bodies.count)
    }
}

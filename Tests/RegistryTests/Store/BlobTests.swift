// Finding finished blobs, and what is found in their place.

import Foundation
import Glibc
import TestSupport
import Testing

@testable import OCI
@testable import Registry

@Suite struct BlobTests {
    /// What takes long to close is closed in the pool.
    @Test("a large file is closed in the thread pool") func largeFile() throws {
        let fixture = try StoreFixture()
        let descriptor = try Disk.open("/dev/null", O_RDONLY)
        var file: OpenFile? = OpenFile(
            descriptor: descriptor, sizeBytes: OpenFile.largeBytes, device: 0, closingIn: fixture.offload)
        withExtendedLifetime(file) {}
        let before = fixture.offload.inFlight
        file = nil
        #expect(fixture.offload.inFlight == before + 1)
        try fixture.wait(until: { fcntl(descriptor, F_GETFD) == -1 })
    }

    @Test("after the recovery an absent blob is known without looking at the disk") func absentBlob() throws {
        let fixture = try StoreFixture(isRecovered: false)
        let digest = digestOf([7])
        #expect(fixture.store.blobSize(digest) == .unknown)
        #expect(try fixture.find(digest) == nil)
        try fixture.recover()
        #expect(fixture.store.blobSize(digest) == .absent)
        var answers = 0
        fixture.store.findBlob(digest) { file in answers += file == nil ? 1 : 0 }
        #expect(answers == 0 && fixture.offload.inFlight == 0, "answered after the call, without the disk")
        try fixture.wait(until: { answers == 1 })
    }

    @Test("a blob that is stored before its absence has been reported is found") func storedMeanwhile() throws {
        let fixture = try StoreFixture()
        let digest = try fixture.put(pattern(10))
        let file = try #require(try fixture.find(digest))
        fixture.store.blobs.remove(digest)
        fixture.store.openFiles.remove(digest)
        var found: OpenFile?
        var isAnswered = false
        fixture.store.findBlob(digest) {
            found = $0
            isAnswered = true
        }
        fixture.store.addBlob(digest, file)
        try fixture.wait(until: { isAnswered })
        #expect(found === file)
    }

    @Test("before the recovery a blob is looked up on the disk") func beforeRecovery() throws {
        let fixture = try StoreFixture()
        let digest = try fixture.put(pattern(5000))
        try fixture.reopen(isRecovered: false)
        #expect(fixture.store.cachedBlob(digest) == nil)
        #expect(try fixture.content(try #require(try fixture.find(digest))) == pattern(5000))
        #expect(fixture.store.blobSize(digest) == .present(5000))
    }

    @Test("concurrent opens of one digest share one open") func coalescedOpens() throws {
        let fixture = try StoreFixture()
        let digest = try fixture.put(pattern(10))
        try fixture.reopen(isRecovered: false)
        var files: [OpenFile?] = []
        let before = fixture.offload.inFlight
        for _ in 0..<5 { fixture.store.findBlob(digest) { files.append($0) } }
        #expect(fixture.offload.inFlight == before + 1)
        try fixture.wait(until: { files.count == 5 })
        #expect(files.allSatisfy { $0 != nil && $0 === files[0] })
    }

    /// The file has just been written and looked at, so the kernel has its name in memory.
    @Test("a known blob whose path the kernel has cached is opened on the loop") func openOnLoop() throws {
        let fixture = try StoreFixture()
        let digest = try fixture.put(pattern(5000))
        try fixture.reopen()
        #expect(fixture.store.cachedBlob(digest) == nil)
        let file = fixture.store.blobAtOnce(digest)
        #expect(file != nil && fixture.offload.inFlight == 0)
        #expect(try fixture.content(try #require(file)) == pattern(5000))
        #expect(fixture.store.cachedBlob(digest) === file)
    }

    @Test("the number of open files stays within its limit") func openFileLimit() throws {
        var limits = StoreLimits()
        limits.openFiles = 4
        let fixture = try StoreFixture(limits: limits)
        let digests = try (0..<20).map { try fixture.put(pattern(100, seed: UInt64($0 + 1))) }
        #expect(fixture.store.openFiles.count == 4)
        for digest in digests { #expect(try fixture.find(digest) != nil) }
        #expect(fixture.store.openFiles.count == 4)
    }

    @Test("a blob of another size than indexed is quarantined, and can be stored again") func wrongSize() throws {
        let fixture = try StoreFixture()
        let digest = try fixture.put(pattern(5000))
        try fixture.reopen()
        let path = fixture.store.layout.blob(digest)
        #expect(truncate(path, 4999) == 0)
        #expect(try fixture.find(digest) == nil)
        try fixture.wait(until: { fixture.store.pendingRemoval.isEmpty })
        #expect(!fixture.exists(path))
        #expect(try fixture.quarantined() == ["\(digest.hex).size-is-4999--not-5000"])
        #expect(fixture.log.text.contains("set aside"))
        try fixture.put(pattern(5000))
        #expect(try fixture.find(digest) != nil)
    }

    @Test("a blob whose file is missing leaves the index") func missingFile() throws {
        let fixture = try StoreFixture()
        let digest = try fixture.put(pattern(50))
        try fixture.reopen()
        try FileManager.default.removeItem(atPath: fixture.store.layout.blob(digest))
        #expect(try fixture.find(digest) == nil)
        #expect(fixture.store.blobSize(digest) == .absent)
    }

    @Test("a quarantined blob is gone at once, and its readers keep their file") func quarantine() throws {
        let fixture = try StoreFixture()
        let bytes = pattern(5000)
        let digest = try fixture.put(bytes)
        let reader = try #require(try fixture.find(digest))
        fixture.store.quarantineBlob(digest, reason: "read error")
        #expect(fixture.store.cachedBlob(digest) == nil)
        #expect(try fixture.find(digest) == nil)
        // A new file of this name waits for the old one to be out of the way.
        try fixture.put(bytes)
        #expect(try fixture.quarantined() == ["\(digest.hex).read-error"])
        #expect(try fixture.content(reader) == bytes)
        #expect(try fixture.content(try #require(try fixture.find(digest))) == bytes)
    }
}

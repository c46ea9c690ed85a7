// A disk without room: an answer, not a crash. /dev/full refuses every write and needs no privileges; a small tmpfs,
// where one may be mounted, shows the same through the whole path.

import Foundation
import Glibc
import TestSupport
import Testing

@testable import OCI
@testable import Registry

@Suite struct FullDiskTests {
    @Test("a reservation larger than any disk is refused, and the ingest can continue")
    func absurdReservation() throws {
        let fixture = try StoreFixture()
        let ingest = try fixture.begin(try fixture.key(digestOf([1])))
        let error: StoreError? = try fixture.wait { ingest.reserve(totalBytes: Int64.max / 2, then: $0) }
        #expect(error?.isNoSpace == true, "\(String(describing: error))")
        // The ingest itself goes on: whether to try without a reservation is the caller's choice.
        try fixture.append([1], to: ingest)
        #expect(try fixture.wait { ingest.verify(then: $0) }.get())
        ingest.discard()
    }

    @Test("a reservation does not change the file's size") func reservation() throws {
        let fixture = try StoreFixture()
        let ingest = try fixture.begin(try fixture.key(digestOf([1])))
        #expect(try fixture.wait { ingest.reserve(totalBytes: 1 << 20, then: $0) } == nil)
        #expect(try Disk.status(of: ingest.file.descriptor, "").sizeBytes == 0)
        ingest.discard()
    }

    @Test("a write refused for lack of space is reported once and ends the ingest") func refusedWrite() throws {
        let fixture = try StoreFixture()
        let bytes = pattern(2_000_000)
        let key = try fixture.key(digestOf(bytes))
        fixture.store.writing[key] = []
        let descriptor = try Disk.open("/dev/full", O_RDWR)
        let ingest = fixture.store.makeIngest(
            key, try OpenedPartial(descriptor: descriptor, path: "/dev/full"),
            path: fixture.store.layout.partialFile(key))
        var failures: [StoreError] = []
        ingest.onFailure = { failures.append($0) }
        try fixture.append(bytes, to: ingest)
        try fixture.wait(until: { !failures.isEmpty })
        #expect(bytes.withUnsafeBytes { ingest.append($0) }, "nobody is told to wait for a disk that will not write")
        let verified: Result<Bool, StoreError> = try fixture.wait { ingest.verify(then: $0) }
        #expect(verified.failure?.isNoSpace == true)
        #expect(failures.count == 1)
        #expect(failures.first?.isNoSpace == true)
        #expect(ingest.writtenBytes == 0)
        ingest.discard()
    }

    @Test("a manifest that cannot be written is served from memory") func unwrittenManifest() throws {
        let fixture = try StoreFixture()
        let temporary = fixture.store.layout.temporary
        try FileManager.default.removeItem(atPath: temporary)
        try Data().write(to: URL(fileURLWithPath: temporary))
        let body = Array("{}".utf8)
        let put: Result<CachedManifest, StoreError> = try fixture.wait {
            fixture.store.putManifest(body, digest: digestOf(body), mediaType: .ociIndex, then: $0)
        }
        #expect(put.failure != nil)
        #expect(try fixture.findManifest(digestOf(body))?.body.elementsEqual(body) == true)
        #expect(fixture.log.text.contains("kept in memory only"))
    }

    @Test("a full file system fails one ingest and leaves cached blobs intact", .needs(.root))
    func fullFileSystem() throws {
        let disk = try SmallDisk(sizeBytes: 4 << 20)
        let fixture = try StoreFixture(imagePath: disk.path)
        let small = try fixture.put(pattern(100_000))
        let bytes = pattern(8 << 20)
        let key = try fixture.key(digestOf(bytes))
        let ingest = try fixture.begin(key)
        let reserved: StoreError? = try fixture.wait { ingest.reserve(totalBytes: 8 << 20, then: $0) }
        #expect(reserved?.isNoSpace == true)
        var failure: StoreError?
        ingest.onFailure = { failure = $0 }
        try fixture.append(bytes, to: ingest)
        try fixture.wait(until: { failure != nil })
        #expect(failure?.isNoSpace == true)
        // What was written before is the true beginning, and readers may have it.
        let written = Int(ingest.writtenBytes)
        #expect(try fixture.content(ingest.file) == Array(bytes[..<written]))
        let body = pattern(300_000)
        let put: Result<CachedManifest, StoreError> = try fixture.wait {
            fixture.store.putManifest(body, digest: digestOf(body), mediaType: .ociManifest, then: $0)
        }
        #expect(put.failure?.isNoSpace == true)
        #expect(fixture.store.cachedManifest(digestOf(body)) != nil)
        ingest.discard()
        #expect(try fixture.find(small) != nil)
        // The discarded file's room can be used again once its last reader is gone.
        withExtendedLifetime(ingest) {}
    }

    @Test("lines that do not fit on the disk leave their file as it was", .needs(.root)) func lines() throws {
        let disk = try SmallDisk(sizeBytes: 1 << 20)
        let fixture = try StoreFixture(imagePath: disk.path)
        let layout = fixture.store.layout
        _ = try LedgerFile.append([.seen(digestOf([1]), seconds: 5)], layout)
        let before = try Disk.readFile(layout.ledger, maximumBytes: 1 << 20)
        let many = (0..<20_000).map { LedgerChange.seen(digestOf(Array("\($0)".utf8)), seconds: 7) }
        #expect { try LedgerFile.append(many, layout) } throws: { ($0 as? StoreError)?.isNoSpace == true }
        #expect(try Disk.readFile(layout.ledger, maximumBytes: 1 << 20) == before)
        let content = try LedgerFile.load(layout)
        #expect(content.damagedLines == 0 && content.ledger.firstSeen(digestOf([1])) == 5)
    }
}

// What the store makes of the faults that readers report, and of partial files that were changed under an ingest.

import Glibc
import Logging
import TestSupport
import Testing

@testable import OCI
@testable import Registry

@Suite struct FaultReportTests {
    private let fixture: StoreFixture
    private let bytes = pattern(50_000, seed: 97)

    init() throws { fixture = try StoreFixture() }

    private func settle() throws { try fixture.wait(until: { fixture.offload.inFlight == 0 }) }

    @Test("a reported blob leaves the index at once and its file is quarantined")
    func reportedBlob() throws {
        let digest = try fixture.put(bytes)
        let file = try #require(fixture.store.cachedBlob(digest))
        file.report(.unreadable(EIO))
        file.report(.tooShort)
        #expect(fixture.store.blobSize(digest) == .absent && fixture.store.cachedBlob(digest) == nil)
        try settle()
        #expect(try fixture.quarantined() == ["\(digest.hex).cannot-be-read--input-output-error"])
        #expect(fixture.store.damageCounts[Int(DamageFinder.read.rawValue)] == 1)
        #expect(fixture.log.entries.filter { $0.level == .error }.count == 1, "\(fixture.log.text)")
    }

    @Test("a report about a replaced file does not affect the new one")
    func formerFile() throws {
        let digest = try fixture.put(bytes)
        let former = try #require(fixture.store.cachedBlob(digest))
        fixture.store.quarantineBlob(digest, reason: "test")
        try settle()
        try fixture.put(bytes)
        former.report(.tooShort)
        try settle()
        #expect(try fixture.content(try #require(try fixture.find(digest))) == bytes)
        #expect(try fixture.quarantined().count == 1)
    }

    @Test("a replaced file is recognised by its inode when the new one is not open")
    func formerFileUnopened() throws {
        let digest = try fixture.put(bytes)
        let former = try #require(fixture.store.cachedBlob(digest))
        fixture.store.quarantineBlob(digest, reason: "test")
        try settle()
        try fixture.put(bytes)
        fixture.store.openFiles.removeAll()
        former.report(.tooShort)
        try settle()
        #expect(fixture.store.blobSize(digest) == .present(Int64(bytes.count)))
        #expect(try fixture.quarantined().count == 1)
        #expect(fixture.store.damageCounts.reduce(0, +) == 1, "the first alone")
    }

    @Test("a file closed to make room is still quarantined when its last reader reports it")
    func closedFile() throws {
        let digest = try fixture.put(bytes)
        let file = try #require(fixture.store.cachedBlob(digest))
        fixture.store.openFiles.removeAll()
        file.report(.tooShort)
        try settle()
        #expect(fixture.store.blobSize(digest) == .absent)
        #expect(try fixture.quarantined() == ["\(digest.hex).shorter-than-50000-bytes"])
    }

    @Test("after a temporary error the file is opened again and nothing is quarantined")
    func passingError() throws {
        let digest = try fixture.put(bytes)
        let file = try #require(fixture.store.cachedBlob(digest))
        file.report(.unreadable(ESTALE))
        #expect(fixture.store.cachedBlob(digest) == nil)
        let again = try #require(try fixture.find(digest))
        #expect(again !== file)
        #expect(try fixture.content(again) == bytes)
        #expect(try fixture.quarantined().isEmpty && fixture.log.text.contains("Stale file handle"))
    }

    @Test("verified content whose partial file was truncated is not committed")
    func cutOffBeforeCommit() throws {
        let digest = digestOf(bytes)
        let ingest = try fixture.begin(try fixture.key(digest))
        try fixture.append(bytes, to: ingest)
        #expect(try fixture.wait { ingest.verify(then: $0) }.get())
        let partial = try #require(try fixture.names(fixture.store.layout.partial).first)
        #expect(truncate("\(fixture.store.layout.partial)/\(partial)", 100) == 0)
        #expect(throws: StoreError.self) { try fixture.wait { ingest.commit(then: $0) }.get() }
        #expect(try fixture.find(digest) == nil && !fixture.exists(fixture.store.layout.blob(digest)))
        try fixture.put(bytes)
        #expect(try fixture.find(digest) != nil)
    }

    @Test("a fault between verification and commit removes the blob")
    func faultBeforeCommit() throws {
        let digest = digestOf(bytes)
        let ingest = try fixture.begin(try fixture.key(digest))
        try fixture.append(bytes, to: ingest)
        #expect(try fixture.wait { ingest.verify(then: $0) }.get())
        let _: Result<OpenFile, StoreError> = try fixture.wait { done in
            ingest.commit(then: done)
            ingest.file.report(.unreadable(EIO))
        }
        try fixture.wait(until: { fixture.store.blobSize(digest) == .absent })
        try settle()
        #expect(try fixture.quarantined().count == 1)
    }
}

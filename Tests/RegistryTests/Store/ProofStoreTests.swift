// The index of proofs on disk: over restarts, crashes and damage, and in step with what is removed.

import Foundation
import TestSupport
import Testing

@testable import OCI
@testable import Registry

@Suite struct ProofStoreTests {
    static let host = RegistryHost("registry.example")!  // a valid host
    static let one = digestOf([1])
    static let two = digestOf([2])

    private static func repository(_ name: String) -> RepositoryName { RepositoryName(name)! }  // literals

    private func add(_ digest: Digest, _ name: String, to fixture: StoreFixture) throws {
        let _: Bool = try fixture.wait { done in
            fixture.store.addProof(digest, host: Self.host, repository: Self.repository(name)) { done(true) }
        }
    }

    private func isProven(_ digest: Digest, _ name: String, in fixture: StoreFixture) throws -> Bool {
        try fixture.wait { done in
            fixture.store.whenProofKnown(digest, host: Self.host, repository: Self.repository(name), then: done)
        }
    }

    private func written(_ fixture: StoreFixture) throws { try fixture.wait(until: { fixture.offload.inFlight == 0 }) }

    private func content(_ fixture: StoreFixture) -> [UInt8] {
        Array(FileManager.default.contents(atPath: fixture.store.layout.proofs) ?? Data())
    }

    @Test("a proof counts for its repository alone, and after a restart", arguments: [true, false])
    func restart(isRequired: Bool) throws {
        let fixture = try StoreFixture()
        fixture.store.requiresProofs = isRequired
        try add(Self.one, "team/app", to: fixture)
        try fixture.reopen()
        fixture.store.requiresProofs = true
        #expect(try isProven(Self.one, "team/app", in: fixture))
        #expect(try !isProven(Self.one, "team/other", in: fixture))
        #expect(try !isProven(Self.two, "team/app", in: fixture))
    }

    @Test("a committed blob is proven, and without PROOFS it stays cached but unproven")
    func commit() throws {
        let fixture = try StoreFixture()
        let blob = try fixture.put(pattern(5000, seed: 1), repository: "team/app")
        try written(fixture)
        fixture.store.requiresProofs = true
        #expect(try isProven(blob, "team/app", in: fixture))
        try Disk.unlink(fixture.store.layout.proofs)
        try fixture.reopen()
        fixture.store.requiresProofs = true
        #expect(try !isProven(blob, "team/app", in: fixture))
        let file: OpenFile? = try fixture.wait { fixture.store.findBlob(blob, then: $0) }
        #expect(file != nil)
    }

    @Test("proofs that are given while the index is being read or written count once they are on the disk")
    func meanwhile() throws {
        let fixture = try StoreFixture()
        try add(Self.one, "team/app", to: fixture)
        fixture.store.requiresProofs = true
        #expect(
            "registry.example/team/app".utf8.withContiguousStorageIfAvailable {
                fixture.store.proofStatus(of: Self.one, in: UnsafeRawBufferPointer($0)) == .unknown
            } == true)
        fixture.store.addProof(Self.two, host: Self.host, repository: Self.repository("team/app"))
        #expect(try isProven(Self.two, "team/app", in: fixture))
        #expect(try isProven(Self.one, "team/app", in: fixture))
        let lines = content(fixture).split(separator: 0x0A)
        #expect(lines.count == 2)
    }

    @Test("an index that was dropped from memory is read again when proofs are required") func again() throws {
        let fixture = try StoreFixture()
        fixture.store.requiresProofs = true
        try add(Self.one, "team/app", to: fixture)
        fixture.store.requiresProofs = false
        #expect(fixture.store.proofs.table == nil)
        try add(Self.two, "team/app", to: fixture)
        fixture.store.requiresProofs = true
        #expect(try isProven(Self.one, "team/app", in: fixture))
        #expect(try isProven(Self.two, "team/app", in: fixture))
    }

    @Test("a file that ends anywhere has the proofs of its whole lines and no others")
    func cut() throws {
        let fixture = try StoreFixture()
        let names = (0..<3).map { "team/app\($0)" }
        for name in names { try add(Self.one, name, to: fixture) }
        try written(fixture)
        let whole = content(fixture)
        let layout = fixture.store.layout
        for count in 0...whole.count {
            try Data(whole[..<count]).write(to: URL(fileURLWithPath: layout.proofs))
            let loaded = try ProofFile.load(layout)
            // The last line is whole without its end, too.
            let lines = whole.prefix(count + 1).count { $0 == 0x0A }
            for (number, name) in names.enumerated() {
                #expect(loaded.table.contains(Self.one, "registry.example/\(name)") == (number < lines), "\(count)")
            }
            #expect(loaded.damagedLines == 0)
            // What is appended after that is a line of its own.
            let state = try ProofFile.state(layout)
            _ = try ProofFile.append(
                [.add(Self.two, repository: "registry.example/late")], after: state, isSynced: false, layout)
            let later = try ProofFile.load(layout)
            #expect(later.table.contains(Self.two, "registry.example/late"), "\(count)")
            #expect(later.table.count == lines + 1)
        }
    }

    @Test("damaged lines are left out, and the file is set aside and rewritten") func damage() throws {
        let fixture = try StoreFixture()
        for number in 0..<4 { try add(Self.one, "team/app\(number)", to: fixture) }
        try written(fixture)
        var bytes = content(fixture)
        bytes[bytes.firstRange(of: Array("app2".utf8))!.lowerBound + 3] = UInt8(ascii: "9")
        try Data(bytes).write(to: URL(fileURLWithPath: fixture.store.layout.proofs))
        try fixture.reopen()
        fixture.store.requiresProofs = true
        #expect(try isProven(Self.one, "team/app1", in: fixture))
        #expect(try !isProven(Self.one, "team/app2", in: fixture))
        #expect(try !isProven(Self.one, "team/app9", in: fixture))
        try written(fixture)
        #expect(fixture.store.setAsideCount == 1)
        #expect(try Disk.names(in: fixture.store.layout.quarantine) == ["PROOFS.damaged-lines"])
        let loaded = try ProofFile.load(fixture.store.layout)
        #expect(loaded.damagedLines == 0 && loaded.table.count == 3)
    }

    @Test("a file of mostly obsolete lines is rewritten, and keeps what counts") func rewriting() throws {
        let fixture = try StoreFixture()
        let layout = fixture.store.layout
        var changes: [ProofChange] = [.add(Self.one, repository: "registry.example/team/kept")]
        for _ in 0..<8000 {
            changes += [.add(Self.two, repository: "registry.example/team/app"), .removeContent(Self.two)]
        }
        _ = try ProofFile.append(changes, after: ProofFile.State(), isSynced: false, layout)
        let former = content(fixture).count
        #expect(former > Int(ProofFile.spareBytes))
        try add(Self.two, "team/late", to: fixture)
        try written(fixture)
        #expect(content(fixture).count < 1000)
        let loaded = try ProofFile.load(layout)
        #expect(loaded.table.contains(Self.one, "registry.example/team/kept"))
        #expect(loaded.table.contains(Self.two, "registry.example/team/late"))
        #expect(loaded.table.count == 2)
        #expect(loaded.state.rewrittenBytes > 0 && !loaded.state.isWorthRewriting)
    }

    @Test("when PROOFS cannot be read or written, new proofs still count until the next start") func unusable() throws {
        let fixture = try StoreFixture { directory in
            try FileManager.default.createDirectory(
                atPath: directory.file("store-v1/PROOFS"), withIntermediateDirectories: true)
        }
        fixture.store.requiresProofs = true
        try add(Self.one, "team/app", to: fixture)
        #expect(try isProven(Self.one, "team/app", in: fixture))
        #expect(try !isProven(Self.two, "team/app", in: fixture))
        #expect(fixture.log.text.contains("proofs cannot be read"))
        #expect(fixture.log.text.contains("proofs cannot be written to PROOFS yet"))
    }

    @Test("changes that the disk has refused are written when it takes them again") func refused() throws {
        let fixture = try StoreFixture()
        let layout = fixture.store.layout
        try add(Self.one, "team/app", to: fixture)
        try add(Self.one, "team/gone", to: fixture)
        try written(fixture)
        let kept = content(fixture)
        try Disk.unlink(layout.proofs)
        try FileManager.default.createDirectory(atPath: layout.proofs, withIntermediateDirectories: false)
        fixture.store.removeProofs(ofRepository: "registry.example/team/gone")
        try add(Self.two, "team/app", to: fixture)
        try written(fixture)
        #expect(fixture.log.text.contains("cannot be written to PROOFS yet"))
        try FileManager.default.removeItem(atPath: layout.proofs)
        try Data(kept).write(to: URL(fileURLWithPath: layout.proofs))
        fixture.store.retryProofs()
        try written(fixture)
        try fixture.reopen()
        fixture.store.requiresProofs = true
        #expect(try isProven(Self.one, "team/app", in: fixture))
        #expect(try isProven(Self.two, "team/app", in: fixture))
        #expect(try !isProven(Self.one, "team/gone", in: fixture))
    }

    @Test("a proof that is removed while it is being written does not come back, and a later one is written again")
    func removedMeanwhile() throws {
        let fixture = try StoreFixture()
        fixture.store.requiresProofs = true
        #expect(try !isProven(Self.one, "team/app", in: fixture))
        let add = { (then: @escaping () -> Void) in
            fixture.store.addProof(Self.one, host: Self.host, repository: Self.repository("team/app"), then: then)
        }
        add {}
        fixture.store.removeProofs(of: Self.one)
        try written(fixture)
        #expect(try !isProven(Self.one, "team/app", in: fixture))
        add {}
        fixture.store.removeProofs(of: Self.one)
        let _: Bool = try fixture.wait { done in add { done(true) } }
        #expect(try isProven(Self.one, "team/app", in: fixture))
        try fixture.reopen()
        fixture.store.requiresProofs = true
        #expect(try isProven(Self.one, "team/app", in: fixture))
    }
}

@Suite struct PrunedProofTests {
    private func proofs(_ cache: PruneFixture) throws -> ProofTable {
        let fixture = try cache.fixture.get()
        try fixture.wait(until: { fixture.offload.inFlight == 0 })
        return try ProofFile.load(fixture.store.layout).table
    }

    @Test("removed content has no proofs, and an emptied repository has none for content that stays")
    func removal() throws {
        let cache = PruneFixture()
        let (image, other) = (FakeImage(seed: 1), FakeImage(seed: 2))
        try cache.put(image, as: "v1", in: "team/app")
        try cache.put(image, as: "v1", in: "team/copy")
        try cache.put(other, as: "v2", in: "team/app")
        let fixture = try cache.fixture.get()
        for repository in ["team/app", "team/copy"] {
            for digest in [image.digest] + image.blobs.map({ digestOf($0) }) {
                fixture.store.addProof(
                    digest, host: PruneFixture.host, repository: PruneFixture.repository(repository))
            }
        }
        fixture.store.addProof(
            other.digest, host: PruneFixture.host, repository: PruneFixture.repository("team/app"))
        #expect(try proofs(cache).contains(other.digest, "registry.test/team/app"))
        try cache.prune(ignoringLease: true) { $0.name.hasSuffix("app:v2") }
        var table = try proofs(cache)
        #expect(!table.contains(other.digest, "registry.test/team/app"))
        #expect(table.contains(image.digest, "registry.test/team/app"))
        try cache.prune(ignoringLease: true) { $0.name.hasSuffix("app:v1") }
        table = try proofs(cache)
        #expect(!table.contains(image.digest, "registry.test/team/app"))
        #expect(table.contains(image.digest, "registry.test/team/copy"))
        #expect(table.contains(digestOf(image.blobs[1]), "registry.test/team/copy"))
        try cache.prune(ignoringLease: true)
        #expect(try proofs(cache).count == 0)
    }
}

// The ledger of cooldown, its file and its clock.

import Foundation
import TestSupport
import Testing

@testable import OCI
@testable import Registry

@Suite struct CooldownLedgerTests {
    private static let digests = (0..<200).map { digestOf([UInt8($0)]) }
    private static let tag = "a.test/b/c:v1"

    private func changes() -> [LedgerChange] {
        let (first, second) = (Self.digests[0], digestOf([1], .sha512))
        return [
            .seen(first, seconds: 5), .seen(second, seconds: 7), .approved(second),
            .admitted(first, repository: "a.test/b/c"), .exempt(second, repository: "a.test/b"),
            .pending(second, tag: Self.tag, seconds: 8),
            .signature(first, repository: "a.test/b"), .moved(seconds: 3, since: 6, number: 1),
            .pending(first, tag: Self.tag, seconds: 9), .taken(second, tag: Self.tag), .reached(seconds: 20),
        ]
    }

    private func state(_ ledger: CooldownLedger) -> [String] {
        var lines: [String] = []
        ledger.forEachChange { lines.append(String(decoding: LedgerLine.format($0), as: UTF8.self)) }
        return lines.sorted()
    }

    // MARK: Lines and the file

    @Test("each line is read as it was written, and a cut or changed one is no line") func lines() {
        for change in changes() {
            let line = LedgerLine.format(change)
            #expect(line.count < LedgerLine.maximumBytes && line.last == 0x0A)
            line.dropLast().withUnsafeBytes { #expect(LedgerLine.parse($0) == change) }
            for end in 1..<(line.count - 1) { line[..<end].withUnsafeBytes { #expect(LedgerLine.parse($0) == nil) } }
            for position in 0..<(line.count - 1) {
                var wrong = Array(line.dropLast())
                wrong[position] ^= 0x01
                wrong.withUnsafeBytes { #expect(LedgerLine.parse($0) == nil) }
            }
        }
    }

    @Test("a file gives the ledger that wrote it, also after it has been rewritten") func file() throws {
        let fixture = try StoreFixture()
        let layout = fixture.store.layout
        var ledger = CooldownLedger()
        for change in changes() {
            ledger.apply(change)
            _ = try LedgerFile.append([change], layout)
        }
        #expect(state(try LedgerFile.load(layout).ledger) == state(ledger))
        #expect(ledger.candidates(of: Self.tag).map(\.digest) == [Self.digests[0]])
        for _ in 0..<600 { _ = try LedgerFile.append([.reached(seconds: 3), .reached(seconds: 4)], layout) }
        let content = try LedgerFile.load(layout)
        #expect(state(content.ledger) == state(ledger) && content.state.lines < 20 && content.setAside == nil)
        #expect(state(try LedgerFile.load(layout).ledger) == state(ledger))
    }

    @Test("a torn line is lost alone, and damaged ones are kept aside", arguments: [true, false])
    func damage(_ isTorn: Bool) throws {
        let fixture = try StoreFixture()
        let layout = fixture.store.layout
        for change in changes() { _ = try LedgerFile.append([change], layout) }
        let before = state(try LedgerFile.load(layout).ledger)
        let handle = try #require(FileHandle(forWritingAtPath: layout.ledger))
        try handle.seekToEnd()
        try handle.write(contentsOf: Data("seen \(Self.digests[9]) 17\(isTorn ? "" : "\n")".utf8))
        try handle.close()
        let content = try LedgerFile.load(layout)
        #expect(state(content.ledger) == before)
        #expect((content.setAside == nil) == isTorn)
        _ = try LedgerFile.append([.seen(Self.digests[9], seconds: 11)], layout)
        let after = try LedgerFile.load(layout)
        #expect(after.ledger.firstSeen(Self.digests[9]) == 11 && after.setAside == nil)
    }

    @Test("what is recorded while the file is read, or cannot be written, is not lost") func writing() throws {
        let fixture = try StoreFixture()
        let store = fixture.store
        store.keepsLedger = true
        store.record(.seen(Self.digests[0], seconds: 5))
        #expect(store.ledger == nil)
        try fixture.wait(until: { store.ledger?.firstSeen(Self.digests[0]) == 5 })
        try fixture.wait(until: { fixture.exists(store.layout.ledger) && !store.ledgerState.isWriting })
        try Disk.unlink(store.layout.ledger)
        try FileManager.default.createDirectory(atPath: store.layout.ledger, withIntermediateDirectories: true)
        let refused: StoreError? = try fixture.wait { store.record(.approved(Self.digests[1]), then: $0) }
        #expect(refused != nil && fixture.log.text.contains("LEDGER cannot be written yet"))
        try FileManager.default.removeItem(atPath: store.layout.ledger)
        let error: StoreError? = try fixture.wait { store.record(.approved(Self.digests[2]), then: $0) }
        #expect(error == nil)
        let content = try LedgerFile.load(store.layout)
        #expect(content.ledger.isApproved(Self.digests[1]) && content.ledger.isApproved(Self.digests[2]))
        // Off and on again while it is read.
        store.keepsLedger = false
        store.keepsLedger = true
        store.keepsLedger = false
        store.keepsLedger = true
        store.record(.approved(Self.digests[3]))
        try fixture.wait(until: { store.ledger?.isApproved(Self.digests[3]) == true })
        #expect(store.ledger?.isApproved(Self.digests[2]) == true)
    }

    @Test(
        "lines that are in the file twice count once, and a rewritten file with changes after it gives the same ledger")
    func repeated() throws {
        let fixture = try StoreFixture()
        let layout = fixture.store.layout
        var ledger = CooldownLedger()
        for change in changes() { ledger.apply(change) }
        for _ in 0..<2 { _ = try LedgerFile.append(changes(), layout) }
        #expect(state(try LedgerFile.load(layout).ledger) == state(ledger))
        // A rewrite has what is in memory, and the changes that were not written yet follow it.
        _ = try LedgerFile.rewrite(ledger, layout)
        _ = try LedgerFile.append(changes(), layout)
        #expect(state(try LedgerFile.load(layout).ledger) == state(ledger))
    }

    // MARK: Bounds

    @Test("a tag keeps the oldest of what it waits for, and the newest") func candidates() {
        var ledger = CooldownLedger()
        for (number, digest) in Self.digests.enumerated() {
            ledger.apply(.seen(digest, seconds: Int64(number)))
            ledger.apply(.pending(digest, tag: Self.tag, seconds: Int64(number)))
        }
        let kept = ledger.candidates(of: Self.tag).map(\.digest)
        #expect(kept.count == CooldownLedger.maximumCandidates)
        #expect(kept.dropLast().elementsEqual(Self.digests.prefix(63)) && kept.last == Self.digests.last)
        #expect(ledger.choice(of: Self.tag, cooldownSeconds: 10, now: 15) == Self.digests[5])
        ledger.apply(.taken(Self.digests[5], tag: Self.tag))
        #expect(ledger.candidates(of: Self.tag).first?.digest == Self.digests[6])
        #expect(ledger.tags(waitingFor: Self.digests[5]).isEmpty)
        #expect(ledger.waitingTags(in: "a.test/b/c") == [Self.tag])
        ledger.apply(.taken(digestOf([250]), tag: Self.tag))
        #expect(ledger.pendingTagCount == 0 && ledger.waitingTags(in: "a.test/b/c").isEmpty)
    }

    @Test("a wait has an end once its beginning is known") func ends() {
        var ledger = CooldownLedger()
        ledger.apply(.seen(Self.digests[0], seconds: 10))
        #expect(ledger.end(of: Self.digests[0], cooldownSeconds: 3) == 13 && ledger.newestSeconds == 10)
        #expect(ledger.end(of: Self.digests[0], cooldownSeconds: .max) == .max)
        #expect(!ledger.isOver(Self.digests[1], cooldownSeconds: 0, now: .max))
    }

    // MARK: The clock

    private static let start: Int64 = 1_800_000_000

    private func clock(reached: Int64 = 0) -> CooldownClock {
        CooldownClock(.init(wallSeconds: Self.start, monotonicSeconds: 100), reachedSeconds: reached)
    }

    private func reading(_ wall: Int64, _ monotonic: Int64) -> CooldownClock.Reading {
        .init(wallSeconds: Self.start + wall, monotonicSeconds: 100 + monotonic)
    }

    @Test("a clock that is set forward is reported, and one that is set back stops the waits") func set() {
        var clock = clock()
        #expect(
            clock.follow(reading(10, 10)) == 0 && clock.present(reading(10, 10), newestSeconds: 0) == Self.start + 10)
        #expect(clock.follow(reading(100_020, 20)) == 100_000 && clock.follow(reading(100_021, 21)) == 0)
        #expect(clock.present(reading(100_021, 21), newestSeconds: 0) == Self.start + 100_021)
        #expect(clock.follow(reading(31, 31)) == 0)
        #expect(clock.present(reading(31, 31), newestSeconds: 0) == Self.start + 100_021)
        #expect(clock.stamp(reading(31, 31)) == Self.start + 100_031)
        #expect(clock.present(reading(100_050, 50), newestSeconds: Self.start + 105_000) == Self.start + 100_021)
        let lost = CooldownClock.Reading(wallSeconds: 1000, monotonicSeconds: 150)
        #expect(clock.stamp(lost) == nil && clock.follow(lost) == 0)
        for extreme in [
            CooldownClock.Reading(wallSeconds: .max, monotonicSeconds: .max),
            .init(wallSeconds: .min, monotonicSeconds: .min),
        ] {
            #expect(clock.follow(extreme) >= 0 && clock.present(extreme, newestSeconds: .max) > 0)
            #expect(clock.present(extreme, newestSeconds: .min) > 0)
        }
    }

    @Test("what an earlier process had reached stays reached") func reached() {
        var clock = clock(reached: Self.start + 900)
        #expect(clock.present(reading(0, 0), newestSeconds: 0) == Self.start + 900)
        #expect(clock.present(reading(1000, 1000), newestSeconds: 0) == Self.start + 1000)
    }

    @Test("a clock that was lost at the start moves what waits by the time since the last process, not by its error")
    func lostAtStart() {
        for wall in [0, CooldownClock.earliestSeconds + 1000] {
            var clock = CooldownClock(.init(wallSeconds: wall, monotonicSeconds: 10), reachedSeconds: Self.start)
            let behind = CooldownClock.Reading(wallSeconds: wall + 5, monotonicSeconds: 15)
            #expect(clock.follow(behind) == 0 && clock.isBehind(behind, newestSeconds: Self.start))
            #expect(clock.present(behind, newestSeconds: Self.start) == Self.start)
            let right = reading(700, 0)
            #expect(clock.follow(right) == 700 && !clock.isBehind(right, newestSeconds: Self.start + 700))
            #expect(clock.present(right, newestSeconds: Self.start + 700) == Self.start + 700)
        }
    }

    @Test("small corrections are followed, and no sum of them makes a jump") func drift() {
        var clock = clock()
        var ahead: Int64 = 0
        for hour in 1...48 as ClosedRange<Int64> {
            ahead += 4
            #expect(clock.follow(reading(hour * 3600 + ahead, hour * 3600)) == 0)
            let present = clock.present(reading(hour * 3600 + ahead, hour * 3600), newestSeconds: 0)
            #expect(present == Self.start + hour * 3600 + ahead)
        }
        var hasty = self.clock()
        var jumps: Int64 = 0
        for second in 1...1000 as ClosedRange<Int64> {
            jumps += hasty.follow(reading(second + 5 * second, second))
            _ = hasty.present(reading(second + 5 * second, second), newestSeconds: 0)
        }
        // All but the last minute has been made up for.
        #expect(hasty.reachedSeconds - jumps <= Self.start + 1000 && jumps >= 5000 - 65)
    }
}

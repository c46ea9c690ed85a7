// What the kernel and the store's own files say in numbers, at the ends of what fits.

import Glibc
import TestSupport
import Testing

@testable import OCI
@testable import Registry

@Suite struct StoreNumberTests {
    @Test("size and free space are computed from any numbers of statvfs")
    func fileSystems() {
        let numbers: [UInt] = [0, 1, 4096, 1 << 32, 1 << 62, 1 << 63, .max - 1, .max]
        for blocks in numbers {
            for block in numbers {
                var raw = statvfs()
                (raw.f_blocks, raw.f_bavail, raw.f_frsize) = (.init(blocks), .init(blocks / 2), .init(block))
                let space = DiskSpace(raw)
                #expect(space.sizeBytes >= space.freeBytes && space.freeBytes >= 0)
            }
        }
        var raw = statvfs()
        (raw.f_blocks, raw.f_bavail, raw.f_frsize) = (.max, .max, .max)
        #expect(DiskSpace(raw).sizeBytes == .max && DiskSpace(raw).freeBytes == .max)
        (raw.f_blocks, raw.f_bavail, raw.f_frsize) = (100, 50, 4096)
        #expect(DiskSpace(raw).sizeBytes == 409_600 && DiskSpace(raw).freeBytes == 204_800)
    }

    @Test("a file's size and times are bounded whatever fstat reports")
    func files() {
        for number in Extremes.numbers {
            var raw = stat()
            raw.st_size = Int(number)
            raw.st_mtim.tv_sec = Int(number)
            raw.st_ctim.tv_sec = Int(number)
            let status = FileStatus(raw)
            #expect((0...ContentSize.maximum).contains(status.sizeBytes))
            #expect(OutsideNumber.seconds.contains(status.modifiedSeconds))
            #expect(status.identity.changedSeconds == number, "an identity is exact")
        }
    }

    @Test("the sums of an index and of partial files are clamped at their bounds")
    func sums() throws {
        var index = BlobIndex()
        let digests = (0..<4).map { digestOf([UInt8($0)]) }
        for digest in digests { index.set(digest, sizeBytes: .max) }
        #expect(index.totalBytes == .max && index.count == 4)
        for digest in digests { index.set(digest, sizeBytes: 5) }
        #expect(index.totalBytes >= 0)
        var partials = PartialFiles()
        for path in ["a", "b", "c"] {
            partials[path] = .init(sizeBytes: .max, modifiedSeconds: .max, isInUse: false)
        }
        #expect(partials.totalBytes == .max)
        #expect(PartialFiles.leaving(partials.entries, goalBytes: .max).count == 1)
        for path in ["a", "b", "c"] { partials[path] = nil }
        #expect(partials.entries.isEmpty)
    }

    @Test("lines of ACCESS with times outside the calendar are skipped")
    func accessTimes() throws {
        let digests = Extremes.texts.indices.map { digestOf(Array("access \($0)".utf8)) }
        let lines = zip(Extremes.texts, digests).map { "\($0) \($1)\n" }.joined()
        let fixture = try StoreFixture(isRecovered: false) { try $0.write(lines, to: "store-v1/ACCESS") }
        let times = try AccessFile.load(fixture.store.layout, now: OutsideNumber.seconds.upperBound).uses
        for (text, digest) in zip(Extremes.texts, digests) {
            #expect(times[digest] == OutsideNumber.decimal(text, in: OutsideNumber.seconds), "\(text)")
        }
    }

    @Test("reservations are released in full after a sum was clamped")
    func reservations() throws {
        let fixture = try StoreFixture()
        let wholes = (0..<3).map { pattern(100 + $0, seed: 5) }
        for whole in wholes {
            let ingest = try fixture.begin(try fixture.key(digestOf(whole)))
            // Without a budget nothing is refused but by the disk.
            let error: StoreError? = try fixture.wait { ingest.reserve(totalBytes: .max, then: $0) }
            guard case .noSpace(call: "statvfs", _)? = error else {
                Issue.record("not refused before the disk was asked for it: \(String(describing: error))")
                continue
            }
            ingest.discard()
        }
        try fixture.wait(until: { fixture.store.writing.isEmpty })
        #expect(fixture.store.reservedBytes == 0 && fixture.store.usedBytes == 0)
    }

    @Test("timestamps are written for any number of milliseconds", arguments: Extremes.numbers)
    func timestamps(_ milliseconds: Int64) {
        var bytes: [UInt8] = []
        LogTimestamp.append(milliseconds, to: &bytes)
        #expect(bytes.count == LogTimestamp.byteCount)
        #expect(bytes.allSatisfy { (0x2D...0x3A).contains($0) || $0 == 0x54 || $0 == 0x5A })
        #expect(HTTPDate.format(unixSeconds: milliseconds).count == HTTPDate.byteCount)
        #expect(!LocalTime.text(milliseconds).isEmpty)
    }
}

// Ranges and entity tags, against the RFC's own examples and against an oracle that lists the bytes one by one.

import TestSupport
import Testing

@testable import OCI
@testable import Registry

@Suite struct ByteRangeTests {
    private static func resolve(_ text: String, _ size: Int64) -> ByteRange {
        Array(text.utf8).withUnsafeBytes { ByteRange.resolve($0, size: size) }
    }

    // RFC 9110 §14.1.2 has a representation of 10000 bytes.
    @Test(
        "a Range field resolves to a range, to none or to unsatisfiable",
        arguments: [
            ("bytes=0-499", 10000, ByteRange.some(0...499)), ("bytes=500-999", 10000, .some(500...999)),
            ("bytes=-500", 10000, .some(9500...9999)), ("bytes=9500-", 10000, .some(9500...9999)),
            ("bytes=0-0,-1", 10000, .several([0...0, 9999...9999])),
            ("bytes=500-600,601-999", 10000, .several([500...600, 601...999])),
            ("bytes=500-700,601-999", 10000, .several([500...700, 601...999])),
            ("bytes=9-9 , ,\t1-", 10, .several([9...9, 1...9])), ("bytes=9-9 , ,\t0-", 10, .none),
            ("bytes=0-4,", 10000, .some(0...4)), ("bytes=,", 10, .none), ("bytes=0-4,4-3", 10, .none),
            ("bytes=0-4,1", 10, .none), ("bytes=0-4,20-", 10, .several([0...4])), ("bytes=10-,20-", 10, .unsatisfiable),
            ("bytes=0-5,5-9", 10, .none), ("bytes=0-9,0-9", 10, .none),
            ("bytes=0-", 10, .some(0...9)), ("bytes=9-9", 10, .some(9...9)), ("bytes=9-100", 10, .some(9...9)),
            ("BYTES=1-2", 10, .some(1...2)), ("bytes=007-0008", 10, .some(7...8)),
            ("bytes=10-", 10, .unsatisfiable), ("bytes=10-20", 10, .unsatisfiable), ("bytes=-0", 10, .unsatisfiable),
            ("bytes=-10", 10, .some(0...9)), ("bytes=-11", 10, .some(0...9)), ("bytes=5-4", 10, .none),
            ("bytes=20-19", 10, .none), ("bytes=", 10, .none), ("bytes=-", 10, .none), ("bytes=a-b", 10, .none),
            ("bytes=1", 10, .none), ("bytes=1-2-3", 10, .none), ("bytes=--1", 10, .none), ("bytes=+1-2", 10, .none),
            ("bytes= 1-2", 10, .none), ("bytes=1 -2", 10, .none), ("bytes 1-2", 10, .none), ("items=0-1", 10, .none),
            ("seconds=1-2", 10, .none), ("", 10, .none), ("bytes", 10, .none), ("bytes=0x1-2", 10, .none),
            ("bytes=0-99999999999999999999999", 10, .some(0...9)),
            ("bytes=99999999999999999999999-", 10, .unsatisfiable),
            ("bytes=-99999999999999999999999", 10, .some(0...9)), ("bytes=9223372036854775807-", 10, .unsatisfiable),
            ("bytes=9223372036854775808-9223372036854775807", 10, .unsatisfiable),
            ("bytes=0-", 0, .unsatisfiable), ("bytes=0-0", 0, .unsatisfiable), ("bytes=-1", 0, .none),
            ("bytes=-0", 0, .unsatisfiable), ("bytes=0-0", Int64.max, .some(0...0)),
            ("bytes=-1", Int64.max, .some(Int64.max - 1...Int64.max - 1)),
        ])
    func ranges(header: String, size: Int64, range: ByteRange) {
        #expect(Self.resolve(header, size) == range)
    }

    /// The bytes a well-formed `first-last` or `-suffix` names, found by asking of each whether it is meant.
    private static func oracle(_ first: Int?, _ last: Int?, _ size: Int) -> [Int] {
        (0..<size).filter { index in
            guard let first else { return index >= size - (last ?? 0) }
            return index >= first && index <= (last ?? size)
        }
    }

    @Test("random ranges resolve as in a byte-by-byte oracle") func matchesOracle() {
        let seed = UInt64.random(in: 0...UInt64.max)
        var random = SeededRandom(seed: seed)
        for _ in 0..<20_000 {
            let size = Int.random(in: 0...12, using: &random)
            let first = Bool.random(using: &random) ? Int.random(in: 0...14, using: &random) : nil
            let last = first == nil || Bool.random(using: &random) ? Int.random(in: 0...14, using: &random) : nil
            let header = "bytes=\(first.map(String.init) ?? "")-\(last.map(String.init) ?? "")"
            let bytes = Self.oracle(first, last, size)
            var expected = ByteRange.unsatisfiable
            if let first, let last, last < first { expected = .none }
            if first == nil, size == 0, last != 0 { expected = .none }
            if let low = bytes.first, let high = bytes.last { expected = .some(Int64(low)...Int64(high)) }
            let found = Self.resolve(header, Int64(size))
            guard found == expected else {
                Issue.record("seed \(seed): \(header) of \(size): \(found), not \(expected)")
                return
            }
        }
    }

    @Test("random bytes in a Range field never resolve outside the content") func anyBytes() {
        let seed = UInt64.random(in: 0...UInt64.max)
        var random = SeededRandom(seed: seed)
        let alphabet = Array("bytes=0123456789--, \tW/\"*".utf8)
        for _ in 0..<20_000 {
            let prefix = Bool.random(using: &random) ? Array("bytes=".utf8) : []
            let count = Int.random(in: 0...30, using: &random)
            let bytes = prefix + (0..<count).map { _ in alphabet[Int.random(in: 0..<alphabet.count, using: &random)] }
            let size = Int64.random(in: 0...1000, using: &random)
            let ranges: [ClosedRange<Int64>]
            switch bytes.withUnsafeBytes({ ByteRange.resolve($0, size: size) }) {
            case .some(let range): ranges = [range]
            case .several(let set): ranges = set
            case .none, .tooMany, .unsatisfiable: continue
            }
            #expect(ranges.allSatisfy { $0.lowerBound >= 0 && $0.upperBound < size }, "seed \(seed)")
            #expect(ranges.reduce(0) { $0 + Int64($1.count) } <= size, "seed \(seed)")
        }
    }
}

@Suite struct EntityTagTests {
    private static let text = "sha256:" + String(repeating: "ab", count: 32)
    private static let long = "sha512:" + String(repeating: "01", count: 64)

    @Test(
        "If-Range allows a range only with the strong tag of the digest",
        arguments: [
            ("\"\(text)\"", true), (text, false), ("W/\"\(text)\"", false), ("\"\(long)\"", false), ("\"\"", false),
            ("\"", false), ("", false), ("Sun, 06 Nov 1994 08:49:37 GMT", false), ("*", false), ("\"\(text)\" ", false),
        ])
    func ifRange(value: String, allows: Bool) throws {
        let digest = try #require(Digest(Self.text))
        #expect(Array(value.utf8).withUnsafeBytes { EntityTag.allowsRange(ifRange: $0, digest: digest) } == allows)
    }

    @Test(
        "If-None-Match compares tags weakly and accepts lists and *",
        arguments: [
            ("*", true), ("\"\(text)\"", true), ("W/\"\(text)\"", true), ("\"a\", \"\(text)\"", true),
            ("\"a\",W/\"\(text)\",\"b\"", true), (" , \"\(text)\" ,", true), ("\"a,b\", \"\(text)\"", true),
            ("\"a\"", false), (text, false), ("w/\"\(text)\"", false), ("", false), ("*, \"a\"", false), ("W/", false),
            ("\"\(long)\"", false), ("\"\(text.uppercased())\"", false),
        ])
    func ifNoneMatch(value: String, matches: Bool) throws {
        let digest = try #require(Digest(Self.text))
        #expect(Array(value.utf8).withUnsafeBytes { EntityTag.matches(ifNoneMatch: $0, digest: digest) } == matches)
    }
}

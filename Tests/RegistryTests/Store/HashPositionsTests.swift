// The table behind the lookups of every request, against a dictionary that says what it should hold.

import TestSupport
import Testing

@testable import Registry

@Suite struct HashPositionsTests {
    /// Few hashes, so that most of what is put in meets something else; removed in the middle of runs, again and again.
    @Test("inserted positions are found and removed ones are not, despite equal hashes", arguments: [UInt64(1), 2, 3])
    func insertAndRemove(seed: UInt64) {
        var random = SeededRandom(seed: seed)
        var table = HashPositions()
        var expected: [Int: UInt32] = [:]
        for _ in 0..<20_000 {
            let position = Int.random(in: 0..<300, using: &random)
            if let hash = expected[position] {
                table.remove(hash, position)
                expected[position] = nil
            } else {
                let hash = UInt32.random(in: 0..<60, using: &random) &* 0x0101_0101
                table.insert(hash, position)
                expected[position] = hash
            }
            #expect(table.count == expected.count)
            let sought = Int.random(in: 0..<300, using: &random)
            let hash = expected[sought] ?? 0
            #expect((table.first(hash) { $0 == sought } == sought) == (expected[sought] != nil), "seed \(seed)")
        }
        for (position, hash) in expected { #expect(table.first(hash) { $0 == position } == position) }
        for (position, hash) in expected { table.remove(hash, position) }
        #expect(table.count == 0 && table.first(0) { _ in true } == nil)
        table.remove(7, 7)
        #expect(table.count == 0)
    }

    @Test("a hash depends on its key and on every byte") func keyedHash() {
        let (one, other) = (KeyedHash(), KeyedHash())
        let digest = digestOf([1])
        #expect(one.of(digest) == one.of(digest) && one.of(digest) != other.of(digest))
        var hashes: Set<UInt32> = []
        for length in 0..<40 {
            for index in 0..<length {
                var bytes = [UInt8](repeating: 0, count: length)
                bytes[index] = 1
                hashes.insert(bytes.withUnsafeBytes { one.of($0) })
            }
            hashes.insert([UInt8](repeating: 0, count: length).withUnsafeBytes { one.of($0) })
        }
        // 820 different texts; that two meet by chance is one in ten thousand.
        #expect(hashes.count >= 819)
    }
}

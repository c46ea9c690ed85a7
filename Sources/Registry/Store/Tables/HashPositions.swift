// The hash and the position table for the lookups of every request. Swift's Dictionary takes about 300 instructions for
// a digest, most of them for a hash that is stronger than these keys need; this takes about 40.

internal import BasicContainers
internal import OCI

/// A hash with a random secret, so that clients cannot choose keys that collide.
struct KeyedHash {
    private let secret = UInt64.random(in: .min ... .max)
    private let other = UInt64.random(in: .min ... .max)

    @inline(__always)
    func of(_ digest: Digest) -> UInt32 {
        UInt32(truncatingIfNeeded: KeyedHash.fold(digest.firstWord ^ secret))
    }

    /// Mixes two words per step with one multiplication.
    func of(_ bytes: UnsafeRawBufferPointer) -> UInt32 {
        var state = secret
        if bytes.count >= 16 {
            var at = 0
            let last = bytes.count &- 16
            while at < last {
                state = mix(state, bytes, at)
                at &+= 16
            }
            // Some of these bytes are mixed twice; the length makes that unambiguous.
            state = mix(state, bytes, last)
        } else {
            for byte in bytes { state = KeyedHash.fold(state ^ UInt64(byte)) }
        }
        return UInt32(truncatingIfNeeded: KeyedHash.fold(state ^ UInt64(truncatingIfNeeded: bytes.count)))
    }

    /// Mixes the sixteen bytes at `offset`. A factor is zero for one word in 2⁶⁴ only, which depends on the secrets.
    @inline(__always)
    private func mix(_ state: UInt64, _ bytes: UnsafeRawBufferPointer, _ offset: Int) -> UInt64 {
        let first = bytes.loadUnaligned(fromByteOffset: offset, as: UInt64.self)
        let second = bytes.loadUnaligned(fromByteOffset: offset &+ 8, as: UInt64.self)
        let product = (first ^ state).multipliedFullWidth(by: second ^ other)
        return product.high ^ product.low
    }

    /// Every bit of the result depends on every bit of the word: a product's upper half folded onto its lower.
    /// The factor is 2⁶⁴ divided by the golden ratio, an odd number without pattern (Knuth, TAOCP 3, §6.4).
    @inline(__always)
    private static func fold(_ word: UInt64) -> UInt64 {
        let product = word.multipliedFullWidth(by: 0x9E37_79B9_7F4A_7C15)
        return product.high ^ product.low
    }
}

/// Positions by hash: open addressing with linear probing. The caller stores the entries and compares them.
struct HashPositions: ~Copyable {
    private static let smallest = 16

    /// 0 if empty; otherwise the hash in the upper half and the position plus one in the lower half.
    private var cells = UniqueArray<UInt64>(repeating: 0, count: smallest)
    private(set) var count = 0

    /// The first position under `hash` for which `isMeant` is true. Allocates nothing.
    @inline(__always)
    func first(_ hash: UInt32, where isMeant: (Int) -> Bool) -> Int? {
        var at = home(hash)
        while cells[at] != 0 {
            let cell = cells[at]
            let position = Int(UInt32(truncatingIfNeeded: cell)) &- 1
            if UInt32(truncatingIfNeeded: cell >> 32) == hash, isMeant(position) { return position }
            at = next(at)
        }
        return nil
    }

    /// Adds a position that is not in the table yet and is below 2³² − 1.
    mutating func insert(_ hash: UInt32, _ position: Int) {
        // Above three quarters, runs of full cells become long.
        if 4 * (count + 1) > 3 * cells.count { grow() }
        count += 1
        put(HashPositions.cell(hash, position))
    }

    mutating func remove(_ hash: UInt32, _ position: Int) {
        let cell = HashPositions.cell(hash, position)
        var hole = home(hash)
        while cells[hole] != cell {
            guard cells[hole] != 0 else { return }
            hole = next(hole)
        }
        count -= 1
        // Later cells move up where their home allows it, so that no search ends at the hole.
        let mask = cells.count - 1
        var at = next(hole)
        while cells[at] != 0 {
            let distance = (at &- home(UInt32(truncatingIfNeeded: cells[at] >> 32))) & mask
            if distance >= (at &- hole) & mask {
                cells[hole] = cells[at]
                hole = at
            }
            at = next(at)
        }
        cells[hole] = 0
    }

    private static func cell(_ hash: UInt32, _ position: Int) -> UInt64 {
        // Fits: a position belongs to an entry in memory, and four billion entries would not fit there.
        UInt64(hash) << 32 | UInt64(UInt32(position + 1))
    }

    @inline(__always)
    private func home(_ hash: UInt32) -> Int { Int(hash) & (cells.count &- 1) }

    @inline(__always)
    private func next(_ at: Int) -> Int { (at &+ 1) & (cells.count &- 1) }

    private mutating func put(_ cell: UInt64) {
        var at = home(UInt32(truncatingIfNeeded: cell >> 32))
        while cells[at] != 0 { at = next(at) }
        cells[at] = cell
    }

    private mutating func grow() {
        var former = UniqueArray<UInt64>(repeating: 0, count: 2 * cells.count)
        swap(&former, &cells)
        for index in 0..<former.count where former[index] != 0 { put(former[index]) }
    }
}

// Byte classes shared by the grammars, and byte comparisons for the hot path. They are inlinable, since the hot path is
// in another module.

public import Glibc

package enum ASCII {
    @inlinable @inline(__always)
    package static func isDigit(_ byte: UInt8) -> Bool { byte &- 0x30 < 10 }
    @inlinable @inline(__always)
    package static func isLower(_ byte: UInt8) -> Bool { byte &- 0x61 < 26 }
    package static func isUpper(_ byte: UInt8) -> Bool { byte &- 0x41 < 26 }
    @inlinable
    package static func isLetter(_ byte: UInt8) -> Bool { isLower(byte | 0x20) }
    @inlinable
    package static func isHexadecimal(_ byte: UInt8) -> Bool { isDigit(byte) || (byte | 0x20) &- 0x61 < 6 }
    /// The digit, in lower case, of a value from 0 to 15.
    @inlinable @inline(__always)
    package static func hexadecimalDigit(_ value: UInt8) -> UInt8 { value < 10 ? 0x30 + value : 0x57 + value }
}

extension String {
    /// The string with A–Z made lower case; every other character is kept.
    package var asciiLowercased: String {
        String(decoding: utf8.map { ASCII.isUpper($0) ? $0 | 0x20 : $0 }, as: UTF8.self)
    }
}

extension UnsafeRawBufferPointer {
    /// Whether the bytes are the same. It uses one `memcmp`: `elementsEqual` iterates byte by byte and took a sixth of
    /// all instructions of a cached manifest.
    @inlinable @inline(__always)
    package func equals(_ other: UnsafeRawBufferPointer) -> Bool {
        guard count == other.count else { return false }
        guard let mine = baseAddress, let others = other.baseAddress else { return true }
        return memcmp(mine, others, count) == 0
    }

    /// The first position of `byte`; nil when it is absent. It uses one `memchr` instead of `firstIndex`'s byte loop.
    @inlinable @inline(__always)
    package func offset(of byte: UInt8) -> Int? {
        guard let base = baseAddress, let found = memchr(base, Int32(byte), count) else { return nil }
        return UnsafeRawPointer(found) - base
    }

    /// The last position of `byte`; nil when it is absent. It compares eight bytes at a time, from the end.
    @inlinable
    package func lastOffset(of byte: UInt8) -> Int? {
        let low: UInt64 = 0x7F7F_7F7F_7F7F_7F7F
        let pattern = 0x0101_0101_0101_0101 &* UInt64(byte)
        var end = count
        while end >= 8 {
            // The top bit of each byte that is 0 in `word`, and so equals `byte`: no addition carries into the next.
            let word = loadUnaligned(fromByteOffset: end &- 8, as: UInt64.self).littleEndian ^ pattern
            let hits = ~(((word & low) &+ low) | word | low)
            if hits != 0 { return end &- 1 &- hits.leadingZeroBitCount / 8 }
            end &-= 8
        }
        while end > 0 {
            end &-= 1
            if self[end] == byte { return end }
        }
        return nil
    }

    /// Whether the bytes are those of an ASCII literal.
    @inlinable @inline(__always)
    package func equals(_ text: StaticString) -> Bool {
        equals(UnsafeRawBufferPointer(start: text.utf8Start, count: text.utf8CodeUnitCount))
    }
}

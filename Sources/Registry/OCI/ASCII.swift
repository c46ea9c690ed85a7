// Byte classes shared by the grammars of this floor, and comparisons of bytes for the hot path.

internal import Glibc

enum ASCII {
    static func isDigit(_ byte: UInt8) -> Bool { byte &- 0x30 < 10 }
    static func isLower(_ byte: UInt8) -> Bool { byte &- 0x61 < 26 }
    static func isUpper(_ byte: UInt8) -> Bool { byte &- 0x41 < 26 }
    static func isLetter(_ byte: UInt8) -> Bool { isLower(byte | 0x20) }
    static func isHexadecimal(_ byte: UInt8) -> Bool { isDigit(byte) || (byte | 0x20) &- 0x61 < 6 }
    /// The digit, in lower case, of a value from 0 to 15.
    @inline(__always)
    static func hexadecimalDigit(_ value: UInt8) -> UInt8 { value < 10 ? 0x30 + value : 0x57 + value }
}

extension String {
    /// The string with A–Z made lower case; every other character is kept.
    package var asciiLowercased: String {
        String(decoding: utf8.map { ASCII.isUpper($0) ? $0 | 0x20 : $0 }, as: UTF8.self)
    }
}

extension UnsafeRawBufferPointer {
    /// Whether the bytes are the same. One `memcmp`, where `elementsEqual` goes byte by byte through iterators:
    /// measured on a cached manifest, that was a sixth of all instructions.
    @inline(__always)
    package func equals(_ other: UnsafeRawBufferPointer) -> Bool {
        guard count == other.count else { return false }
        guard let mine = baseAddress, let others = other.baseAddress else { return true }
        return memcmp(mine, others, count) == 0
    }

    /// Whether the bytes are those of an ASCII literal.
    @inline(__always)
    package func equals(_ text: StaticString) -> Bool {
        equals(UnsafeRawBufferPointer(start: text.utf8Start, count: text.utf8CodeUnitCount))
    }
}

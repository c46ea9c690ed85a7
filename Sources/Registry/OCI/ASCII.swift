// Byte classes shared by the grammars of this floor.

enum ASCII {
    static func isDigit(_ byte: UInt8) -> Bool { byte &- 0x30 < 10 }
    static func isLower(_ byte: UInt8) -> Bool { byte &- 0x61 < 26 }
    static func isUpper(_ byte: UInt8) -> Bool { byte &- 0x41 < 26 }
    static func isLetter(_ byte: UInt8) -> Bool { isLower(byte | 0x20) }
    static func isHexadecimal(_ byte: UInt8) -> Bool { isDigit(byte) || (byte | 0x20) &- 0x61 < 6 }
}

extension String {
    /// The string with A–Z made lower case; every other character is kept.
    package var asciiLowercased: String {
        String(decoding: utf8.map { ASCII.isUpper($0) ? $0 | 0x20 : $0 }, as: UTF8.self)
    }
}

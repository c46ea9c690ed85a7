// Lines that end with a checksum: one that a crash cut, or that a failing disk changed, must not be read as another
// line.

internal import OCI

/// Adds and verifies the checksums of lines.
package enum CheckedLine {
    /// Hexadecimal digits of the checksum: 64 bits of a SHA-256 exclude accidental matches.
    package static let checkDigits = 16

    /// The line with its checksum and its end.
    static func format(_ text: String) -> [UInt8] {
        let bytes = Array(text.utf8)
        return bytes + [0x20] + bytes.withUnsafeBytes { check($0) } + [0x0A]
    }

    /// The part of a line, without its end, before its checksum; nil when they do not match.
    static func text(
        _ line: UnsafeRawBufferPointer, maximumBytes: Int
    ) -> UnsafeRawBufferPointer? {
        guard line.count > checkDigits + 1, line.count < maximumBytes, line[line.count - checkDigits - 1] == 0x20 else {
            return nil
        }
        let text = UnsafeRawBufferPointer(rebasing: line[..<(line.count - checkDigits - 1)])
        return check(text).elementsEqual(line[(line.count - checkDigits)...]) ? text : nil
    }

    private static func check(_ text: UnsafeRawBufferPointer) -> [UInt8] {
        Array(SHA256.hash(text).hex.prefix(checkDigits).utf8)
    }
}

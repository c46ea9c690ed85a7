// Numbers from outside: digits written by clients, upstreams and files, and values reported by the kernel. Swift ends
// the process on an overflow, so such a number is checked against a range here, and added with
// SaturatingArithmetic.swift. `Tests/LintTests` keeps other files from parsing integers.

/// The valid sizes of a piece of content.
package enum ContentSize {
    /// Largest size accepted, in bytes: 16 TiB, the largest file of ext4 with blocks of 4 KiB (Linux
    /// Documentation/filesystems/ext4/blocks.rst). The sum of half a million such sizes fits in an `Int64`.
    package static let maximum: Int64 = 16 << 40

    /// A size stated in decimal digits, such as in a header field.
    package enum Stated: Equatable, Sendable {
        case bytes(Int64)
        /// Larger than `maximum`.
        case tooLarge
        /// Anything except decimal digits.
        case malformed
    }

    /// Reads decimal digits; no sign and no white space.
    package static func read(_ text: some StringProtocol) -> Stated {
        guard let number = OutsideNumber.decimal(text, clampedTo: 0...Int64.max) else { return .malformed }
        return accepted(number).map(Stated.bytes) ?? .tooLarge
    }

    /// `bytes` when it is a valid size; nil when it is negative or above `maximum`.
    package static func accepted(_ bytes: Int64) -> Int64? { (0...maximum).contains(bytes) ? bytes : nil }

    /// The valid size nearest to a file size reported by the kernel.
    package static func nearest(_ bytes: some BinaryInteger) -> Int64 { min(max(Int64(clamping: bytes), 0), maximum) }

    /// Size in bytes of a file system's blocks; at most `Int64.max`, since a file system may exceed any content size.
    package static func fileSystemBytes(blocks: UInt64, blockBytes: UInt64) -> Int64 {
        Int64(clamping: blocks.multipliedSaturated(by: blockBytes))
    }
}

/// Reads numbers from text. Every function accepts ASCII digits only: no sign, no white space, no underscore.
package enum OutsideNumber {
    /// Seconds from 1970 to the end of the year 9999, the range of dates that this server writes (RFC 9110 §5.6.7).
    package static let seconds: ClosedRange<Int64> = 0...253_402_300_799

    /// A decimal number; nil when the text is not one or the number is outside `range`.
    package static func decimal<Number: FixedWidthInteger>(
        _ text: some StringProtocol, in range: ClosedRange<Number>
    ) -> Number? {
        guard let value = digits(text.utf8, radix: 10), let number = Number(exactly: value) else { return nil }
        // The largest value stands for every number that is too large.
        guard range.contains(number), value != .max else { return nil }
        return number
    }

    /// A decimal number clamped to `range`; nil when the text is not one.
    package static func decimal<Number: FixedWidthInteger>(
        _ text: some StringProtocol, clampedTo range: ClosedRange<Number>
    ) -> Number? {
        guard let value = digits(text.utf8, radix: 10) else { return nil }
        return min(max(Number(clamping: value), range.lowerBound), range.upperBound)
    }

    /// A decimal number with an optional leading `-`; nil when the text is not one or the number is outside `range`.
    package static func signedDecimal(_ text: some StringProtocol, in range: ClosedRange<Int64>) -> Int64? {
        guard text.utf8.first == 0x2D else { return decimal(text, in: range) }
        guard let magnitude = decimal(text.dropFirst(), in: 0...Int64.max), range.contains(-magnitude) else {
            return nil
        }
        return -magnitude
    }

    /// A hexadecimal number; nil when the text is not one or the number is above `maximum`.
    package static func hexadecimal(_ text: some StringProtocol, atMost maximum: Int) -> Int? {
        guard let value = digits(text.utf8, radix: 16), let number = Int(exactly: value), number <= maximum else {
            return nil
        }
        return number
    }

    /// Seconds since 1970, clamped to `seconds`: the kernel may report any number for a file.
    package static func nearestSeconds(_ value: some BinaryInteger) -> Int64 {
        min(max(Int64(clamping: value), seconds.lowerBound), seconds.upperBound)
    }

    /// The value of one or more digits, at most `UInt64.max`; nil for anything else.
    private static func digits(_ text: some Sequence<UInt8>, radix: UInt64) -> UInt64? {
        var value: UInt64?
        for byte in text {
            guard let digit = digit(byte), digit < radix else { return nil }
            value = (value ?? 0).multipliedSaturated(by: radix).addingSaturated(digit)
        }
        return value
    }

    private static func digit(_ byte: UInt8) -> UInt64? {
        if ASCII.isDigit(byte) { return UInt64(byte &- 0x30) }
        return ASCII.isHexadecimal(byte) ? UInt64((byte | 0x20) &- 0x57) : nil
    }
}

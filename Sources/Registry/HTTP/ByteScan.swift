// Byte-level helpers of the parsers: ASCII character sets as two words, a search over eight bytes at a time, and
// case-insensitive comparison. None allocates, and all read only `from..<end`.

/// A set of ASCII characters, one bit each; bytes from 0x80 up are never members.
struct ASCIISet {
    let low: UInt64
    let high: UInt64

    @inline(__always)
    func contains(_ byte: UInt8) -> Bool {
        let word = byte < 64 ? low : high
        return byte < 128 && (word >> UInt64(byte & 63)) & 1 != 0
    }

    /// `tchar` of RFC 9110 §5.6.2: the characters of methods, field names and list tokens.
    @inline(__always)
    static var token: ASCIISet { ASCIISet(low: 0x03ff_6cfa_0000_0000, high: 0x57ff_ffff_c7ff_fffe) }

    /// The characters accepted in a host name: RFC 3986 `unreserved` and `%`, without `sub-delims` (no host name has
    /// one, and a comma would be two joined Host fields).
    @inline(__always)
    static var hostName: ASCIISet { ASCIISet(low: 0x03ff_6020_0000_0000, high: 0x47ff_fffe_87ff_fffe) }

    /// RFC 3986 `unreserved`: characters that need no escape anywhere in a URL.
    @inline(__always)
    static var unreserved: ASCIISet { ASCIISet(low: 0x03ff_6000_0000_0000, high: 0x47ff_fffe_87ff_fffe) }
}

enum ByteScan {
    /// The first byte in `from..<end` that is not a token character, or `end`.
    @inline(__always)
    static func endOfToken(_ base: UnsafeRawPointer, from: Int, end: Int) -> Int {
        let classes = tokenClasses.utf8Start
        var at = from
        while at < end, classes[Int(base.load(fromByteOffset: at, as: UInt8.self))] == 0x74 { at &+= 1 }
        return at
    }

    /// A table with `t` at each token character: one load instead of `ASCIISet`'s computation. A test compares the two.
    /// It is a literal, since access to a static array costs a once-check and reference counting.
    static var tokenClasses: StaticString {
        """
        .................................t.ttttt..tt.tt.tttttttttt......\
        .tttttttttttttttttttttttttt...ttttttttttttttttttttttttttttt.t.t.\
        ................................................................\
        ................................................................
        """
    }

    /// The first control character (0x00–0x1F, 0x7F) in `from..<end`, or `end`. It includes tab; the caller decides
    /// where a tab is valid.
    @inline(__always)
    static func firstControl(_ base: UnsafeRawPointer, from: Int, end: Int) -> Int {
        var at = from
        // Two words per step: most of a head consists of long values without a control character.
        while at &+ 16 <= end {
            let first = plainLanes(base.loadUnaligned(fromByteOffset: at, as: UInt64.self).littleEndian)
            let second = plainLanes(base.loadUnaligned(fromByteOffset: at &+ 8, as: UInt64.self).littleEndian)
            if first & second & topBits != topBits {
                let control = ~first & topBits
                return control != 0
                    ? at &+ control.trailingZeroBitCount / 8
                    : at &+ 8 &+ (~second & topBits).trailingZeroBitCount / 8
            }
            at &+= 16
        }
        while at < end {
            let byte = base.load(fromByteOffset: at, as: UInt8.self)
            if byte < 0x20 || byte == 0x7F { return at }
            at &+= 1
        }
        return end
    }

    /// The first byte in `from..<end` that a target parser has to examine: anything but visible ASCII, `#`, or `?`; or
    /// `end`.
    @inline(__always)
    static func firstTargetStop(_ base: UnsafeRawPointer, from: Int, end: Int) -> Int {
        var at = from
        while at < end {
            // Two words per step, as above. A stop that does not end the target is rare.
            if at &+ 16 <= end {
                let first = targetLanes(base.loadUnaligned(fromByteOffset: at, as: UInt64.self).littleEndian)
                let second = targetLanes(base.loadUnaligned(fromByteOffset: at &+ 8, as: UInt64.self).littleEndian)
                if (first | second) & topBits == 0 {
                    at &+= 16
                    continue
                }
                let stops = first & topBits
                at &+=
                    stops != 0
                    ? stops.trailingZeroBitCount / 8 : 8 &+ (second & topBits).trailingZeroBitCount / 8
            }
            let byte = base.load(fromByteOffset: at, as: UInt8.self)
            if byte < 0x21 || byte >= 0x7F || byte == 0x23 || byte == 0x3F { return at }
            at &+= 1
        }
        return end
    }

    private static var ones: UInt64 { 0x0101_0101_0101_0101 }
    private static var topBits: UInt64 { 0x8080_8080_8080_8080 }

    // In both functions each byte stays in its lane: an addition to the lower seven bits cannot carry into the next.

    /// The top bit of each byte that is not a control character; the other bits are undefined.
    @inline(__always)
    private static func plainLanes(_ word: UInt64) -> UInt64 {
        // Adding one in seven bits turns 0x7F into 0, so that all control characters are below 0x21.
        let shifted = ((word & ~topBits) &+ ones) & ~topBits
        return (shifted &+ ones &* 0x5F) | word
    }

    /// The top bit of each byte that may end a target. `!` and `"` are included, so that one comparison finds
    /// everything below 0x24. `?` and 0x7F differ in one bit, which a second comparison masks.
    @inline(__always)
    private static func targetLanes(_ word: UInt64) -> UInt64 {
        let low = word & ~topBits
        return ~(low &+ ones &* 0x5C) | ((low | ones &* 0x40) &+ ones) | word
    }
}

extension UnsafeRawBufferPointer {
    /// Whether these bytes equal `lowercase` (ASCII, in lower case), ignoring case.
    @inline(__always)
    func equalsIgnoringCase(_ lowercase: StaticString) -> Bool {
        count == lowercase.utf8CodeUnitCount && startsIgnoringCase(with: lowercase)
    }

    /// Whether these bytes begin with `lowercase` (ASCII, in lower case), ignoring case.
    @inline(__always)
    func startsIgnoringCase(with lowercase: StaticString) -> Bool {
        guard count >= lowercase.utf8CodeUnitCount else { return false }
        let expected = lowercase.utf8Start
        for index in 0..<lowercase.utf8CodeUnitCount where Self.lowered(self[index]) != expected[index] {
            return false
        }
        return true
    }

    @inline(__always)
    static func lowered(_ byte: UInt8) -> UInt8 {
        byte &- 0x41 < 26 ? byte | 0x20 : byte
    }

    /// The part `start..<end` of these bytes, indexed from zero.
    @inline(__always)
    func part(_ start: Int, _ end: Int) -> UnsafeRawBufferPointer {
        UnsafeRawBufferPointer(rebasing: self[start..<end])
    }

    /// The bytes without leading and trailing spaces and tabs (OWS, RFC 9110 §5.6.3).
    @inline(__always)
    var trimmed: UnsafeRawBufferPointer {
        var start = 0
        var end = count
        while start < end, self[start] == 0x20 || self[start] == 0x09 { start += 1 }
        while end > start, self[end - 1] == 0x20 || self[end - 1] == 0x09 { end -= 1 }
        return part(start, end)
    }
}

/// The elements of a comma-separated list, trimmed, without empty ones (RFC 9110 §5.6.1.2). Not for lists whose
/// elements may be quoted strings.
struct CommaList: Sequence, IteratorProtocol {
    private var rest: UnsafeRawBufferPointer

    init(_ bytes: UnsafeRawBufferPointer) {
        rest = bytes
    }

    mutating func next() -> UnsafeRawBufferPointer? {
        while !rest.isEmpty {
            let comma = rest.firstIndex(of: 0x2C) ?? rest.count
            let element = rest.part(0, comma).trimmed
            rest = rest.part(Swift.min(comma + 1, rest.count), rest.count)
            if !element.isEmpty { return element }
        }
        return nil
    }
}

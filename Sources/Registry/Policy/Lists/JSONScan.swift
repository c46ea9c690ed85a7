// The places of values in a JSON text (RFC 8259) that a decoder has accepted. A decoder gives values and not their
// texts, and an entry of a list is handed on as its author wrote it.

/// Finds members and elements by their places in a text. On a text that is not JSON it ends with an error or with
/// wrong places, and never reads outside the text.
struct JSONScan {
    /// The text cannot be scanned.
    struct Failure: Error {}

    private let bytes: [UInt8]
    private var at: Int

    /// - Parameter start: the first byte of the value to scan.
    init(_ bytes: [UInt8], at start: Int = 0) {
        self.bytes = bytes
        at = start
    }

    /// The places of an object's members, by their names as written. Names with escapes are left out.
    /// - Throws: when the value is not an object, or a wanted name occurs twice: decoders differ in which one counts.
    static func members(of bytes: [UInt8], named wanted: Set<String>) throws(Failure) -> [String: Range<Int>] {
        var scan = JSONScan(bytes)
        // A byte order mark, which some programs write.
        if bytes.starts(with: [0xEF, 0xBB, 0xBF]) { scan.at = 3 }
        var found: [String: Range<Int>] = [:]
        try scan.take(UInt8(ascii: "{"))
        if try scan.next() == UInt8(ascii: "}") { return found }
        while true {
            _ = try scan.next()
            let name = try scan.value()
            try scan.take(UInt8(ascii: ":"))
            _ = try scan.next()
            let value = try scan.value()
            // Without the quotes.
            let text = String(decoding: bytes[name].dropFirst().dropLast(), as: UTF8.self)
            if wanted.contains(text), found.updateValue(value, forKey: text) != nil { throw Failure() }
            guard try scan.next() == UInt8(ascii: ",") else { break }
            scan.at += 1
        }
        return found
    }

    /// The places of an array's elements.
    /// - Parameter start: the place of its bracket.
    static func elements(of bytes: [UInt8], at start: Int) throws(Failure) -> [Range<Int>] {
        var scan = JSONScan(bytes, at: start)
        var found: [Range<Int>] = []
        try scan.take(UInt8(ascii: "["))
        if try scan.next() == UInt8(ascii: "]") { return found }
        while true {
            _ = try scan.next()
            found.append(try scan.value())
            guard try scan.next() == UInt8(ascii: ",") else { return found }
            scan.at += 1
        }
    }

    /// Moves to the next byte that is not white space.
    private mutating func next() throws(Failure) -> UInt8 {
        while at < bytes.count {
            switch bytes[at] {
            case 0x20, 0x09, 0x0A, 0x0D: at += 1
            default: return bytes[at]
            }
        }
        throw Failure()
    }

    private mutating func take(_ byte: UInt8) throws(Failure) {
        guard try next() == byte else { throw Failure() }
        at += 1
    }

    /// Passes the value that begins here.
    private mutating func value() throws(Failure) -> Range<Int> {
        let start = at
        var depth = 0
        repeat {
            guard at < bytes.count else { throw Failure() }
            switch bytes[at] {
            case UInt8(ascii: "\""): try passString()
            case UInt8(ascii: "{"), UInt8(ascii: "["):
                depth += 1
                at += 1
            case UInt8(ascii: "}"), UInt8(ascii: "]"):
                depth -= 1
                at += 1
            default:
                // A number or a word, or within an object or array anything between its values.
                at += 1
                if depth == 0 {
                    while at < bytes.count, !JSONScan.endsWord(bytes[at]) { at += 1 }
                }
            }
        } while depth > 0
        guard depth == 0 else { throw Failure() }
        return start..<at
    }

    private static func endsWord(_ byte: UInt8) -> Bool {
        switch byte {
        case 0x20, 0x09, 0x0A, 0x0D, UInt8(ascii: ","), UInt8(ascii: "}"), UInt8(ascii: "]"), UInt8(ascii: ":"): true
        default: false
        }
    }

    private mutating func passString() throws(Failure) {
        at += 1
        while at < bytes.count {
            switch bytes[at] {
            case UInt8(ascii: "\\"): at += 2
            case UInt8(ascii: "\""):
                at += 1
                return
            default: at += 1
            }
        }
        throw Failure()
    }
}

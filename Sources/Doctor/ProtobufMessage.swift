// The part of Protocol Buffers' encoding (protobuf.dev, "Encoding") that the CRI's messages need here: fields with a
// length, which are strings, messages and entries of maps.

/// A message that is written or read field by field.
struct ProtobufMessage {
    private(set) var bytes: [UInt8] = []

    init() {}
    init(_ bytes: some Sequence<UInt8>) { self.bytes = Array(bytes) }

    /// Wire type 2: a length and so many bytes.
    private static let lengthDelimited: UInt64 = 2
    private static let varint: UInt64 = 0

    /// - Parameter field: its number, above 0.
    mutating func add(_ field: Int, _ text: String) { add(field, Array(text.utf8)) }
    mutating func add(_ field: Int, _ message: ProtobufMessage) { add(field, message.bytes) }

    mutating func add(_ field: Int, _ isTrue: Bool) {
        append(UInt64(clamping: field) << 3 | ProtobufMessage.varint)
        append(isTrue ? 1 : 0)
    }

    private mutating func add(_ field: Int, _ content: [UInt8]) {
        append(UInt64(clamping: field) << 3 | ProtobufMessage.lengthDelimited)
        append(UInt64(content.count))
        bytes += content
    }

    private mutating func append(_ number: UInt64) {
        var rest = number
        while rest >= 0x80 {
            bytes.append(UInt8(truncatingIfNeeded: rest) | 0x80)
            rest >>= 7
        }
        bytes.append(UInt8(truncatingIfNeeded: rest))
    }

    /// The contents of all length-delimited fields of this number. Reading ends at the first byte that is not the
    /// encoding of a message.
    func contents(of field: Int) -> [[UInt8]] {
        var found: [[UInt8]] = []
        var rest = bytes[...]
        while let key = Self.readNumber(&rest) {
            switch key & 7 {
            case Self.varint:
                if Self.readNumber(&rest) == nil { return found }
            case 1:
                guard rest.count >= 8 else { return found }
                rest.removeFirst(8)
            case 5:
                guard rest.count >= 4 else { return found }
                rest.removeFirst(4)
            case Self.lengthDelimited:
                guard let length = Self.readNumber(&rest), length <= UInt64(clamping: rest.count) else { return found }
                let content = rest.prefix(Int(length))  // bounded by the line before
                rest.removeFirst(content.count)
                if key >> 3 == UInt64(clamping: field) { found.append(Array(content)) }
            default: return found
            }
        }
        return found
    }

    func text(of field: Int) -> String? { contents(of: field).last.map { String(decoding: $0, as: UTF8.self) } }

    private static func readNumber(_ rest: inout ArraySlice<UInt8>) -> UInt64? {
        var number: UInt64 = 0
        for position in 0..<10 {
            guard let byte = rest.popFirst() else { return nil }
            // The tenth byte of a number holds its highest bit alone.
            if position == 9, byte > 1 { return nil }
            number |= UInt64(byte & 0x7F) << UInt64(clamping: 7 * position)
            if byte < 0x80 { return number }
        }
        return nil
    }
}

// The query of a request target as `name=value` pairs (`ns`, `n`, `last`, `artifactType`), and the way back for Link
// URLs. `+` stands for itself, not for a space: media types have one (`application/vnd.x+json`), and nothing asked
// for here has a space. A name sent twice, a broken escape or bytes that are not UTF-8 make an item malformed, never a
// guess.

package struct QueryItems {
    package enum Item: Equatable, Sendable {
        case absent, malformed
        case value(String)
    }

    private let query: UnsafeRawBufferPointer

    /// Of a query without its `?`; the bytes have to stay where they are for as long as this is used.
    package init(_ query: UnsafeRawBufferPointer) {
        self.query = query
    }

    /// The item called `name`.
    package func item(named name: StaticString) -> Item {
        var found = Item.absent
        for pair in query.split(separator: 0x26) {
            let equals = pair.firstIndex(of: 0x3D) ?? pair.endIndex
            guard Self.decode(pair[..<equals])?.utf8.elementsEqual(name.bytes) == true else { continue }
            guard found == .absent else { return .malformed }
            found = Self.decode(pair[equals...].dropFirst()).map(Item.value) ?? .malformed
        }
        return found
    }

    /// The value of the item called `name`; nil if there is none, or none that is well formed.
    package func value(named name: StaticString) -> String? {
        guard case .value(let text) = item(named: name) else { return nil }
        return text
    }

    /// `text` as it may stand for a name or value in a query: all but RFC 3986 `unreserved` percent-encoded.
    package static func encode(_ text: String) -> String {
        var encoded: [UInt8] = []
        for byte in text.utf8 {
            if ASCIISet.unreserved.contains(byte) {
                encoded.append(byte)
            } else {
                encoded.append(contentsOf: [0x25, hexDigit(byte >> 4), hexDigit(byte & 15)])
            }
        }
        return String(decoding: encoded, as: UTF8.self)
    }

    private static func decode(_ text: some Sequence<UInt8>) -> String? {
        var bytes: [UInt8] = []
        var source = text.makeIterator()
        while let byte = source.next() {
            guard byte == 0x25 else {
                bytes.append(byte)
                continue
            }
            guard let high = source.next().flatMap(hexValue), let low = source.next().flatMap(hexValue) else {
                return nil
            }
            bytes.append(high << 4 | low)
        }
        return String(validating: bytes, as: UTF8.self)
    }

    private static func hexValue(_ digit: UInt8) -> UInt8? {
        switch digit {
        case 0x30...0x39: digit - 0x30
        case 0x41...0x46: digit - 0x41 + 10
        case 0x61...0x66: digit - 0x61 + 10
        default: nil
        }
    }

    private static func hexDigit(_ value: UInt8) -> UInt8 {
        value < 10 ? 0x30 + value : 0x41 + value - 10
    }
}

extension StaticString {
    /// The characters of an ASCII literal.
    fileprivate var bytes: UnsafeBufferPointer<UInt8> {
        UnsafeBufferPointer(start: utf8Start, count: utf8CodeUnitCount)
    }
}

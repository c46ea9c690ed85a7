// The query of a request target as `name=value` pairs (`ns`, `n`, `last`, `artifactType`). `+` stands for itself, not
// for a space: media types have one (`application/vnd.x+json`), and nothing asked for here has a space. A name sent
// twice, a broken escape or bytes that are not UTF-8 make an item malformed, never a guess.

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

    /// The names there are, in order; nil for one that is not well formed.
    package var names: [String?] {
        query.split(separator: 0x26).map { pair in Self.decode(pair[..<(pair.firstIndex(of: 0x3D) ?? pair.endIndex)]) }
    }

    private static func decode(_ text: some Sequence<UInt8>) -> String? {
        PercentEncoding.decode(text).flatMap { String(validating: $0, as: UTF8.self) }
    }
}

extension StaticString {
    /// The characters of an ASCII literal.
    fileprivate var bytes: UnsafeBufferPointer<UInt8> {
        UnsafeBufferPointer(start: utf8Start, count: utf8CodeUnitCount)
    }
}

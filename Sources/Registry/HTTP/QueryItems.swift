// The query of a request target as `name=value` pairs (`ns`, `n`, `last`, `artifactType`). `+` is literal, not a space:
// media types contain it (`application/vnd.x+json`), and no parameter here contains a space. A repeated name, a
// malformed escape or bytes that are not UTF-8 make an item malformed.

package struct QueryItems {
    /// The state of one named item.
    package enum Item: Equatable, Sendable {
        case absent, malformed
        case value(String)
    }

    private let query: UnsafeRawBufferPointer

    /// The items of a query without its `?`; the bytes have to stay valid while this is used.
    package init(_ query: UnsafeRawBufferPointer) {
        self.query = query
    }

    /// The item named `name`.
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

    /// The value of the item named `name`; nil if it is absent or malformed.
    package func value(named name: StaticString) -> String? {
        guard case .value(let text) = item(named: name) else { return nil }
        return text
    }

    /// All names, in order; nil for a malformed one.
    package var names: [String?] {
        query.split(separator: 0x26).map { pair in Self.decode(pair[..<(pair.firstIndex(of: 0x3D) ?? pair.endIndex)]) }
    }

    private static func decode(_ text: some Sequence<UInt8>) -> String? {
        PercentEncoding.decode(text).flatMap { String(validating: $0, as: UTF8.self) }
    }
}

extension StaticString {
    /// The bytes of an ASCII literal.
    fileprivate var bytes: UnsafeBufferPointer<UInt8> {
        UnsafeBufferPointer(start: utf8Start, count: utf8CodeUnitCount)
    }
}

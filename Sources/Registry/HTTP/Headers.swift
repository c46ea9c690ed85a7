// Look-ups in the field lines of a parsed head, for fields off the hot path: repeated Accept lines, Via, Authorization,
// User-Agent. `RequestParser` has validated the block.

package struct Headers {
    private let block: UnsafeRawBufferPointer

    /// The fields of the head at the beginning of `bytes`, which have to stay valid while this is used.
    package init(_ head: RequestHead, in bytes: UnsafeRawBufferPointer) {
        block = head.fields.in(bytes)
    }

    /// The values of all lines named `name` (in lower case), in order, trimmed.
    package func values(named name: StaticString) -> [String] {
        var values: [String] = []
        forEach { field, value in
            if field.equalsIgnoringCase(name) { values.append(String(decoding: value, as: UTF8.self)) }
        }
        return values
    }

    /// The values of all lines named `name`, joined to one (RFC 9110 §5.2); nil if there is none.
    package func joined(named name: StaticString) -> String? {
        let values = values(named: name)
        return values.isEmpty ? nil : values.joined(separator: ", ")
    }

    /// Calls `body` with the name and value of every line, in order.
    package func forEach(_ body: (UnsafeRawBufferPointer, UnsafeRawBufferPointer) -> Void) {
        var rest = block
        while let colon = rest.firstIndex(of: 0x3A), let lineEnd = rest.firstIndex(of: 0x0D) {
            body(rest.part(0, colon), rest.part(colon + 1, lineEnd).trimmed)
            rest = rest.part(lineEnd + 2, rest.count)
        }
    }
}

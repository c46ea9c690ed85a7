// The field lines of a parsed head, for what is not on the hot path: repeated Accept lines, Via, Authorization,
// User-Agent. The block has been through `RequestParser`, so it is well formed; this only looks things up.

package struct Headers {
    private let block: UnsafeRawBufferPointer

    /// Of the head that `bytes` begin with, which have to stay where they are for as long as this is used.
    package init(_ head: RequestHead, in bytes: UnsafeRawBufferPointer) {
        block = head.fields.in(bytes)
    }

    /// The values of all lines called `name` (written in lower case), in order, without white space around them.
    package func values(named name: StaticString) -> [String] {
        var values: [String] = []
        forEach { field, value in
            if field.equalsIgnoringCase(name) { values.append(String(decoding: value, as: UTF8.self)) }
        }
        return values
    }

    /// The lines called `name` as the one they stand for (RFC 9110 §5.2); nil if there is none.
    package func joined(named name: StaticString) -> String? {
        let values = values(named: name)
        return values.isEmpty ? nil : values.joined(separator: ", ")
    }

    /// Calls `body` with name and value of every line, in order.
    package func forEach(_ body: (UnsafeRawBufferPointer, UnsafeRawBufferPointer) -> Void) {
        var rest = block
        while let colon = rest.firstIndex(of: 0x3A), let lineEnd = rest.firstIndex(of: 0x0D) {
            body(rest.part(0, colon), rest.part(colon + 1, lineEnd).trimmed)
            rest = rest.part(lineEnd + 2, rest.count)
        }
    }
}

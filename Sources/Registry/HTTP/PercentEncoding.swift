// `%XX` in paths and queries, both ways (RFC 3986 §2.1).

internal import OCI

package enum PercentEncoding {
    /// Decodes `%XX`; nil for a malformed escape, or an escaped byte that `allows` rejects.
    package static func decode(_ text: some Sequence<UInt8>, allows: (UInt8) -> Bool = { _ in true }) -> [UInt8]? {
        var bytes: [UInt8] = []
        var source = text.makeIterator()
        while let byte = source.next() {
            guard byte == 0x25 else {
                bytes.append(byte)
                continue
            }
            guard let high = source.next().flatMap(value), let low = source.next().flatMap(value) else { return nil }
            let escaped = high << 4 | low
            guard allows(escaped) else { return nil }
            bytes.append(escaped)
        }
        return bytes
    }

    /// `text` encoded for a name or value in a query: everything except RFC 3986 `unreserved` is escaped.
    package static func encode(_ text: String) -> String {
        var encoded: [UInt8] = []
        for byte in text.utf8 {
            if ASCIISet.unreserved.contains(byte) {
                encoded.append(byte)
            } else {
                encoded.append(contentsOf: [0x25, digit(byte >> 4), digit(byte & 15)])
            }
        }
        return String(decoding: encoded, as: UTF8.self)
    }

    private static func value(_ digit: UInt8) -> UInt8? {
        guard ASCII.isHexadecimal(digit) else { return nil }
        return ASCII.isDigit(digit) ? digit - 0x30 : (digit | 0x20) - 0x57
    }

    private static func digit(_ value: UInt8) -> UInt8 { value < 10 ? 0x30 + value : 0x37 + value }
}

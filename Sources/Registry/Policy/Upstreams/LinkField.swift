// The `Link` field (RFC 8288 §3): several links in one value, each with parameters.

internal import OCI

enum LinkField {
    /// The target of the first link whose relation types include `next`; nil where there is none, and behind what is no
    /// link.
    static func next(_ value: String) -> String? {
        let bytes = Array(value.utf8)
        var at = 0
        while at < bytes.count {
            guard bytes[at] != 0x20, bytes[at] != 0x09, bytes[at] != 0x2C else {
                at += 1
                continue
            }
            guard bytes[at] == 0x3C, let end = bytes[at...].firstIndex(of: 0x3E) else { return nil }
            let target = bytes[(at + 1)..<end]
            let parameters = part(of: bytes, from: end + 1, endingIn: 0x2C)
            if isNext(Array(parameters)) { return String(decoding: target, as: UTF8.self) }
            at = parameters.endIndex
        }
        return nil
    }

    private static func isNext(_ parameters: [UInt8]) -> Bool {
        var at = 0
        while at < parameters.count {
            let parameter = part(of: parameters, from: at, endingIn: 0x3B)
            at = parameter.endIndex + 1
            guard let equals = parameter.firstIndex(of: 0x3D) else { continue }
            let name = String(decoding: parameter[..<equals], as: UTF8.self).trimmed.asciiLowercased
            let text = String(decoding: parameter[(equals + 1)...], as: UTF8.self).trimmed.filter { $0 != "\"" }
            if name == "rel" { return text.asciiLowercased.split(separator: " ").contains("next") }
        }
        return false
    }

    /// The bytes up to a separator outside quotes.
    private static func part(of bytes: [UInt8], from start: Int, endingIn separator: UInt8) -> ArraySlice<UInt8> {
        var at = start
        var isQuoted = false
        while at < bytes.count, isQuoted || bytes[at] != separator {
            if isQuoted, bytes[at] == 0x5C { at += 1 } else if bytes[at] == 0x22 { isQuoted.toggle() }
            at += 1
        }
        return bytes[min(start, bytes.count)..<min(at, bytes.count)]
    }
}

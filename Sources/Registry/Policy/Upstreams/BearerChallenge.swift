// The `WWW-Authenticate` header of an upstream's 401.

internal import OCI

/// One challenge (RFC 9110 §11.6.1).
package struct BearerChallenge: Equatable, Sendable {
    package enum Scheme: Sendable { case bearer, basic }

    package let scheme: Scheme
    /// Bearer: the URL of the token service (distribution's token specification). Empty for Basic.
    package let realm: String
    package let service: String?
    /// Space-separated where there are several.
    package let scope: String?

    /// The challenge to answer, from all values of the header in order: Bearer with a realm before Basic. Nil when
    /// there is neither.
    package static func parse(_ values: [String]) -> BearerChallenge? {
        let all = values.flatMap { parseOne($0) }
        return all.first { $0.scheme == .bearer } ?? all.first
    }

    /// Longest header value that is parsed, in bytes; a realm and a scope of several repositories fit many times.
    static let maximumBytes = 16 * 1024

    private static func parseOne(_ value: String) -> [BearerChallenge] {
        guard value.utf8.count <= maximumBytes else { return [] }
        var reader = ChallengeReader(value)
        return reader.challenges().compactMap { BearerChallenge(name: $0.scheme, parameters: $0.parameters) }
    }

    private init?(name: String, parameters: [String: String]) {
        switch name {
        case "bearer":
            guard let realm = parameters["realm"], !realm.isEmpty else { return nil }
            scheme = .bearer
            self.realm = realm
        case "basic":
            scheme = .basic
            realm = ""
        default: return nil
        }
        service = parameters["service"]
        scope = parameters["scope"]
    }
}

/// Reads `scheme name=value, name="value", scheme …` (RFC 9110 §11.3). A word followed by `=` is a parameter; any other
/// word begins a challenge.
private struct ChallengeReader {
    private let bytes: [UInt8]
    private var index = 0

    init(_ value: String) { bytes = Array(value.utf8) }

    /// All challenges up to the first syntax error.
    mutating func challenges() -> [(scheme: String, parameters: [String: String])] {
        var result: [(scheme: String, parameters: [String: String])] = []
        while true {
            skip { $0 == 0x20 || $0 == 0x09 || $0 == 0x2C }
            guard let word = token() else { return result }
            skip { $0 == 0x20 || $0 == 0x09 }
            guard peek == 0x3D else {
                result.append((word.asciiLowercased, [:]))
                continue
            }
            guard !result.isEmpty, let value = parameterValue() else { return result }
            // A repeated name violates the grammar; the first value stays, so that appended text cannot replace it.
            let name = word.asciiLowercased
            if result[result.count - 1].parameters[name] == nil { result[result.count - 1].parameters[name] = value }
        }
    }

    private var peek: UInt8? { index < bytes.count ? bytes[index] : nil }

    private mutating func skip(_ matches: (UInt8) -> Bool) {
        while let byte = peek, matches(byte) { index += 1 }
    }

    private mutating func token() -> String? {
        let start = index
        skip { ASCII.isLetter($0) || ASCII.isDigit($0) || ChallengeReader.marks.contains($0) }
        return start == index ? nil : String(decoding: bytes[start..<index], as: UTF8.self)
    }

    /// The marks of RFC 9110 §5.6.2, plus `:` and `/` for servers that leave a URL unquoted.
    private static let marks = Set("!#$%&'*+-.^_`|~:/".utf8)

    /// Reads `= token` or `= "quoted"`; nil when neither follows, or the quote is not closed.
    private mutating func parameterValue() -> String? {
        index += 1
        skip { $0 == 0x20 || $0 == 0x09 }
        guard peek == 0x22 else { return token() }
        index += 1
        var value: [UInt8] = []
        while let byte = peek {
            index += 1
            if byte == 0x22 { return String(decoding: value, as: UTF8.self) }
            if byte == 0x5C, let escaped = peek {
                index += 1
                value.append(escaped)
            } else {
                value.append(byte)
            }
        }
        return nil
    }
}

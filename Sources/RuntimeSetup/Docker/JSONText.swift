// A JSON object with the places of its top-level keys, for insertions that keep everything else as it is written.

internal import FoundationEssentials

/// A value of any kind, to compare what is read before and after a change.
enum JSONValue: Decodable, Equatable {
    case null
    case boolean(Bool)
    case number(Double)
    case string(String)
    case array([JSONValue])
    case object([String: JSONValue])

    init(from decoder: any Decoder) throws {
        let container = try decoder.singleValueContainer()
        if container.decodeNil() {
            self = .null
        } else if let value = try? container.decode(Bool.self) {
            self = .boolean(value)
        } else if let value = try? container.decode(Double.self) {
            self = .number(value)
        } else if let value = try? container.decode(String.self) {
            self = .string(value)
        } else if let value = try? container.decode([JSONValue].self) {
            self = .array(value)
        } else {
            self = .object(try container.decode([String: JSONValue].self))
        }
    }
}

/// A text whose value is an object.
struct JSONText {
    /// A top-level key.
    struct Member {
        let key: String
        /// From 1.
        let line: Int
        /// Of the value, in bytes.
        let value: Range<Int>
    }

    let values: [String: JSONValue]
    let members: [Member]
    /// Where the first key may be: behind the brace.
    let start: Int

    /// Nil for anything that is no JSON object.
    init?(_ bytes: [UInt8]) {
        // What is valid JSON is the decoder's business: the scan below only finds places. Foundation accepts a comma
        // behind the last value, dockerd does not.
        guard !bytes.contains(0), let decoded = try? JSONDecoder().decode(JSONValue.self, from: Data(bytes)),
            case .object(let values) = decoded, let brace = bytes.firstIndex(of: 0x7B), !Self.hasTrailingComma(bytes)
        else { return nil }
        self.values = values
        start = brace + 1
        var scan = Scan(bytes: bytes, at: start)
        guard let members = scan.members() else { return nil }
        self.members = members
    }

    private static func hasTrailingComma(_ bytes: [UInt8]) -> Bool {
        var isInString = false
        var isEscaped = false
        /// The last byte that is no white space.
        var last: UInt8 = 0
        for byte in bytes where isInString || ![0x20, 0x09, 0x0A, 0x0D].contains(byte) {
            if isInString {
                if byte == 0x22, !isEscaped { isInString = false }
                isEscaped = byte == 0x5C && !isEscaped
            } else if byte == 0x22 {
                isInString = true
            } else if last == 0x2C, byte == 0x7D || byte == 0x5D {
                return true
            }
            last = byte
        }
        return false
    }

    /// A JSON string of the text.
    static func quoted(_ text: String) -> String {
        var quoted = "\""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\"", "\\": quoted += "\\\(Character(scalar))"
            case "\u{0}"..<"\u{20}":
                let digits = String(scalar.value, radix: 16)
                quoted += "\\u" + String(repeating: "0", count: 4 - digits.utf8.count) + digits
            default: quoted.unicodeScalars.append(scalar)
            }
        }
        return quoted + "\""
    }

    /// Goes through the bytes of valid JSON.
    private struct Scan {
        let bytes: [UInt8]
        var at: Int

        private var byte: UInt8 { at < bytes.count ? bytes[at] : 0 }

        mutating func members() -> [Member]? {
            var members: [Member] = []
            while true {
                skip { [0x20, 0x09, 0x0A, 0x0D, 0x2C].contains($0) }
                if byte == 0x7D { return members }
                guard byte == 0x22 else { return nil }
                let keyStart = at
                passString()
                guard let key = try? JSONDecoder().decode(String.self, from: Data(bytes[keyStart..<at])) else {
                    return nil
                }
                skip { [0x20, 0x09, 0x0A, 0x0D, 0x3A].contains($0) }
                let start = at
                passValue()
                guard at > start else { return nil }
                let line = bytes[..<keyStart].count { $0 == 0x0A } + 1
                members.append(.init(key: key, line: line, value: start..<at))
            }
        }

        private mutating func skip(while condition: (UInt8) -> Bool) {
            while at < bytes.count, condition(bytes[at]) { at += 1 }
        }

        private mutating func passString() {
            at += 1
            while at < bytes.count, bytes[at] != 0x22 { at += bytes[at] == 0x5C ? 2 : 1 }
            at = min(at + 1, bytes.count)
        }

        private mutating func passValue() {
            var depth = 0
            while at < bytes.count {
                switch bytes[at] {
                case 0x22:
                    passString()
                    if depth == 0 { return }
                    continue
                case 0x5B, 0x7B: depth += 1
                case 0x5D, 0x7D:
                    if depth == 0 { return }
                    depth -= 1
                    if depth == 0 {
                        at += 1
                        return
                    }
                case 0x2C, 0x20, 0x09, 0x0A, 0x0D: if depth == 0 { return }
                default: break
                }
                at += 1
            }
        }
    }
}

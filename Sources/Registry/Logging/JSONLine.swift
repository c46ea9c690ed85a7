// One log line as a JSON object (RFC 8259). Pure. Every line is valid JSON: strings are shortened before they are
// closed, and a member that does not fit is left out as a whole. As in a text line, invisible characters are escaped,
// so that a terminal can show the file.

internal import Configuration
internal import Logging
internal import OCI

struct JSONLine {
    /// A long message must leave room for the following members, such as the status and id of a request.
    private static let maximumMessageBytes = LogFormat.maximumBytes / 2
    /// A long value must leave room for the other members too.
    private static let maximumValueBytes = LogFormat.maximumBytes / 8
    /// Marks a line with missing content; ends every line that is too long.
    private static let truncation: StaticString = ",\"truncated\":true"
    /// Bytes reserved for the end of the line.
    private static let endBytes = truncation.utf8CodeUnitCount + "}\n".utf8.count
    /// Keys of the line itself; metadata with such a key gets an underscore.
    private static let reserved: Set<String> = ["time", "level", "msg", "truncated"]

    private var bytes: [UInt8] = []
    private var isCut = false

    /// `{"time":…,"level":…,"msg":…}` followed by the metadata, sorted by key, and a line feed.
    static func make(
        milliseconds: Int64, level: Logger.Level, message: String, metadata: Logger.Metadata
    ) -> [UInt8] {
        var line = JSONLine()
        line.bytes.reserveCapacity(256)
        line.append("{\"time\":\"")
        LogTimestamp.append(milliseconds, to: &line.bytes)
        line.append("\",\"level\":\"")
        line.append(level.word)
        line.append("\",\"msg\":")
        line.appendString(message, maximumBytes: maximumMessageBytes)
        for (key, value) in metadata.sorted(by: { $0.key < $1.key }) {
            var name = key
            while reserved.contains(name) || (name != key && metadata[name] != nil) { name += "_" }
            line.appendMember(name, value)
        }
        if line.isCut { line.append(truncation) }
        line.append("}\n")
        return line.bytes
    }

    /// Appends `,"key":value`, or nothing when it does not fit.
    private mutating func appendMember(_ key: String, _ value: Logger.MetadataValue) {
        let before = bytes.count
        append(",")
        guard appendString(key, maximumBytes: Self.maximumValueBytes) else { return drop(to: before) }
        append(":")
        if let number = value.jsonNumber {
            bytes.append(contentsOf: number.utf8)
        } else {
            appendString(value.description, maximumBytes: Self.maximumValueBytes)
        }
        if bytes.count > LogFormat.maximumBytes - Self.endBytes { drop(to: before) }
    }

    private mutating func drop(to count: Int) {
        bytes.removeLast(bytes.count - count)
        isCut = true
    }

    /// Appends a quoted string, shortened to `maximumBytes`.
    /// - Returns: whether it is complete.
    @discardableResult
    private mutating func appendString(_ text: String, maximumBytes: Int) -> Bool {
        let end = bytes.count + maximumBytes
        var isWhole = true
        append("\"")
        for scalar in text.unicodeScalars {
            guard bytes.count < end else {
                isWhole = false
                isCut = true
                break
            }
            appendCharacter(scalar)
        }
        append("\"")
        return isWhole
    }

    private mutating func appendCharacter(_ scalar: Unicode.Scalar) {
        switch scalar {
        case "\"": append("\\\"")
        case "\\": append("\\\\")
        case "\n": append("\\n")
        case "\r": append("\\r")
        case "\t": append("\\t")
        case " "..."~": bytes.append(UInt8(truncatingIfNeeded: scalar.value))
        case _ where scalar.isVisible: bytes.append(contentsOf: UTF8.encode(scalar) ?? UTF8.encodedReplacementCharacter)
        default: UTF16.encode(scalar)?.forEach { appendEscape($0) }
        }
    }

    /// Appends an escape such as `\u001b`.
    private mutating func appendEscape(_ unit: UInt16) {
        append("\\u")
        for shift: UInt16 in [12, 8, 4, 0] {
            bytes.append(ASCII.hexadecimalDigit(UInt8(truncatingIfNeeded: unit >> shift & 0xF)))
        }
    }

    private mutating func append(_ text: StaticString) {
        text.withUTF8Buffer { bytes.append(contentsOf: $0) }
    }
}

extension Logger.Level {
    /// The configuration's name of the level; swift-log's name for a level that the configuration lacks.
    fileprivate var word: StaticString {
        switch self {
        case .trace: "trace"
        case .debug: "debug"
        case .info: "info"
        case .notice: "notice"
        case .warning: "warn"
        case .error: "error"
        case .critical: "critical"
        }
    }
}

extension Logger.MetadataValue {
    /// The JSON form of a finite number or a boolean; nil for a value that has to be a string.
    fileprivate var jsonNumber: String? {
        guard case .stringConvertible(let value) = self else { return nil }
        switch value {
        case let integer as any FixedWidthInteger: return String(describing: integer)
        case let number as Double where number.isFinite: return String(describing: number)
        case let flag as Bool: return flag ? "true" : "false"
        default: return nil
        }
    }
}

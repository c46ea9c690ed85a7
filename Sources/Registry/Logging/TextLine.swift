// One log line as text: time, level, message, then `key=value`. Pure. Much of the logged text comes from clients and
// upstreams, so only visible characters are written: a line break in a path cannot forge a second line, and an escape
// sequence cannot control the reader's terminal.

internal import Configuration
internal import Logging

enum TextLine {
    private static let maximumBytes = LogFormat.maximumBytes

    /// `2026-11-22T16:00:00.123Z INFO message key=value key="two words"` and a line feed, sorted by key.
    static func make(
        milliseconds: Int64, level: Logger.Level, message: String, metadata: Logger.Metadata
    ) -> [UInt8] {
        var line: [UInt8] = []
        line.reserveCapacity(160)
        LogTimestamp.append(milliseconds, to: &line)
        line.append(UInt8(ascii: " "))
        level.column.withUTF8Buffer { line.append(contentsOf: $0) }
        line.append(UInt8(ascii: " "))
        append(message, to: &line)
        for (key, value) in metadata.sorted(by: { $0.key < $1.key }) {
            line.append(UInt8(ascii: " "))
            append(key, to: &line)
            line.append(UInt8(ascii: "="))
            appendValue(value.description, to: &line)
        }
        finish(&line)
        return line
    }

    /// Appends a value, quoted if it contains a blank, a quote or an equals sign, so that `key=value` can be split
    /// again.
    private static func appendValue(_ value: String, to line: inout [UInt8]) {
        let isPlain = !value.isEmpty && value.utf8.allSatisfy { $0 > 0x20 && $0 != 0x22 && $0 != 0x3D }
        if isPlain { return append(value, to: &line) }
        line.append(0x22)
        append(value, quoted: true, to: &line)
        line.append(0x22)
    }

    /// Appends `text`, with every invisible character except a space escaped as in a Swift literal.
    private static func append(_ text: String, quoted: Bool = false, to line: inout [UInt8]) {
        for scalar in text.unicodeScalars {
            if line.count >= maximumBytes { return }
            switch scalar {
            case "\n": line.append(contentsOf: "\\n".utf8)
            case "\r": line.append(contentsOf: "\\r".utf8)
            case "\t": line.append(contentsOf: "\\t".utf8)
            case "\\": line.append(contentsOf: "\\\\".utf8)
            case "\"" where quoted: line.append(contentsOf: "\\\"".utf8)
            case " "..."~": line.append(UInt8(truncatingIfNeeded: scalar.value))
            default:
                let shown = scalar.isVisible ? String(scalar) : "\\u{\(String(scalar.value, radix: 16))}"
                line.append(contentsOf: shown.utf8)
            }
        }
    }

    private static func finish(_ line: inout [UInt8]) {
        if line.count >= maximumBytes { line.append(contentsOf: " …".utf8) }
        line.append(UInt8(ascii: "\n"))
    }
}

// The shape of a log line as text, and that nothing written by a stranger can change it.

import Logging
import TestSupport
import Testing

@testable import Configuration
@testable import Registry

struct TextLineTests {
    private func line(_ message: String, _ metadata: Logger.Metadata = [:], level: Logger.Level = .info) -> String {
        let bytes = LogFormat.text.line(
            milliseconds: 1_795_363_200_123, level: level, message: message, metadata: metadata)
        return String(decoding: bytes, as: UTF8.self)
    }

    @Test("a text line has time, level, message and then key=value pairs") func shape() {
        #expect(
            line("started", ["port": "8080", "host": "::1", "n": "\(1)"])
                == "2026-11-22T16:00:00.123Z INFO  started host=::1 n=1 port=8080\n")
        #expect(line("m", level: .warning) == "2026-11-22T16:00:00.123Z WARN  m\n")
        #expect(line("m", level: .error) == "2026-11-22T16:00:00.123Z ERROR m\n")
    }

    @Test(
        "timestamps are UTC with milliseconds",
        arguments: [
            (0, "1970-01-01T00:00:00.000Z"), (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (1_709_251_199_999, "2024-02-29T23:59:59.999Z"), (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
            (-1, "1969-12-31T23:59:59.999Z"), (1_735_689_599_000, "2024-12-31T23:59:59.000Z"),
        ])
    func timestamps(_ milliseconds: Int64, _ text: String) {
        var bytes: [UInt8] = []
        LogTimestamp.append(milliseconds, to: &bytes)
        #expect(String(decoding: bytes, as: UTF8.self) == text)
    }

    @Test(
        "control and invisible characters are escaped in messages",
        arguments: [
            ("a\nb\r\n", #"a\nb\r\n"#), ("\u{1B}[2J", #"\u{1b}[2J"#), ("a\tb\0", #"a\tb\u{0}"#),
            ("\u{7F}\u{85}", #"\u{7f}\u{85}"#),
            ("\u{2028}\u{2029}", #"\u{2028}\u{2029}"#), ("\u{202E}evil\u{200B}", #"\u{202e}evil\u{200b}"#),
            (#"a\nb"#, #"a\\nb"#), ("größe 日本 🐳", "größe 日本 🐳"), ("\u{E000}\u{FFFE}", #"\u{e000}\u{fffe}"#),
        ])
    func escaping(_ message: String, _ shown: String) {
        #expect(line(message) == "2026-11-22T16:00:00.123Z INFO  \(shown)\n")
    }

    @Test(
        "metadata values with spaces, quotes or = are quoted",
        arguments: [
            ("two words", #""two words""#), ("", #""""#), (#"a"b"#, #""a\"b""#), ("a=b", #""a=b""#),
            ("x\n2026-11-22T16:00:00.123Z ERROR forged", #""x\n2026-11-22T16:00:00.123Z ERROR forged""#),
        ])
    func quoting(_ value: String, _ shown: String) {
        #expect(line("m", ["k": "\(value)"]) == "2026-11-22T16:00:00.123Z INFO  m k=\(shown)\n")
    }

    @Test("metadata keys are escaped") func keys() {
        #expect(line("m", ["a\nb": "c"]) == "2026-11-22T16:00:00.123Z INFO  m a\\nb=c\n")
    }

    @Test("a long line is truncated and ends in one newline") func longLines() {
        let cut = line(String(repeating: "x", count: 100_000), ["k": "v"])
        #expect(cut.utf8.count < LogFormat.maximumBytes + 32)
        #expect(cut.hasSuffix(" …\n"))
        #expect(cut.filter { $0 == "\n" }.count == 1)
    }
}

// A log line as JSON parses whatever was logged, and says what was logged.

import Foundation
import Logging
import TestSupport
import Testing

@testable import Configuration
@testable import Registry

struct JSONLineTests {
    private func bytes(_ message: String, _ metadata: Logger.Metadata = [:], level: Logger.Level = .info) -> [UInt8] {
        LogFormat.json.line(
            milliseconds: 1_795_363_200_123, level: level, message: message, metadata: metadata)
    }

    private func line(_ message: String, _ metadata: Logger.Metadata = [:], level: Logger.Level = .info) -> String {
        String(decoding: bytes(message, metadata, level: level), as: UTF8.self)
    }

    /// The line as an object; what must be true of every line is looked at here.
    private func object(_ message: String, _ metadata: Logger.Metadata = [:]) throws -> [String: Any] {
        let bytes = bytes(message, metadata)
        #expect(bytes.count <= LogFormat.maximumBytes)
        #expect(bytes.allSatisfy { $0 >= 0x20 && $0 != 0x7F || $0 == 0x0A })
        #expect(bytes.firstIndex(of: 0x0A) == bytes.count - 1, "one line")
        #expect(String(validating: bytes, as: UTF8.self) != nil)
        return try #require(try JSONSerialization.jsonObject(with: Data(bytes)) as? [String: Any])
    }

    @Test("a JSON line has time, level, msg and then the metadata by key") func shape() {
        #expect(
            line("started", ["port": .stringConvertible(8080), "host": "::1", "at": "/v2/"])
                == #"{"time":"2026-11-22T16:00:00.123Z","level":"info","msg":"started","at":"/v2/","#
                + #""host":"::1","port":8080}"# + "\n")
        #expect(line("m", level: .warning).contains(#""level":"warn""#))
        #expect(line("m", level: .error).contains(#""level":"error""#))
    }

    @Test(
        "control and invisible characters are escaped in JSON strings",
        arguments: [
            ("a\"b\\c", #"a\"b\\c"#), ("a\nb\r\tc", #"a\nb\r\tc"#), ("\u{1B}[2J\0", #"\u001b[2J\u0000"#),
            ("\u{7F}\u{85}\u{2028}", #"\u007f\u0085\u2028"#), ("\u{202E}x\u{E0001}", #"\u202ex\udb40\udc01"#),
            ("größe 日本 🐳", "größe 日本 🐳"),
        ])
    func escaping(_ message: String, _ shown: String) throws {
        #expect(line(message).contains("\"msg\":\"\(shown)\"}"))
        #expect(try object(message)["msg"] as? String == message)
    }

    @Test("numbers and booleans are JSON values, and texts of digits stay strings") func numbers() throws {
        let given = try object(
            "m",
            [
                "int": .stringConvertible(-5), "large": .stringConvertible(UInt64.max),
                "double": .stringConvertible(0.25), "tiny": .stringConvertible(1.5e-300),
                "flag": .stringConvertible(true), "nan": .stringConvertible(Double.nan),
                "infinite": .stringConvertible(Double.infinity), "text": "17",
                "list": .array(["a", .stringConvertible(1)]),
            ])
        #expect(given["int"] as? Int == -5)
        #expect(given["large"] as? UInt64 == .max)
        #expect(given["double"] as? Double == 0.25)
        #expect(given["tiny"] is NSNumber)
        #expect(given["flag"] as? Bool == true)
        #expect(given["nan"] as? String == "nan" && given["infinite"] as? String == "inf")
        #expect(given["text"] as? String == "17")
        #expect(given["list"] is String)
    }

    @Test("metadata with a reserved key is renamed with an underscore") func reservedKeys() throws {
        let given = try object("m", ["msg": "mine", "msg_": "second", "level": "l", "time": "t", "truncated": "x"])
        #expect(given["msg"] as? String == "m" && given["level"] as? String == "info")
        #expect(given["msg__"] as? String == "mine" && given["msg_"] as? String == "second")
        #expect(given["level_"] as? String == "l" && given["truncated_"] as? String == "x")
        #expect(given["truncated"] == nil)
    }

    @Test("a long message is truncated, and the metadata stays") func longMessage() throws {
        let given = try object(
            String(repeating: "\u{1}", count: 100_000), ["status": .stringConvertible(404), "id": "abc"])
        #expect(given["status"] as? Int == 404 && given["id"] as? String == "abc")
        #expect(given["truncated"] as? Bool == true)
    }

    @Test("metadata beyond the limit is dropped entry by entry") func oversizedMetadata() throws {
        var metadata: Logger.Metadata = [:]
        for index in 100..<160 { metadata["k\(index)"] = "\(String(repeating: "\"", count: 150))" }
        metadata[String(repeating: "k", count: 5000)] = "long key"
        let given = try object("m", metadata)
        #expect(given["truncated"] as? Bool == true)
        for (key, value) in given where key.hasPrefix("k") { #expect((value as? String)?.utf8.count == 150) }
    }

    @Test("random hostile messages and metadata give valid JSON") func hostileInputs() throws {
        var random = SeededRandom(seed: .random(in: 0 ... .max))
        for round in 0..<1000 {
            // Short most of the time, so that combinations matter; long now and then, for the bound.
            let scale = round % 50 == 0 ? 20_000 : 40
            var metadata: Logger.Metadata = [:]
            for _ in 0..<Int.random(in: 0...6, using: &random) {
                metadata[hostile(&random, upTo: scale / 4)] = "\(hostile(&random, upTo: scale))"
            }
            let message = hostile(&random, upTo: scale)
            let given = try object(message, metadata)
            let shown = try #require(given["msg"] as? String, "seed \(random.seed)")
            // Foundation compares by canonical equivalence; the scalars are what was logged.
            #expect(Array(message.unicodeScalars).starts(with: Array(shown.unicodeScalars)), "seed \(random.seed)")
            if given["truncated"] == nil { #expect(given.count == metadata.count + 3, "seed \(random.seed)") }
        }
    }

    /// Random bytes taken for UTF-8, or random characters from the dangerous ones.
    private func hostile(_ random: inout SeededRandom, upTo limit: Int) -> String {
        let count = Int.random(in: 0...max(limit, 1), using: &random)
        if Bool.random(using: &random) { return String(decoding: random.bytes(count), as: UTF8.self) }
        var text = ""
        for _ in 0..<count { text.unicodeScalars.append(Self.dangerous.randomElement(using: &random) ?? "x") }
        return text
    }

    private static let dangerous: [Unicode.Scalar] = [
        "\"", "\\", "\n", "\r", "\t", "\0", "\u{1B}", "\u{7F}", "\u{80}", "\u{2028}", "\u{202E}", "\u{FEFF}",
        "\u{FFFE}", "\u{10FFFF}", "\u{E000}", "\u{1F433}", "\u{301}", "{", "}", ":", ",", "/", "u", "e",
    ]

    @Test("the report of dropped lines is a JSON line") func droppedLines() throws {
        let directory = try TemporaryDirectory()
        let path = directory.file("log")
        try FileManager.default.createSymbolicLink(atPath: path, withDestinationPath: "/dev/full")
        let writer = try LogWriter(path: path, format: .json, level: .info)
        let logger = Logger(label: "test") { _ in LineLogHandler(writer: writer, now: { 0 }) }
        logger.info("lost")
        #expect(writer.flush(timeoutMilliseconds: 60_000))
        try FileManager.default.removeItem(atPath: path)
        writer.reopen()
        logger.error("kept", metadata: ["n": .stringConvertible(2)])
        writer.close(timeoutMilliseconds: 60_000)
        let lines = try String(contentsOfFile: path, encoding: .utf8).split(separator: "\n")
        let objects = try lines.map { try JSONSerialization.jsonObject(with: Data($0.utf8)) as? [String: Any] }
        // Which comes first depends on when the writer's thread opens the file anew.
        let byLevel = Dictionary(uniqueKeysWithValues: objects.map { ($0?["level"] as? String ?? "", $0) })
        #expect(byLevel.count == 2)
        #expect(byLevel["error"]??["n"] as? Int == 2)
        #expect(byLevel["warn"]??["lines"] as? Int == 1)
    }
}

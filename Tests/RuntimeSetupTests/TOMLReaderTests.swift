// TOML 1.0, read with order and places.

import TestSupport
import Testing

@testable import RuntimeSetup

@Suite struct TOMLReaderTests {
    private static func read(_ text: String) throws(TOMLFailure) -> TOMLDocument {
        try TOMLReader.read(Array(text.utf8))
    }

    @Test(
        "each kind of string has the value that TOML gives it",
        arguments: [
            (#""plain""#, "plain"), (#""\" \\ \b\t\n\f\r \u00e9 \U0001F600""#, "\" \\ \u{8}\t\n\u{c}\r é 😀"),
            (#"'C:\dir'"#, #"C:\dir"#), ("\"\"", ""), ("''", ""), ("\"\"\"\none\ntwo\"\"\"", "one\ntwo"),
            ("\"\"\"one \\\n   two\"\"\"", "one two"), ("'''\n'quoted''''", "'quoted'"),
            ("\"\"\"a\"\"b\"\"\"\"\"", "a\"\"b\"\""),
            ("\"\"\"\r\none\r\n\"\"\"", "one\r\n"),
        ])
    func strings(_ written: String, _ value: String) throws {
        #expect(try Self.read("key = \(written)").root["key"] == .string(value))
    }

    @Test("numbers, dates and booleans are told apart") func values() throws {
        let cases: [(String, TOMLValue)] = [
            ("0", .integer(0)), ("+1_000", .integer(1000)), ("-17", .integer(-17)),
            ("0xDEAD_beef", .integer(0xDEAD_BEEF)),
            ("0o755", .integer(0o755)), ("0b1101", .integer(13)), ("9223372036854775807", .integer(.max)),
            ("true", .boolean(true)),
            ("1.5", .other("1.5")), ("-6.02e+23", .other("-6.02e+23")), ("1e6", .other("1e6")), ("nan", .other("nan")),
            ("1979-05-27", .other("1979-05-27")), ("1979-05-27 07:32:00", .other("1979-05-27 07:32:00")),
            ("1979-05-27T00:32:00.999999-07:00", .other("1979-05-27T00:32:00.999999-07:00")),
            ("07:32:00", .other("07:32:00")),
            (
                "[1, [\"a\"], { b = 2 },\n# comment\n]",
                .array([.integer(1), .array([.string("a")]), .table(Self.inline("b", 2))])
            ),
        ]
        for (written, value) in cases {
            #expect(try Self.read("key = \(written) # comment\r\n").root["key"] == value, "\(written)")
        }
    }

    private static func inline(_ key: String, _ value: Int) -> TOMLTable {
        let table = TOMLTable(.inline)
        table.set(key, .integer(value), .init(line: 1, key: 0, value: 0..<0, isInline: true))
        return table
    }

    @Test("tables are reached by headers, dotted keys and quoted keys")
    func tables() throws {
        let document = try Self.read(
            """
            a.b."c d" = 1
            [plugins."io.containerd.grpc.v1.cri" . registry]
              config_path = "/etc"
            [[list]]
            x = 1
            [list.sub]
            y = 2
            [[list]]
            [plugins]
            z = 3
            """)
        let root = document.root
        #expect(root.keys == ["a", "plugins", "list"])
        #expect(root.value(at: ["a", "b", "c d"]) == .integer(1))
        #expect(root.value(at: ["plugins", "io.containerd.grpc.v1.cri", "registry", "config_path"]) == .string("/etc"))
        #expect(root["list"]?.tables?.map(\.keys) == [["x", "sub"], []])
        #expect(root.value(at: ["plugins", "z"]) == .integer(3))
        #expect(document.headers.map(\.line) == [2, 4, 6, 8, 9])
        #expect(document.headers[0].path == ["plugins", "io.containerd.grpc.v1.cri", "registry"])
    }

    @Test("places of keys and headers are those of the text")
    func places() throws {
        let text = "# one\nkey = 'value' # x\n[table]\n  inner=1"
        let document = try Self.read(text)
        let bytes = Array(text.utf8)
        let place = try #require(document.root.place(of: "key"))
        #expect(place.line == 2 && place.key == 6)
        #expect(String(decoding: bytes[place.value], as: UTF8.self) == "'value'")
        let header = try #require(document.headers.first)
        #expect(String(decoding: bytes[header.start..<header.end], as: UTF8.self) == "[table]\n")
        #expect(document.root["table"]?.table?.place(of: "inner")?.line == 4)
    }

    @Test(
        "invalid documents are refused at their place",
        arguments: [
            ("key", 1, 4), ("key =", 1, 6), ("key = 1 2", 1, 9), ("key = word", 1, 7), ("a = 1\na = 2", 2, 5),
            ("[a]\n[a]", 2, 4), ("a = 1\n[a.b]", 2, 6), ("a = {}\n[a.b]", 2, 6), ("[a.b]\n[a]\nb.c = 1", 3, 7),
            ("[[a]]\n[a]", 2, 4), ("a = []\n[[a]]", 2, 6), ("[a]\nb.c = 1\n[a.b]", 3, 6), ("a = \"x", 1, 7),
            ("a = \"\"\"x", 1, 9),
            ("a = \"\\x\"", 1, 7), ("a = \"\\uD800\"", 1, 8), ("a = { b = 1", 1, 12), ("a = [1", 1, 7),
            ("a = 01", 1, 5),
            ("a = 1__0", 1, 5), ("a = 1.", 1, 5), ("a = 9223372036854775808", 1, 5), ("a = \u{1}", 1, 5),
            ("a = 1\rb = 2", 1, 6),
            ("[a", 1, 3), ("[]", 1, 2), ("= 1", 1, 1), ("a = 2000-13", 1, 5), ("\"\"\"a\"\"\" = 1", 1, 1),
            ("a = {\nb = 1}", 1, 6),
        ])
    func invalid(_ text: String, _ line: Int, _ column: Int) {
        let failure = #expect(throws: TOMLFailure.self) { try Self.read(text) }
        #expect(failure?.line == line && failure?.column == column, "\(String(describing: failure))")
    }

    @Test("bytes that are no UTF-8, depth and size have limits")
    func limits() {
        #expect(throws: TOMLFailure.self) { try TOMLReader.read([0x61, 0x3D, 0x22, 0xFF, 0x22]) }
        #expect(throws: TOMLFailure.self) { try Self.read("a = " + String(repeating: "[", count: 100_000)) }
        #expect(throws: TOMLFailure.self) { try Self.read(String(repeating: "a.", count: 100_000) + "a = 1") }
        #expect(throws: TOMLFailure.self) { try Self.read(String(repeating: "[[a]]\n", count: 100_000)) }
        #expect(throws: Never.self) { try Self.read((0..<50_000).map { "[host.'\($0)']\n" }.joined()) }
        #expect(throws: TOMLFailure.self) { try Self.read(String(repeating: "#", count: TOMLReader.maximumBytes + 1)) }
    }

    @Test("no prefix of a document and no changed byte of one ends the process")
    func mutations() throws {
        let text = Array(
            "a.b = \"\"\"x\\\n  y\\u00e9\"\"\"\n[t.'q'] # c\r\nk = [1, {z = 1979-05-27 07:32:00Z}, 'l']\n[[u]]\n"
                .utf8)
        for end in text.indices { _ = try? TOMLReader.read(Array(text[..<end])) }
        var random = SeededRandom(seed: .random(in: 0 ... .max))
        for _ in 0..<20_000 {
            var changed = text
            for _ in 0..<Int.random(in: 1...3, using: &random) {
                let at = Int.random(in: changed.indices, using: &random)
                changed[at] =
                    Bool.random(using: &random)
                    ? text[Int.random(in: text.indices, using: &random)] : .random(in: 0...127, using: &random)
            }
            _ = try? TOMLReader.read(changed)
        }
    }
}

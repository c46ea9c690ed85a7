// The YAML reader by itself: the tree and its lines, and everything it refuses.

import TestSupport
import Testing

@testable import Configuration
@testable import Registry

struct YAMLReaderTests {
    private func read(_ text: String) throws -> YAMLNode? { try YAMLReader.read(Array(text.utf8)) }

    private func failure(_ text: String) -> YAMLReader.Failure? {
        do throws(YAMLReader.Failure) {
            _ = try YAMLReader.read(Array(text.utf8))
            return nil
        } catch {
            return error
        }
    }

    @Test("YAML nodes and keys have their line numbers") func lines() throws {
        let root = try #require(try read("# c\na: 1\nb:\n- x\n- 'y'\n"))
        #expect(
            root
                == YAMLNode(
                    line: 2,
                    content: .mapping([
                        .init(key: "a", keyLine: 2, value: .init(line: 2, content: .scalar("1", isPlain: true))),
                        .init(
                            key: "b", keyLine: 3,
                            value: .init(
                                line: 4,
                                content: .sequence([
                                    .init(line: 4, content: .scalar("x", isPlain: true)),
                                    .init(line: 5, content: .scalar("y", isPlain: false)),
                                ]))),
                    ])))
    }

    @Test("an empty or commented-out document is null", arguments: ["", "\n\n", "# only a comment\n", "---\n...\n"])
    func emptyDocuments(_ text: String) throws {
        #expect(try read(text)?.isNull ?? true)
    }

    @Test(
        "unsupported or invalid YAML is refused with its line and reason",
        arguments: [
            ("a: 1\nb: &x 2\n", 2, "YAML anchors and aliases are not supported; write the value out"),
            ("a: &x {b: 1}\n", 1, "YAML anchors and aliases are not supported; write the value out"),
            ("a: 1\nb: !!int 2\n", 2, "YAML tags are not supported: tag:yaml.org,2002:int"),
            ("a: 1\nb: 2\na: 3\n", 3, "key a is here twice, first on line 1"),
            ("a: {b: 1, b: 2}\n", 1, "key b is here twice, first on line 1"),
            ("a: 1\n---\nb: 2\n", 2, "a second YAML document; only one is read"),
            ("? [a]\n: 1\n", 1, "a key must be a plain word"),
            ("a: 1\nb: [1, 2\nc: 3\n", 3, "not YAML: did not find expected ',' or ']'"),
            ("a: 1\nb: @x\n", 2, "not YAML: found character that cannot start any token"),
        ])
    func refusals(_ text: String, line: Int, reason: String) {
        #expect(failure(text) == YAMLReader.Failure(line: line, reason: reason))
    }

    @Test("an alias without an anchor is refused") func danglingAlias() {
        #expect(failure("a: *x\n")?.line == 1)
    }

    @Test("YAML nested deeper than the limit is refused") func depth() {
        let limit = YAMLReader.maximumDepth
        let nested = { (depth: Int) in String(repeating: "[", count: depth) + String(repeating: "]", count: depth) }
        #expect(failure(nested(limit)) == nil)
        #expect(failure(nested(limit + 1))?.reason == "nested more than 16 deep")
        #expect(failure(nested(100_000)) != nil)
    }

    @Test("YAML larger than the limit is refused") func size() {
        let line = "# 3456789\n"
        let fits = String(repeating: line, count: YAMLReader.maximumBytes / line.utf8.count)
        #expect(failure(fits) == nil)
        #expect(failure(fits + line)?.reason == "larger than 1048576 bytes")
    }

    @Test(
        "bytes that are not UTF-8 text are refused",
        arguments: [[0x61, 0x3A, 0x20, 0xFF, 0xFE], [0x61, 0x3A, 0x20, 0x00], [0xFF], [0xFE, 0xFF, 0xD8]])
    func invalidText(_ bytes: [UInt8]) {
        #expect(throws: YAMLReader.Failure.self) { try YAMLReader.read(bytes) }
    }
}

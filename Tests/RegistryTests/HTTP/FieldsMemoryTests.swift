// Field lines that are known mean what they meant when they were read. That they do is also part of every parser test
// (Feeding); here is what the memory must not take for known.

import TestSupport
import Testing

@testable import Registry

@Suite struct FieldsMemoryTests {
    private static let fields =
        "Host: mirror.local:8080\r\nVia: 1.1 a\r\nCache-Control: no-cache\r\nAccept: a/b, */*\r\n\r\n"

    private static func parse(_ text: String, _ memory: inout FieldsMemory?) -> RequestParser.Outcome {
        Array(text.utf8).withUnsafeBytes { RequestParser.parse($0, &memory) }
    }

    /// A memory that has seen `fields`.
    private static func memory(of fields: String = fields) -> FieldsMemory? {
        var memory: FieldsMemory? = FieldsMemory()
        _ = parse("GET /seen HTTP/1.1\r\n" + fields, &memory)
        return memory
    }

    @Test(
        "remembered fields give the same head behind any request line",
        arguments: [
            "GET / HTTP/1.1\r\n", "HEAD /v2/a/manifests/b?ns=c HTTP/1.1\r\n", "\r\nGET /v2/ HTTP/1.1\r\n",
            "GET http://other/v2/ HTTP/1.1\r\n", "GET /v2/ HTTP/1.0\r\n", "OPTIONS * HTTP/1.1\r\n",
        ])
    func anyRequestLine(line: String) throws {
        var memory = Self.memory()
        let text = line + Self.fields
        #expect(Self.parse(text, &memory) == Feeding.parse(Array(text.utf8)))
        #expect(try Feeding.head(text).hasVia && Feeding.head(text).refusesCached)
        // And with another request behind them.
        #expect(Self.parse(text + text, &memory) == Feeding.parse(Array(text.utf8)))
    }

    @Test("fields that differ in one byte are parsed anew") func changedByte() {
        let whole = Array(("GET / HTTP/1.1\r\n" + Self.fields).utf8)
        var memory = Self.memory()
        for index in whole.indices {
            let prefix = String(decoding: whole[..<index], as: UTF8.self)
            #expect(Self.parse(prefix, &memory) == .incomplete)
            var other = whole
            other[index] ^= 0x20
            let text = String(decoding: other, as: UTF8.self)
            #expect(Self.parse(text, &memory) == Feeding.parse(other), "byte \(index)")
        }
    }

    /// What a request alone says (a range, a length, an id) is never taken from another.
    @Test(
        "fields that belong to one request are parsed each time",
        arguments: [
            "Range: bytes=1-", "If-Range: \"x\"", "If-None-Match: \"x\"", "X-Registry: a.b", "X-Request-Id: 1",
            "Content-Length: 5", "Transfer-Encoding: chunked", "Expect: 100-continue",
        ])
    func perRequestFields(line: String) throws {
        let fields = "Host: a\r\n\(line)\r\n\r\n"
        var memory = Self.memory(of: fields)
        let text = "GET /longer/than/before HTTP/1.1\r\n" + fields
        #expect(Self.parse(text, &memory) == Feeding.parse(Array(text.utf8)))
    }

    @Test("new blocks of fields replace old ones without mixing them up") func replacement() throws {
        var memory = Self.memory()
        for round in 0..<200 {
            let text = "GET /\(round) HTTP/1.1\r\nHost: h\(round % 20)\r\nConnection: close\r\n\r\n"
            let outcome = Self.parse(text, &memory)
            #expect(outcome == Feeding.parse(Array(text.utf8)))
            guard case .head(let head) = outcome else { continue }
            #expect(!head.keepAlive && Feeding.text(head.host, text) == "h\(round % 20)")
        }
    }
}

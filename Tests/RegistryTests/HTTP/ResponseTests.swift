// What goes out: dates, the two pieces of a response head, chunk frames; and queries, read and written.

import Foundation
import TestSupport
import Testing

@testable import OCI
@testable import Registry

@Suite struct HTTPDateTests {
    @Test(
        "a Date field has the IMF-fixdate format and stays within its range",
        arguments: [
            (Int64(784_111_777), "Sun, 06 Nov 1994 08:49:37 GMT"), (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
            (951_782_400, "Tue, 29 Feb 2000 00:00:00 GMT"), (4_107_542_399, "Sun, 28 Feb 2100 23:59:59 GMT"),
            (4_107_542_400, "Mon, 01 Mar 2100 00:00:00 GMT"), (1_709_251_199, "Thu, 29 Feb 2024 23:59:59 GMT"),
            (253_402_300_799, "Fri, 31 Dec 9999 23:59:59 GMT"), (Int64.max, "Fri, 31 Dec 9999 23:59:59 GMT"),
            (-1, "Thu, 01 Jan 1970 00:00:00 GMT"),
        ])
    func dates(seconds: Int64, text: String) {
        #expect(String(decoding: HTTPDate.format(unixSeconds: seconds), as: UTF8.self) == text)
    }

    @Test("random dates are formatted as by Foundation") func agreesWithFoundation() {
        let formatter = DateFormatter()
        formatter.locale = Locale(identifier: "en_US_POSIX")
        formatter.timeZone = TimeZone(identifier: "GMT")
        formatter.dateFormat = "EEE, dd MMM yyyy HH:mm:ss 'GMT'"
        let seed = UInt64.random(in: 0...UInt64.max)
        var random = SeededRandom(seed: seed)
        for _ in 0..<5_000 {
            let seconds = Int64.random(in: 0...253_402_300_799, using: &random)
            let expected = formatter.string(from: Date(timeIntervalSince1970: TimeInterval(seconds)))
            let text = String(decoding: HTTPDate.format(unixSeconds: seconds), as: UTF8.self)
            #expect(text == expected, "seed \(seed)")
        }
    }
}

@Suite struct ResponseHeadTests {
    private static let api = "Docker-Distribution-Api-Version: registry/2.0\r\n"
    private static let digest = "sha256:" + String(repeating: "0f", count: 32)

    private func text(_ bytes: [UInt8]) -> String {
        String(decoding: bytes, as: UTF8.self)
    }

    @Test("response prefixes have the status line, the date and the connection option") func prefixes() {
        let prefixes = ResponsePrefixes(unixSeconds: 0)
        let prefix = { (status: Int, close: Bool) in text(Array(prefixes.bytes(status: status, close: close))) }
        let early = "Date: Thu, 01 Jan 1970 00:00:00 GMT\r\n\(Self.api)"
        #expect(prefix(200, false) == "HTTP/1.1 200 OK\r\n\(early)")
        #expect(prefix(299, true) == "HTTP/1.1 299 \r\n\(early)Connection: close\r\n")
        prefixes.refresh(unixSeconds: 784_111_777)
        let late = "Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n\(Self.api)"
        #expect(prefix(200, false) == "HTTP/1.1 200 OK\r\n\(late)")
        #expect(prefix(503, true) == "HTTP/1.1 503 Service Unavailable\r\n\(late)Connection: close\r\n")
        #expect(prefix(299, false) == "HTTP/1.1 299 \r\n\(late)")
    }

    @Test("every status that the server sends has a reason phrase") func phrases() {
        let prefixes = ResponsePrefixes(unixSeconds: 0)
        for status in [200, 206, 304, 400, 401, 403, 404, 405, 408, 413, 416, 429, 431, 500, 501, 502, 503, 505, 508] {
            let line = text(Array(prefixes.bytes(status: status, close: true))).prefix { $0 != "\r\n" }
            #expect(line.hasPrefix("HTTP/1.1 \(status) ") && line.count > 14)
        }
        for failure in ParseFailure.allCases { #expect([400, 431, 501, 505].contains(failure.status)) }
    }

    @Test("entity fields state type, length, digest, tag and range") func entities() throws {
        let digest = try #require(Digest(Self.digest))
        let identity = "Docker-Content-Digest: \(Self.digest)\r\nETag: \"\(Self.digest)\"\r\n"
        let whole = ResponseFields.entity(contentType: "a/b", digest: digest, sizeBytes: 10)
        #expect(text(whole) == "Content-Type: a/b\r\nContent-Length: 10\r\n\(identity)Accept-Ranges: bytes\r\n\r\n")
        let part = ResponseFields.entity(contentType: "a/b", digest: digest, sizeBytes: 10, range: (first: 2, last: 4))
        #expect(
            text(part) == "Content-Type: a/b\r\nContent-Length: 3\r\n\(identity)"
                + "Accept-Ranges: bytes\r\nContent-Range: bytes 2-4/10\r\n\r\n")
        let growing = ResponseFields.entity(contentType: "a/b", digest: digest, sizeBytes: nil)
        #expect(text(growing) == "Content-Type: a/b\r\nTransfer-Encoding: chunked\r\n\(identity)\r\n")
        let old = ResponseFields.entity(contentType: "a/b", digest: digest, sizeBytes: nil, delimitedByClose: true)
        #expect(text(old) == "Content-Type: a/b\r\n\(identity)\r\n")
        #expect(text(ResponseFields.notModified(digest: digest)) == "\(identity)\r\n")
    }

    @Test("error, JSON and plain responses state their length") func otherBodies() {
        #expect(
            text(ResponseFields.unsatisfiable(sizeBytes: 7))
                == "Content-Range: bytes */7\r\nContent-Length: 0\r\n\r\n")
        #expect(
            text(ResponseFields.json(length: 2, extra: [("Allow", "GET, HEAD")]))
                == "Content-Type: application/json\r\nContent-Length: 2\r\nAllow: GET, HEAD\r\n\r\n")
        #expect(text(ResponseFields.plain(contentType: nil, length: 0)) == "Content-Length: 0\r\n\r\n")
    }

    /// Some values come from upstreams.
    @Test("control characters in a field value are removed") func injection() {
        let fields = ResponseFields.plain(contentType: "a\r\nX: y\u{0}\u{7F}", length: 0)
        #expect(text(fields) == "Content-Type: aX: y\r\nContent-Length: 0\r\n\r\n")
    }

    @Test("chunks are framed with their size in hexadecimal") func chunks() {
        #expect(text(ChunkFraming.head(byteCount: 1)) == "1\r\n")
        #expect(text(ChunkFraming.head(byteCount: 262_144)) == "40000\r\n")
        #expect(text(ChunkFraming.last) == "0\r\n\r\n")
    }
}

@Suite struct QueryItemsTests {
    private func item(_ name: StaticString, _ query: String) -> QueryItems.Item {
        Array(query.utf8).withUnsafeBytes { QueryItems($0).item(named: name) }
    }

    @Test("query items are found by name and percent-decoded") func queryItems() {
        #expect(item("ns", "ns=docker.io") == .value("docker.io"))
        #expect(item("ns", "n=1&ns=h%3A5000&last=x") == .value("h:5000"))
        #expect(item("ns", "%6es=a%2fb%2Fc") == .value("a/b/c"))
        #expect(item("artifactType", "artifactType=application/vnd.x+json") == .value("application/vnd.x+json"))
        #expect(item("last", "last=%C3%A4=b?") == .value("ä=b?"))
        #expect(item("n", "n=") == .value(""))
        #expect(item("n", "&&n&") == .value(""))
        #expect(item("n", "") == .absent)
        #expect(item("n", "ns=a&N=b") == .absent)
    }

    @Test(
        "a malformed or repeated query item is refused",
        arguments: ["n=%", "n=%4", "n=%4g", "n=%+1", "n=%C3", "n=%FF", "n=1&n=1", "n=1&%6e=2"])
    func malformedQueries(query: String) {
        #expect(item("n", query) == .malformed)
        #expect(Array(query.utf8).withUnsafeBytes { QueryItems($0).value(named: "n") } == nil)
    }

    @Test("a percent-encoded text decodes to itself") func percentEncoding() {
        #expect(PercentEncoding.encode("a-Z0._~/+ %ä&=") == "a-Z0._~%2F%2B%20%25%C3%A4%26%3D")
        let text = "application/vnd.x+json; q=\"ü\"\u{0}"
        #expect(item("n", "n=" + PercentEncoding.encode(text)) == .value(text))
    }
}

// Requests made so that two servers in a row disagree about where they end or whom they are for. Each has its right
// answer here: refused, or understood in the one way RFC 9112 allows.

import TestSupport
import Testing

@testable import Registry

@Suite struct SmugglingTests {
    struct Case: CustomTestStringConvertible, Sendable {
        let request: String
        let status: Int
        var testDescription: String { request.debugDescription }

        init(_ status: Int, _ request: String) {
            self.request = request
            self.status = status
        }

        /// Field lines of a POST.
        init(_ status: Int, fields: String, version: String = "1.1") {
            self.init(status, "POST / HTTP/\(version)\r\nHost: h\r\n\(fields)\r\n\r\n0\r\n\r\n")
        }
    }

    static let lengths: [Case] = [
        Case(200, fields: "Content-Length: 5"), Case(200, fields: "CONTENT-LENGTH:5"),
        Case(200, fields: "Content-Length: 0"),
        Case(200, fields: "Content-Length:\t5\t"), Case(200, fields: "Content-Length: 0005"),
        Case(200, fields: "Content-Length: 18446744073709551615"),
        Case(400, fields: "Content-Length: 18446744073709551616"),
        Case(400, fields: "Content-Length: 184467440737095516150"), Case(400, fields: "Content-Length: +5"),
        Case(400, fields: "Content-Length: -5"), Case(400, fields: "Content-Length: 5, 5"),
        Case(400, fields: "Content-Length: 5,"),
        Case(400, fields: "Content-Length: 5 5"), Case(400, fields: "Content-Length: 0x5"),
        Case(400, fields: "Content-Length: 5;a"),
        Case(400, fields: "Content-Length: 5.0"), Case(400, fields: "Content-Length: \"5\""),
        Case(400, fields: "Content-Length: 5_0"),
        Case(400, fields: "Content-Length:"), Case(400, fields: "Content-Length: \t"),
        Case(400, fields: "Content-Length: ５"),
        Case(400, fields: "Content-Length: 5\r\nContent-Length: 5"),
        Case(400, fields: "Content-Length: 5\r\ncontent-length: 6"),
        Case(400, fields: "Content-Length: 0\r\nContent-Length: 0"), Case(400, fields: "Content-Length: 5\u{0}"),
        Case(400, fields: "Content-Length : 5"), Case(400, fields: "Content-Length\t: 5"),
        Case(400, fields: "Content-Length\u{0}: 5"),
        Case(400, fields: " Content-Length: 5"), Case(400, fields: "X: y\r\n Content-Length: 5"),
        Case(400, fields: "Content-\r\n Length: 5"), Case(400, fields: "Content Length: 5"),
        Case(200, fields: "Content_Length: 5"), Case(200, fields: "XContent-Length: 5"),
    ]

    static let codings: [Case] = [
        Case(200, fields: "Transfer-Encoding: chunked"), Case(200, fields: "transfer-encoding:CHUNKED"),
        Case(200, fields: "Transfer-Encoding: \t chunked \t"),
        Case(400, fields: "Transfer-Encoding: chunked", version: "1.0"),
        Case(400, fields: "Transfer-Encoding: identity", version: "1.0"),
        Case(501, fields: "Transfer-Encoding: gzip"), Case(501, fields: "Transfer-Encoding: identity"),
        Case(501, fields: "Transfer-Encoding: xchunked"), Case(501, fields: "Transfer-Encoding: chunkedx"),
        Case(400, fields: "Transfer-Encoding: gzip, chunked"), Case(400, fields: "Transfer-Encoding: chunked, gzip"),
        Case(400, fields: "Transfer-Encoding: chunked, chunked"), Case(400, fields: "Transfer-Encoding: chunked,"),
        Case(400, fields: "Transfer-Encoding: ,chunked"), Case(400, fields: "Transfer-Encoding: chunked;q=1"),
        Case(400, fields: "Transfer-Encoding: \"chunked\""), Case(501, fields: "Transfer-Encoding: 'chunked'"),
        Case(400, fields: "Transfer-Encoding: \u{0B}chunked"), Case(400, fields: "Transfer-Encoding: chunked\u{0B}"),
        Case(400, fields: "Transfer-Encoding: chun\u{0}ked"), Case(400, fields: "Transfer-Encoding: \u{A0}chunked"),
        Case(400, fields: "Transfer-Encoding: chun ked"), Case(400, fields: "Transfer-Encoding:"),
        Case(400, fields: "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked"),
        Case(400, fields: "Transfer-Encoding: chunked\r\nTransfer-Encoding: x"),
        Case(501, fields: "Transfer-Encoding: x\r\nTransfer-Encoding: chunked"),
        Case(400, fields: "Transfer-Encoding : chunked"), Case(400, fields: "Transfer-Encoding\t: chunked"),
        Case(400, fields: " Transfer-Encoding: chunked"), Case(400, fields: "Transfer-Encoding\u{0B}: chunked"),
        Case(400, fields: "Transfer-Encoding:\r\n chunked"), Case(400, fields: "Transfer-Encoding:\n chunked"),
        Case(400, fields: "X: a\rTransfer-Encoding: chunked"), Case(400, fields: "X: a\nTransfer-Encoding: chunked"),
        Case(400, fields: "X: a\n\nTransfer-Encoding: chunked"), Case(200, fields: "Transfer_Encoding: x"),
    ]

    static let both: [Case] = [
        Case(400, fields: "Content-Length: 5\r\nTransfer-Encoding: chunked"),
        Case(400, fields: "Transfer-Encoding: chunked\r\nContent-Length: 5"),
        Case(400, fields: "Transfer-Encoding: chunked\r\nContent-Length: 0"),
        Case(400, fields: "Content-Length: 0\r\nTransfer-Encoding: chunked"),
        Case(501, fields: "Content-Length: 5\r\nTransfer-Encoding: xchunked"),
        Case(400, fields: "Content-Length: 5\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: identity"),
        Case(400, fields: "Content-Length: 5\r\nTransfer-Encoding:\tchunked\u{0C}"),
    ]

    static let lines: [Case] = [
        Case(200, "\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n"), Case(400, "\r\n\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n"),
        Case(400, "\nGET / HTTP/1.1\r\nHost: h\r\n\r\n"), Case(400, "\rGET / HTTP/1.1\r\nHost: h\r\n\r\n"),
        Case(400, " GET / HTTP/1.1\r\nHost: h\r\n\r\n"), Case(400, "GET / HTTP/1.1\nHost: h\n\n"),
        Case(400, "GET / HTTP/1.1\r\nHost: h\n\r\n"), Case(400, "GET / HTTP/1.1\r\nHost: h\r\n\n"),
        Case(400, "GET / HTTP/1.1\rHost: h\r\r"), Case(400, "GET / HTTP/1.1\r\nHost: h\r\r\n\r\n"),
        Case(400, "GET / HTTP/1.1\r\nHost: h\r\n\rX"), Case(400, "GET  / HTTP/1.1\r\nHost: h\r\n\r\n"),
        Case(400, "GET /  HTTP/1.1\r\nHost: h\r\n\r\n"), Case(400, "GET\t/ HTTP/1.1\r\nHost: h\r\n\r\n"),
        Case(400, "GET / HTTP/1.1 \r\nHost: h\r\n\r\n"), Case(400, "GET / a HTTP/1.1\r\nHost: h\r\n\r\n"),
        Case(400, "GET /\r\nHost: h\r\n\r\n"), Case(400, "GET\r\n\r\n"),
        Case(400, "GE(T / HTTP/1.1\r\nHost: h\r\n\r\n"),
        Case(400, "GET / HTTP/1.1\r\n Host: h\r\n\r\n"), Case(400, "GET / HTTP/1.1\r\n\tHost: h\r\n\r\n"),
        Case(400, "GET / HTTP/1.1\r\nHost: h\r\n X: folded\r\n\r\n"),
        Case(400, "GET / HTTP/1.1\r\nHost: h\r\n: x\r\n\r\n"),
        Case(400, "GET / HTTP/1.1\r\nHost: h\r\nnocolon\r\n\r\n"),
        Case(400, "GET / HTTP/1.1\r\nHost: h\r\nX(: a\r\n\r\n"),
        Case(400, "GET / HTTP/1.1\r\nHost: h\r\nÄ: a\r\n\r\n"),
        Case(400, "GET / HTTP/1.1\r\nHost: h\r\nX: a\u{0}b\r\n\r\n"),
        Case(400, "GET /\u{0} HTTP/1.1\r\nHost: h\r\n\r\n"), Case(400, "G\u{0}ET / HTTP/1.1\r\nHost: h\r\n\r\n"),
        Case(200, "GET / HTTP/1.1\r\nHost: h\r\nX: ä\t\"\\\r\nY:\r\n\r\n"), Case(400, "\u{16}\u{3}\u{1}\u{2}"),
        Case(505, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    ]

    static let hosts: [Case] = [
        Case(400, "GET / HTTP/1.1\r\n\r\n"), Case(200, "GET / HTTP/1.0\r\n\r\n"),
        Case(400, "GET http://h/ HTTP/1.1\r\n\r\n"),
        Case(400, "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n"),
        Case(400, "GET / HTTP/1.1\r\nHost: a\r\nhOST: b\r\n\r\n"),
        Case(400, "GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n"), Case(400, "GET / HTTP/1.1\r\nHost:\r\n\r\n"),
        Case(400, "GET / HTTP/1.1\r\nHost : a\r\n\r\n"), Case(400, "GET / HTTP/1.1\r\nHost: a b\r\n\r\n"),
        Case(400, "GET / HTTP/1.1\r\nHost: a, b\r\n\r\n"), Case(400, "GET / HTTP/1.1\r\nHost: a,b\r\n\r\n"),
        Case(400, "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n"), Case(400, "GET / HTTP/1.1\r\nHost: u@a\r\n\r\n"),
        Case(400, "GET / HTTP/1.1\r\nHost: a:b\r\n\r\n"), Case(400, "GET / HTTP/1.1\r\nHost: a:80:80\r\n\r\n"),
        Case(400, "GET / HTTP/1.1\r\nHost: a:65536\r\n\r\n"), Case(400, "GET / HTTP/1.1\r\nHost: :80\r\n\r\n"),
        Case(400, "GET / HTTP/1.1\r\nHost: http://a\r\n\r\n"), Case(400, "GET / HTTP/1.1\r\nHost: ä\r\n\r\n"),
        Case(400, "GET / HTTP/1.1\r\nHost: [::1\r\n\r\n"), Case(400, "GET / HTTP/1.1\r\nHost: []\r\n\r\n"),
        Case(400, "GET / HTTP/1.1\r\nHost: [::1]x\r\n\r\n"), Case(400, "GET / HTTP/1.1\r\nHost: [g::1]\r\n\r\n"),
        Case(200, "GET / HTTP/1.1\r\nHost: [::1]:80\r\n\r\n"),
        Case(200, "GET / HTTP/1.1\r\nHost: a_b-c.d~%41:\r\n\r\n"),
        Case(200, "GET http://a/ HTTP/1.1\r\nHost: b\r\n\r\n"),
        Case(400, "GET http://a/ HTTP/1.1\r\nHost: b c\r\n\r\n"),
        Case(400, "GET http://a/ HTTP/1.1\r\nHost: b\r\nHost: a\r\n\r\n"),
    ]

    @Test(
        "ambiguous Content-Length and Transfer-Encoding fields get the right status",
        arguments: lengths + codings + both)
    func framing(_ test: Case) {
        #expect(Feeding.status(test.request) == test.status)
        expectSameHoweverCut(test.request)
    }

    @Test("malformed request lines, fields and Host values get the right status", arguments: lines + hosts)
    func syntax(_ test: Case) {
        #expect(Feeding.status(test.request) == test.status)
        expectSameHoweverCut(test.request)
    }

    /// RFC 9112 §3.2.2: the host of an absolute target is the one meant, whatever the field says.
    @Test("the host of an absolute target overrides the Host field") func absoluteTarget() throws {
        let text = "GET http://a:1/ HTTP/1.1\r\nHost: b\r\n\r\n"
        #expect(Feeding.text(try Feeding.head(text).host, text) == "a:1")
    }

    /// The prefix of a chunked or over-long body is never taken for a request.
    @Test("the bytes of a request body are never parsed as a request") func bodyIsNoRequest() {
        let inner = "GET /inner HTTP/1.1\r\nHost: h\r\n\r\n"
        let framings = [
            "Transfer-Encoding: chunked", "Content-Length: \(inner.utf8.count)", "Content-Length: 65537",
            "Content-Length: 99999999999999", "Content-Length: \(inner.utf8.count)\r\nExpect: 100-continue",
        ]
        for framing in framings {
            let events = Feeding.whole(Array("POST / HTTP/1.1\r\nHost: h\r\n\(framing)\r\n\r\n\(inner)".utf8))
            #expect(events.count(where: { if case .request = $0 { true } else { false } }) == 1, "\(framing)")
            #expect(events.contains(.skipped(inner.utf8.count)), "\(framing)")
        }
    }
}

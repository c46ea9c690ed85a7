// What an upstream's answers become, and what is read of their heads.

import TestSupport
import Testing

@testable import OCI
@testable import Registry

@Suite struct UpstreamAnswerTests {
    private static let host = RegistryHost.dockerHub

    private static func head(
        _ status: Int, _ fields: [(String, String)] = [], isHead: Bool = false
    ) throws -> UpstreamHead? {
        var all = UpstreamFields()
        for (name, value) in fields { all.append(name: name, value: value) }
        let url = try #require(UpstreamURL("https://a/x"))
        return UpstreamHead(status: status, fields: all, isHead: isHead, url: url)
    }

    @Test(
        "every upstream status is translated to a client status and error code",
        arguments: [
            (404, UpstreamRequest.Kind.manifest, 404, RegistryError.Code.manifestUnknown),
            (404, .blob, 404, .blobUnknown),
            (404, .tags, 404, .nameUnknown), (404, .referrers, 404, .nameUnknown), (410, .blob, 404, .blobUnknown),
            (401, .blob, 403, .denied), (403, .manifest, 403, .denied), (451, .manifest, 403, .denied),
            (429, .manifest, 429, .tooManyRequests), (500, .manifest, 503, .unavailable),
            (502, .blob, 503, .unavailable),
            (503, .tags, 503, .unavailable), (408, .tags, 503, .unavailable), (400, .tags, 400, .unsupported),
            (405, .tags, 405, .unsupported), (414, .tags, 414, .unsupported), (416, .tags, 416, .unsupported),
            (422, .tags, 422, .unsupported), (402, .tags, 502, .unknown), (407, .tags, 502, .unknown),
            (418, .tags, 502, .unknown), (421, .tags, 502, .unknown), (431, .tags, 502, .unknown),
            (400, .referrers, 502, .unknown),
            (302, .blob, 502, .unknown), (204, .blob, 502, .unknown), (405, .referrers, 502, .unknown),
            (999, .blob, 502, .unknown),
        ])
    func statuses(from: Int, kind: UpstreamRequest.Kind, status: Int, code: RegistryError.Code) throws {
        let head = try #require(try Self.head(from))
        let error = try #require(UpstreamAnswer.error(for: head, kind: kind, host: Self.host))
        #expect(error.status == status)
        #expect(error.code == code)
        if code == .denied || status >= 500 { #expect(error.message.contains("docker.io")) }
    }

    @Test("200 and 206 are no errors") func success() throws {
        for status in [200, 206] {
            let head = try #require(try Self.head(status))
            #expect(UpstreamAnswer.error(for: head, kind: .blob, host: Self.host) == nil)
        }
    }

    @Test("hints and Retry-After of an upstream response are passed on") func hints() throws {
        var head = try #require(try Self.head(401))
        head.deniedHint = "set auth.tokenRealm"
        #expect(UpstreamAnswer.error(for: head, kind: .blob, host: Self.host)?.detail == "set auth.tokenRealm")
        var limited = try #require(try Self.head(429))
        #expect(UpstreamAnswer.error(for: limited, kind: .blob, host: Self.host)?.retryAfterSeconds == nil)
        limited.retryAfterSeconds = 17
        #expect(UpstreamAnswer.error(for: limited, kind: .blob, host: Self.host)?.retryAfterSeconds == 17)
        var down = try #require(try Self.head(503))
        #expect(UpstreamAnswer.error(for: down, kind: .blob, host: Self.host)?.retryAfterSeconds == nil)
        down.retryAfterSeconds = 20
        #expect(UpstreamAnswer.error(for: down, kind: .blob, host: Self.host)?.retryAfterSeconds == 20)
    }

    @Test("every failure to reach an upstream has one text for clients, and its reason for the log") func failures() {
        let reason = "connection refused at port 22"
        for failure in [UpstreamFailure.unreachable(reason), .timedOut(reason), .broken(reason)] {
            let error = failure.registryError(host: Self.host)
            #expect(error.status == 503 && error.code == .unavailable)
            #expect(error.message == "docker.io cannot be reached; the server's log says why" && error.detail == nil)
            #expect(error.operatorMessage.hasPrefix("docker.io ") && error.operatorMessage.hasSuffix(reason))
            #expect(!String(decoding: error.json, as: UTF8.self).contains("22"))
        }
    }

    @Test("every refused address has one text for clients, and its reason for the log") func refusedAddress() {
        let transfer = TransferFailure(kind: .refusedAddress, reason: "a.test has 127.0.0.1", hadAnswer: false)
        for failure in [
            UpstreamFailure(transfer), UpstreamFailure(.address("a.test has 127.0.0.1"), host: Self.host, of: "its "),
        ] {
            let error = failure.registryError(host: Self.host)
            #expect(error.status == 403 && error.code == .denied && error.detail == nil)
            #expect(error.message == "docker.io leads to an address that is not allowed; the server's log says which")
            #expect(error.operatorMessage.contains("a.test has 127.0.0.1"))
        }
        guard case .refused(let error) = UpstreamFailure(.rule("it is odd"), host: Self.host) else {
            Issue.record("not a refusal")
            return
        }
        #expect(error.message == "docker.io: it is odd" && error.operatorMessage == error.message)
    }

    @Test("a refusal keeps its status") func refusals() {
        let denied = UpstreamAnswer.denied(Self.host, status: 403, hint: nil)
        #expect(UpstreamFailure.refused(denied).registryError(host: Self.host) == denied)
    }

    // MARK: Heads

    @Test("Content-Length is read consistently, and contradicting or malformed values are refused")
    func lengths() throws {
        #expect(try Self.head(200, [("Content-Length", "5")])?.contentLength == 5)
        #expect(try Self.head(200, [("content-length", "5"), ("CONTENT-LENGTH", "5")])?.contentLength == 5)
        #expect(try Self.head(200, [("Content-Length", "5, 5")])?.contentLength == 5)
        #expect(try Self.head(200, [("Content-Length", "5"), ("Content-Length", "6")]) == nil)
        for bad in ["-1", "+5", "5x", "0x5", "5, 6"] {
            #expect(try Self.head(200, [("Content-Length", bad)]) == nil, "\(bad)")
        }
        let chunked = try #require(try Self.head(200, [("Content-Length", "5"), ("Transfer-Encoding", "Chunked")]))
        #expect(chunked.contentLength == nil && !chunked.isCloseDelimited)
        #expect(try Self.head(200)?.isCloseDelimited == true)
        #expect(try Self.head(200, isHead: true)?.isCloseDelimited == false)
        #expect(try Self.head(304)?.isCloseDelimited == false)
    }

    @Test("a Content-Range is parsed, and malformed ones are ignored") func contentRanges() throws {
        func range(_ text: String) throws -> [Int64?]? {
            try Self.head(206, [("Content-Range", text)])?.contentRange.map { [$0.first, $0.last, $0.total] }
        }
        #expect(try range("bytes 0-4/10") == [0, 4, 10])
        #expect(try range("BYTES 5-9/*") == [5, 9, nil])
        for bad in [
            "", "bytes", "bytes 5-4/10", "bytes 0-10/10", "bytes */10", "items 0-4/10", "bytes a-b/c", "bytes 0-4",
        ] {
            #expect(try range(bad) == nil, "\(bad)")
        }
    }

    @Test("the next link is found among Link fields") func nextLinks() throws {
        func next(_ values: String...) throws -> String? { try Self.head(200, values.map { ("Link", $0) })?.nextLink }
        #expect(try next("</v2/a/tags/list?n=2&last=b>; rel=\"next\"") == "/v2/a/tags/list?n=2&last=b")
        #expect(try next("<x>; rel=next") == "x")
        #expect(try next("<p>; rel=\"prev\"", "<n>; title=\"t\"; REL=\"Next\"") == "n")
        #expect(try next("<p>; rel=\"prev\"") == nil)
        #expect(try next("p; rel=\"next\"") == nil)
        #expect(try next("<f>; rel=\"first\", <n?a=1,2>; rel=\"next\"") == "n?a=1,2", "several in one field")
        #expect(try next("<n>; rel=\"next\", <f>; rel=\"first\"") == "n")
        #expect(try next("<f>; title=\"a, <b>; rel=next; \\\" \"; rel=first,,<n>;rel=\"last  next\"") == "n")
        for bad in ["<", "<>", "<a", "<a>; rel=\"", "<a>; rel=\"next", "<a>; rel", "<a>; =next", ",", ";", "<a>,<b>;"] {
            #expect(try next(bad) == (bad == "<a>; rel=\"next" ? "a" : nil), "\(bad)")
        }
        #expect(try next() == nil)
    }

    // MARK: 429

    @Test("Retry-After is parsed as seconds or a date") func retryAfter() {
        #expect(RetryAfter.seconds("120", unixSeconds: 0) == 120)
        #expect(RetryAfter.seconds(" 7 ", unixSeconds: 0) == 7)
        #expect(RetryAfter.seconds("99999999999999999999", unixSeconds: 0) == Int(Int32.max))
        #expect(RetryAfter.seconds("Sun, 06 Nov 1994 08:49:37 GMT", unixSeconds: 784_111_770) == 7)
        #expect(RetryAfter.seconds("Sun, 06 Nov 1994 08:49:37 GMT", unixSeconds: 784_111_800) == 0)
        #expect(RetryAfter.date("Thu, 01 Jan 1970 00:00:00 GMT") == 0)
        #expect(RetryAfter.date("Tue, 29 Feb 2000 12:00:00 GMT") == 951_825_600)
        #expect(RetryAfter.date("Wed, 31 Dec 2098 23:59:59 GMT") == 4_070_908_799)
        // The two obsolete forms, which recipients have to read as well (RFC 9110 §5.6.7).
        #expect(RetryAfter.date("Sunday, 06-Nov-94 08:49:37 GMT") == 784_111_777)
        #expect(RetryAfter.date("Sun Nov  6 08:49:37 1994") == 784_111_777)
        for bad in [
            "", "soon", "-1", "1.5", "Sun, 06 Nov 1994 25:00:00 GMT", "Sun, 32 Nov 1994 08:49:37 GMT",
        ] {
            #expect(RetryAfter.seconds(bad, unixSeconds: 0) == nil, "\(bad)")
        }
    }

    @Test("every HTTP date is read back as it was written") func dates() {
        for seconds in stride(from: Int64(0), to: 250_000_000_000, by: 9_876_543_21) {
            let text = String(decoding: HTTPDate.format(unixSeconds: seconds), as: UTF8.self)
            #expect(RetryAfter.date(text) == seconds, "\(text)")
        }
    }
}

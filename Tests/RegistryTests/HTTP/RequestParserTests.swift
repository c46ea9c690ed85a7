// The request head: what good ones mean, what bad ones are answered with, and that neither depends on how they arrive.

import TestSupport
import Testing

@testable import Registry

@Suite struct RequestParserTests {
    private static let containerd = """
        GET /v2/library/debian/manifests/latest?ns=docker.io&x=%20 HTTP/1.1\r
        Host: mirror.local:8080\r
        User-Agent: containerd/2.0\r
        Accept: application/vnd.oci.image.index.v1+json, */*\r
        ACCEPT:  text/plain\t \r
        Range: bytes=5-\r
        If-Range: "sha256:x"\r
        If-None-Match: W/"a"\r
        X-Registry: docker.io\r
        Via: 1.1 other\r
        \r

        """

    @Test("a containerd request is parsed with every field") func containerdRequest() throws {
        let text = Self.containerd
        let head = try Feeding.head(text)
        #expect(head.method == .get && head.minorVersion == 1 && head.keepAlive)
        #expect(Feeding.text(head.methodName, text) == "GET")
        #expect(Feeding.text(head.target, text) == "/v2/library/debian/manifests/latest?ns=docker.io&x=%20")
        #expect(Feeding.text(head.path, text) == "/v2/library/debian/manifests/latest")
        #expect(Feeding.text(head.query, text) == "ns=docker.io&x=%20")
        #expect(Feeding.text(head.host, text) == "mirror.local:8080")
        #expect(Feeding.text(head.range, text) == "bytes=5-")
        #expect(Feeding.text(head.ifRange, text) == "\"sha256:x\"")
        #expect(Feeding.text(head.ifNoneMatch, text) == "W/\"a\"")
        #expect(Feeding.text(head.registryHeader, text) == "docker.io")
        #expect(head.hasVia && head.body == .none && !head.expectContinue)
        #expect(head.length == text.utf8.count)
        expectSameHoweverCut(text)
    }

    @Test(
        "Cache-Control: no-cache is found among other directives",
        arguments: [
            ("no-cache", true), ("max-age=0, NO-CACHE", true), ("no-cache=\"x\"", false), ("no-store", false),
            ("", false),
        ])
    func cacheControl(_ value: String, _ expected: Bool) throws {
        let text = "GET / HTTP/1.1\r\nHost: a\r\nCache-Control: \(value)\r\n\r\n"
        #expect(try Feeding.head(text).refusesCached == expected)
        expectSameHoweverCut(text)
    }

    @Test("other header fields are found by name, in order") func otherFields() throws {
        let bytes = Array(Self.containerd.utf8)
        let head = try Feeding.head(Self.containerd)
        bytes.withUnsafeBytes { raw in
            let headers = Headers(head, in: raw)
            #expect(headers.values(named: "accept") == ["application/vnd.oci.image.index.v1+json, */*", "text/plain"])
            #expect(headers.joined(named: "accept") == "application/vnd.oci.image.index.v1+json, */*, text/plain")
            #expect(headers.joined(named: "cookie") == nil)
        }
    }

    @Test(
        "a method is recognised by its exact name",
        arguments: [
            ("GET", RequestHead.Method.get), ("HEAD", .head), ("POST", .post), ("PUT", .put), ("PATCH", .patch),
            ("DELETE", .delete), ("OPTIONS", .options), ("get", .other), ("GEX", .other), ("HEAT", .other),
            ("PROPFIND", .other), ("!#$%&'*+-.^_`|~9z", .other),
        ])
    func methods(name: String, method: RequestHead.Method) throws {
        let text = "\(name) / HTTP/1.1\r\nHost: a\r\n\r\n"
        let head = try Feeding.head(text)
        #expect(head.method == method)
        #expect(Feeding.text(head.methodName, text) == name)
    }

    @Test(
        "a target is split into path, query and host",
        arguments: [
            ("/", "/", "", "h"), ("/a?b?c", "/a", "b?c", "h"), ("/a?", "/a", "", "h"),
            ("//x/../y%2f", "//x/../y%2f", "", "h"),
            ("/?a", "/", "a", "h"), ("/a|b\\<>", "/a|b\\<>", "", "h"),
            ("http://other:81/p?q", "/p", "q", "other:81"), ("HTTPS://o", "", "", "o"),
            ("http://o?q/r", "", "q/r", "o"),
            ("http://[::1]:5000/p", "/p", "", "[::1]:5000"),
        ])
    func targets(target: String, path: String, query: String, host: String) throws {
        let text = "GET \(target) HTTP/1.1\r\nHost: h\r\n\r\n"
        let head = try Feeding.head(text)
        #expect(Feeding.text(head.path, text) == path)
        #expect(Feeding.text(head.query, text) == query)
        #expect(Feeding.text(head.host, text) == host)
        expectSameHoweverCut(text)
    }

    @Test(
        "an invalid request target is a 400",
        arguments: [
            "a", "*", "h:80", "http:/h/", "http://", "http:///p", "http://u@h/", "ftp://h/", "http://h:x/", "/a#b", "#",
            "/a\u{7F}", "/a\u{1}b", "/ä", "/a\tb", "http://h:99999/", "?a", "http://a,b/",
        ])
    func invalidTargets(target: String) {
        let text = "GET \(target) HTTP/1.1\r\nHost: h\r\n\r\n"
        #expect(Feeding.status(text) == 400)
        expectSameHoweverCut(text)
    }

    @Test("the target * is accepted for OPTIONS only") func asterisk() throws {
        let text = "OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n"
        #expect(Feeding.text(try Feeding.head(text).path, text) == "*")
        #expect(Feeding.status("OPTIONS ** HTTP/1.1\r\nHost: h\r\n\r\n") == 400)
    }

    @Test(
        "an unsupported HTTP version is a 505, and a malformed one a 400",
        arguments: [
            ("HTTP/1.0", 200), ("HTTP/1.1", 200), ("HTTP/1.2", 505), ("HTTP/2.0", 505), ("HTTP/0.9", 505),
            ("HTTP/3.1", 505),
            ("HTTP/1.10", 400), ("HTTP/11", 400), ("HTTP/1", 400), ("http/1.1", 400), ("HTTP/1.1 ", 400),
            (" HTTP/1.1", 400),
            ("HTTP/1.x", 400), ("HTTP/+1.1", 400), ("HTTPS/1.1", 400), ("", 400), ("ICY", 400),
        ])
    func versions(version: String, status: Int) {
        let text = "GET / \(version)\r\nHost: h\r\n\r\n"
        #expect(Feeding.status(text) == status)
        expectSameHoweverCut(text)
    }

    @Test(
        "keep-alive follows the HTTP version and the Connection field",
        arguments: [
            ("1.1", "", true), ("1.1", "Connection: close\r\n", false), ("1.1", "Connection: Keep-Alive\r\n", true),
            ("1.1", "Connection: x, CLOSE ,y\r\n", false),
            ("1.1", "Connection: keep-alive\r\nconnection: close\r\n", false),
            ("1.1", "Connection: closed\r\n", true), ("1.1", "Connection: ,,\t,\r\n", true),
            ("1.1", "Connection:\r\n", true),
            ("1.0", "", false), ("1.0", "Connection: keep-alive\r\n", true),
            ("1.0", "Connection: keep-alive, close\r\n", false), ("1.0", "Proxy-Connection: keep-alive\r\n", false),
        ])
    func persistence(version: String, fields: String, keepAlive: Bool) throws {
        #expect(try Feeding.head("GET / HTTP/\(version)\r\nHost: h\r\n\(fields)\r\n").keepAlive == keepAlive)
    }

    @Test("repeated Range and If-Range fields are ignored, and a repeated X-Registry is a 400")
    func repeatedFields() throws {
        let start = "GET / HTTP/1.1\r\nHost: h\r\n"
        #expect(try Feeding.head(start + "Range: bytes=0-1\r\nRange: bytes=2-3\r\n\r\n").range == nil)
        #expect(try Feeding.head(start + "Range: a\r\nRange: b\r\nRange: c\r\n\r\n").range == nil)
        #expect(try Feeding.head(start + "If-Range: a\r\nIf-Range: b\r\nRange: c\r\n\r\n").range == nil)
        #expect(try Feeding.head(start + "Range: c\r\nIf-Range: a\r\nIf-Range: b\r\n\r\n").range == nil)
        let tags = start + "If-None-Match: a\r\nIf-None-Match: b\r\n\r\n"
        #expect(Feeding.text(try Feeding.head(tags).ifNoneMatch, tags) == "a")
        #expect(Feeding.status(start + "X-Registry: a\r\nx-registry: a\r\n\r\n") == 400)
    }

    @Test("a request head with too many bytes or fields is a 431") func headLimits() {
        let start = "GET / HTTP/1.1\r\nHost: h\r\nX: "
        let room = RequestParser.maximumHeadBytes - start.utf8.count - 4
        #expect(Feeding.status(start + String(repeating: "a", count: room) + "\r\n\r\n") == 200)
        #expect(Feeding.status(start + String(repeating: "a", count: room + 1) + "\r\n\r\n") == 431)
        #expect(Feeding.status(start + String(repeating: "a", count: room + 3)) == 0)
        #expect(Feeding.status(start + String(repeating: "a", count: room + 4)) == 431)
        #expect(Feeding.status("GET /" + String(repeating: "a", count: 40_000)) == 431)
        let field = "X: y\r\n"
        let fields = RequestParser.maximumFields - 1
        let line = "GET / HTTP/1.1\r\nHost: h\r\n"
        #expect(Feeding.status(line + String(repeating: field, count: fields) + "\r\n") == 200)
        #expect(Feeding.status(line + String(repeating: field, count: fields + 1) + "\r\n") == 431)
        #expect(Feeding.status(line + String(repeating: field, count: fields) + "Y") == 431)
    }

    /// Every byte value at every place of a value and a target, so that the search by words has no blind lane.
    @Test("a control character is a 400 at every position of a value and a target") func controlCharacters() {
        for byte in UInt8.min...UInt8.max {
            for place in 0..<24 {
                var value = Array(repeating: UInt8(0x61), count: 24)
                value[place] = byte
                let inField = Array("GET / HTTP/1.1\r\nHost: h\r\nX: ".utf8) + value + Array("\r\n\r\n".utf8)
                let isControl = (byte < 0x20 && byte != 0x09) || byte == 0x7F
                #expect(Feeding.status(Feeding.parse(inField)) == (isControl ? 400 : 200), "\(byte) at \(place)")
                let inTarget = Array("GET /".utf8) + value + Array(" HTTP/1.1\r\nHost: h\r\n\r\n".utf8)
                let isBad = byte < 0x21 || byte >= 0x7F || byte == 0x23
                #expect(Feeding.status(Feeding.parse(inTarget)) == (isBad ? 400 : 200), "\(byte) at \(place)")
            }
        }
    }

    @Test("the token character classes are those of RFC 9110") func tokenCharacters() {
        let token = Set("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ".utf8)
        #expect(ByteScan.tokenClasses.utf8CodeUnitCount == 256)
        for byte in UInt8.min...UInt8.max {
            #expect(ASCIISet.token.contains(byte) == token.contains(byte))
            #expect((ByteScan.tokenClasses.utf8Start[Int(byte)] == 0x74) == token.contains(byte))
        }
    }
}

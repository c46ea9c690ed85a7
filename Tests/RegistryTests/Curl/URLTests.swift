// URLs by curl's API: what is read, what is refused, what stays as it was.

import TestSupport
import Testing

@testable import Registry

@Suite struct URLTests {
    @Test("a URL is split into scheme, host, port, path and query") func parts() throws {
        let url = try #require(UpstreamURL("HTTPS://Registry.Example.:8443/v2/a%20b?x=1&y=%2F#part"))
        #expect(url.scheme == .https)
        #expect(url.host == "registry.example")
        #expect(url.port == 8443)
        #expect(url.path == "/v2/a%20b")
        #expect(url.query == "x=1&y=%2F")
        #expect(!url.text.contains("#"))
        #expect(UpstreamURL("http://a")?.port == 80)
        #expect(UpstreamURL("https://a")?.port == 443)
        #expect(UpstreamURL("https://a")?.path == "/")
        #expect(UpstreamURL("https://[2001:DB8::1]/x")?.host == "[2001:db8::1]")
    }

    @Test(
        "a URL that is not plain http or https is refused",
        arguments: [
            "", "a", "/x", "//a/x", "a.b/x", "ftp://a", "file:///x", "javascript:x", "https://", "https://u@a/",
            "https://u:p@a/",
            "https://a:0/", "https://a:99999/", "https://a:x/", "https://a b/", "https://a\r\nb/", "https://[::1/",
            "https://[x]/",
            "https://[fe80::1%25lo]/", "https://.", "https://a\u{7F}/",
        ])
    func invalidURLs(text: String) {
        #expect(UpstreamURL(text) == nil)
    }

    @Test("a numeric host in any notation is read as its IPv4 address") func numericHosts() {
        for text in ["https://2130706433/", "https://0x7f000001/", "https://0177.1/", "https://127.1/"] {
            #expect(UpstreamURL(text)?.host == "127.0.0.1", "\(text)")
        }
    }

    @Test("a URL is built from a base, and references resolve without re-encoding") func resolving() throws {
        let base = try #require(UpstreamURL("https://a.b:5000"))
        let digest = "sha256:" + String(repeating: "0", count: 64)
        let blob = try #require(base.with(path: "/v2/x/blobs/\(digest)", query: nil))
        #expect(blob.text == "https://a.b:5000/v2/x/blobs/\(digest)")
        #expect(
            base.with(path: "/v2/x/tags/list", query: "n=5&last=a%2bb")?.text
                == "https://a.b:5000/v2/x/tags/list?n=5&last=a%2bb")
        #expect(blob.resolving("/y?z=1")?.text == "https://a.b:5000/y?z=1")
        #expect(blob.resolving("other")?.path == "/v2/x/blobs/other")
        #expect(blob.resolving("../z")?.path == "/v2/x/z")
        #expect(blob.resolving("//c.d/z")?.text == "https://c.d/z")
        // A signed URL stays as it was signed.
        let signed = "https://c.d/p/data?X-Sig=ab%2Bc%3D%3D&t=2020-01-01T00%3A00%3A00Z&u=a+b"
        #expect(blob.resolving(signed)?.text == signed)
        #expect(blob.resolving("https://c.d/a b?c=d e")?.text.contains(" ") != true)
        #expect(blob.resolving(String(repeating: "a", count: 20_000)) == nil)
    }

    @Test("query parameters are percent-encoded and appended") func parameters() throws {
        let realm = try #require(UpstreamURL("https://a/token?old=1"))
        let url = realm.adding([("service", "my reg&x=y"), ("scope", "repository:a/b:pull")])
        // curl 7.88 writes the hexadecimal digits in lower case, later ones in upper case.
        let expected = "old=1&service=my+reg%26x%3dy&scope=repository%3aa%2fb%3apull"
        #expect(url?.query?.lowercased() == expected)
        #expect(UpstreamURL("https://a/token")?.adding([])?.text == "https://a/token")
    }

    @Test("a redacted URL hides the query") func redacted() {
        #expect(UpstreamURL("https://a.b/x?sig=secret")?.redacted == "https://a.b/x?…")
        #expect(UpstreamURL("http://a.b:5000/x")?.redacted == "http://a.b:5000/x")
    }
}

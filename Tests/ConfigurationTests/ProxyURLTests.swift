// URLs of proxies, and lists of destinations without one.

import Testing

@testable import Configuration

@Suite struct ProxyURLTests {
    @Test(
        "a proxy's URL is read with its scheme, host, port, user and password",
        arguments: [
            ("http://proxy.example:3128", "http://proxy.example:3128", nil, ""),
            ("proxy.example:3128", "http://proxy.example:3128", nil, ""),
            ("proxy", "http://proxy:80", nil, ""), ("HTTPS://Proxy.Example/", "https://proxy.example:443", nil, ""),
            ("socks5://127.0.0.1", "socks5://127.0.0.1:1080", nil, ""),
            ("socks5h://[::1]:9", "socks5h://[::1]:9", nil, ""),
            ("http://me:pass@proxy:1", "http://proxy:1", "me", "pass"),
            ("http://me@proxy:1", "http://proxy:1", "me", ""), ("http://me:@proxy:1", "http://proxy:1", "me", ""),
            ("http://m%40e:p%3A%2F%25%C3%A4@proxy:1", "http://proxy:1", "m@e", "p:/%ä"),
            // As in curl, what is no escape stays, and the first colon ends the user.
            ("http://me:1%2:x%zz%4@proxy:1", "http://proxy:1", "me", "1%2:x%zz%4"),
            ("http://me:a@b@proxy:1", "http://proxy:1", "me", "a@b"),
        ] as [(String, String, String?, String)])
    func urls(_ text: String, _ shown: String, _ user: String?, _ password: String) throws {
        let url = try ProxyURL(text)
        #expect(url.description == shown)
        #expect(url.user == user)
        #expect(url.password.revealed == password)
    }

    @Test(
        "an invalid proxy is refused with its reason and without its text",
        arguments: [
            ("ftp://proxy", "must begin with http://, https://, socks5:// or socks5h://"),
            ("socks4://proxy", "must begin with http://, https://, socks5:// or socks5h://"),
            ("http://", "must have a host[:port], as http://proxy.example:3128 does"),
            ("http://proxy:0", "must have a host[:port], as http://proxy.example:3128 does"),
            ("http://proxy:65536", "must have a host[:port], as http://proxy.example:3128 does"),
            ("http://s3cret@@proxy:x", "must have a host[:port], as http://proxy.example:3128 does"),
            ("http://[abc]:1", "has brackets around what is no IPv6 address"),
            ("http://[1.2.3.4]:1", "has brackets around what is no IPv6 address"),
            (
                "http://me:s3/cret@proxy",
                "must have nothing behind its host and port (in a password, / ? # are %2F %3F %23)"
            ),
            ("http://me%3A:s3cret@proxy", "must not have a colon (%3A) in its user name"),
            (
                "http://me:s3cret%0A@proxy",
                "has a user or password that is too long, or not UTF-8, or holds a control character"
            ),
            (
                "http://me:s3cret%FF@proxy",
                "has a user or password that is too long, or not UTF-8, or holds a control character"
            ),
        ])
    func refusals(_ text: String, _ reason: String) {
        #expect(throws: Refusal(reason)) { try ProxyURL(text) }
        #expect(!reason.contains("s3"))
    }

    @Test("a proxy's password is in no description of it") func secret() throws {
        var config = Config()
        config.connections.proxy = try ProxySetting("http://me:s3cret@proxy:1")
        for text in ["\(config)", "\(config.connections)", String(reflecting: config.connections.proxy)] {
            #expect(!text.contains("s3cret") && text.contains("proxy"))
        }
    }

    // MARK: Destinations without a proxy

    /// The list of Go's own test (golang.org/x/net/http/httpproxy, TestUseProxy).
    private static let list =
        "foobar.com, .barbaz.net, *.wildcard.io, 192.168.1.1, 192.168.1.2:81, 192.168.1.3:80, 10.0.0.0/30, "
        + "2001:db8::52:0:1, [2001:db8::52:0:2]:443, [2001:db8::52:0:3]:80, 2002:db8:a::45/64"

    @Test(
        "a list without proxies is read as Go reads it",
        arguments: [
            ("192.168.1.1", true), ("192.168.1.2", false), ("192.168.1.3", true), ("192.168.1.4", false),
            ("10.0.0.2", true), ("10.0.0.4", false), ("[::ffff:10.0.0.2]", true), ("[2001:db8::52:0:1]", true),
            ("[2001:db8::52:0:2]", false), ("[2001:db8::52:0:3]", true), ("[2002:db8:a::123]", true),
            ("[2002:db8:a:1::123]", false), ("[fe80::424b:c8be:1643:a1b6]", false), ("barbaz.net", false),
            ("www.barbaz.net", true), ("foobar.com", true), ("www.foobar.com", true), ("foofoobar.com", false),
            ("baz.com", false), ("localhost.net", false), ("local.localhost", false), ("barbarbaz.net", false),
            ("wildcard.io", false), ("nested.wildcard.io", true), ("awildcard.io", false), ("localhost", false),
        ])
    func goLists(_ host: String, _ isCovered: Bool) throws {
        #expect(try NoProxyList(Self.list).covers(host: host, port: 80) == isCovered)
        #expect(NoProxyList(ignoringErrorsIn: Self.list).covers(host: host, port: 80) == isCovered)
        #expect(try NoProxyList("a.b,*").covers(host: host, port: 80))
        #expect(!NoProxyList().covers(host: host, port: 80))
    }

    @Test("ports, letters and spaces of a list") func details() throws {
        let list = try NoProxyList(" A.Test:443 ,\t,[::1], 0.0.0.0/0,::ffff:1.2.3.0/120 ")
        #expect(list.covers(host: "a.test", port: 443) && list.covers(host: "b.a.test", port: 443))
        #expect(!list.covers(host: "a.test", port: 80))
        #expect(list.covers(host: "[::1]", port: 1) && !list.covers(host: "[::2]", port: 1))
        #expect(list.covers(host: "8.8.8.8", port: 1))
        #expect(try NoProxyList("::ffff:1.2.3.0/120").covers(host: "1.2.3.9", port: 1))
        #expect(try !NoProxyList("::ffff:1.2.3.0/120").covers(host: "1.2.4.9", port: 1))
        #expect(try NoProxyList("::/0").covers(host: "[2001:db8::1]", port: 1))
        #expect(try !NoProxyList("::/0").covers(host: "1.2.3.4", port: 1))
        #expect(try NoProxyList("10.9.8.7/12").covers(host: "10.15.0.1", port: 1))
        #expect(try !NoProxyList("10.9.8.7/12").covers(host: "10.16.0.1", port: 1))
    }

    @Test(
        "an entry that can match nothing is refused in the configuration, and ignored in the environment",
        arguments: [
            ":1", "http://a.b", "10.0.0.0/33", "::/129", "a.b/8", "a.b:", "a.b:http", "1.2.3.4:0", "*.", ".", "a..b",
            "ä.test", "a b",
        ])
    func invalidEntries(_ entry: String) {
        #expect(throws: Refusal.self) { try NoProxyList("good.test, \(entry)") }
        let list = NoProxyList(ignoringErrorsIn: "\(entry),good.test")
        #expect(list.covers(host: "good.test", port: 80) && !list.covers(host: "other.test", port: 80))
    }

    @Test("a list has at most a thousand entries") func longList() {
        let list = (0...1000).map { "h\($0).test" }.joined(separator: ",")
        #expect(throws: Refusal("must have at most 1000 entries, not 1001")) { try NoProxyList(list) }
        #expect(NoProxyList(ignoringErrorsIn: list).covers(host: "h999.test", port: 80))
        #expect(!NoProxyList(ignoringErrorsIn: list).covers(host: "h1000.test", port: 80))
    }
}

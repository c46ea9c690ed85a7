// The proxy of a request: precedence of the places that name one, and exceptions.

import Testing

@testable import Configuration
@testable import Registry

@Suite struct ProxySettingsTests {
    /// Settings as a file has them; nil where a key is absent.
    private static func settings(proxy: String? = nil, noProxy: String? = nil) throws -> ConnectionSettings {
        var settings = ConnectionSettings()
        settings.proxy = try proxy.map { try ProxySetting($0) }
        settings.noProxy = try noProxy.map { try NoProxyList($0) }
        return settings
    }

    private static func proxy(
        _ url: String = "https://registry.test/", entry: ConnectionSettings? = nil,
        topLevel: ConnectionSettings = ConnectionSettings(), environment: [String: String] = [:]
    ) throws -> String? {
        let settings = ProxySettings(
            topLevel: topLevel, environment: try UpstreamEnvironment { environment[$0] })
        return settings.proxy(for: try #require(UpstreamURL(url)), of: entry)?.description
    }

    /// The cases of Go's own test (golang.org/x/net/http/httpproxy, TestProxyForURL) that concern both programs.
    @Test(
        "the environment's proxies are chosen as Go chooses them",
        arguments: [
            (["HTTP_PROXY": "127.0.0.1:8080"], "http://example.com/", "http://127.0.0.1:8080"),
            (["HTTP_PROXY": "cache.corp.example.com"], "http://example.com/", "http://cache.corp.example.com:80"),
            (["HTTP_PROXY": "localhost"], "http://example.com/", "http://localhost:80"),
            (["HTTP_PROXY": "https://127.0.0.1:8080"], "http://example.com/", "https://127.0.0.1:8080"),
            (["HTTP_PROXY": "socks5://127.0.0.1"], "http://example.com/", "socks5://127.0.0.1:1080"),
            (["HTTP_PROXY": "a.tld", "HTTPS_PROXY": "b.tld"], "http://insecure.tld/", "http://a.tld:80"),
            (["HTTP_PROXY": "a.tld", "HTTPS_PROXY": "b.tld"], "https://secure.tld/", "http://b.tld:80"),
            (["HTTP_PROXY": "a.tld"], "https://secure.tld/", nil), ([:], "http://example.com/", nil),
            (["HTTP_PROXY": "proxy", "NO_PROXY": "example.com"], "http://example.com/", nil),
            (["HTTP_PROXY": "proxy", "NO_PROXY": ".example.com"], "http://example.com/", "http://proxy:80"),
            (["HTTP_PROXY": "proxy", "NO_PROXY": "ample.com"], "http://example.com/", "http://proxy:80"),
            (["HTTP_PROXY": "proxy", "NO_PROXY": "example.com"], "http://foo.example.com/", nil),
            (["HTTP_PROXY": "proxy", "NO_PROXY": "*"], "http://example.com/", nil),
            (["HTTP_PROXY": "proxy", "NO_PROXY": ":1"], "http://example.com/", "http://proxy:80"),
            (["HTTP_PROXY": "proxy"], "http://localhost/", nil), (["HTTP_PROXY": "proxy"], "http://127.0.0.2/", nil),
            (["HTTP_PROXY": "proxy"], "http://[::1]:5000/", nil),
            (["HTTP_PROXY": "proxy"], "http://[::2]/", "http://proxy:80"),
            (["ALL_PROXY": "proxy"], "https://example.com/", "http://proxy:80"),
            (["https_proxy": "proxy", "no_proxy": "example.com:5000"], "https://example.com/", "http://proxy:80"),
            (["https_proxy": "proxy", "no_proxy": "example.com:443"], "https://example.com/", nil),
        ] as [([String: String], String, String?)])
    func environment(_ variables: [String: String], _ url: String, _ proxy: String?) throws {
        #expect(try Self.proxy(url, environment: variables) == proxy)
    }

    @Test("an entry's proxy precedes the top level's, and that the environment's") func precedence() throws {
        let environment = ["https_proxy": "env"]
        let topLevel = try Self.settings(proxy: "top")
        let entry = try Self.settings(proxy: "own")
        #expect(try Self.proxy(environment: environment) == "http://env:80")
        #expect(try Self.proxy(topLevel: topLevel, environment: environment) == "http://top:80")
        #expect(try Self.proxy(entry: entry, topLevel: topLevel, environment: environment) == "http://own:80")
        let direct = try Self.settings(proxy: "direct")
        #expect(try Self.proxy(entry: direct, topLevel: topLevel, environment: environment) == nil)
        #expect(try Self.proxy(topLevel: direct, environment: environment) == nil)
        #expect(try Self.proxy(entry: entry, topLevel: direct) == "http://own:80")
    }

    @Test("exceptions count for proxies of their own place and of more general ones") func exceptions() throws {
        let list = "registry.test"
        let environment = ["https_proxy": "env", "no_proxy": list]
        #expect(try Self.proxy(topLevel: Self.settings(proxy: "top"), environment: environment) == "http://top:80")
        #expect(try Self.proxy(topLevel: Self.settings(proxy: "top", noProxy: list)) == nil)
        #expect(
            try Self.proxy(
                entry: Self.settings(proxy: "own"), topLevel: Self.settings(proxy: "top", noProxy: list))
                == "http://own:80")
        #expect(try Self.proxy(entry: Self.settings(proxy: "own", noProxy: list)) == nil)
        #expect(try Self.proxy(entry: Self.settings(noProxy: list), topLevel: Self.settings(proxy: "top")) == nil)
        #expect(try Self.proxy(topLevel: Self.settings(noProxy: list), environment: ["https_proxy": "env"]) == nil)
        #expect(
            try Self.proxy(topLevel: Self.settings(noProxy: ""), environment: environment) == "http://env:80",
            "an empty list undoes the environment's")
        #expect(
            try Self.proxy(entry: Self.settings(noProxy: ""), topLevel: Self.settings(proxy: "top", noProxy: list))
                == "http://top:80")
    }

    @Test(
        "a configured proxy is used for this machine too, unlike the environment's", arguments: ["localhost", "[::1]"])
    func thisMachine(_ host: String) throws {
        let url = "http://\(host):5000/"
        #expect(try Self.proxy(url, topLevel: Self.settings(proxy: "top")) == "http://top:80")
        #expect(try Self.proxy(url, entry: Self.settings(proxy: "own")) == "http://own:80")
        #expect(try Self.proxy(url, topLevel: Self.settings(proxy: "top", noProxy: "localhost,::1")) == nil)
        #expect(try Self.proxy(url, environment: ["http_proxy": "env"]) == nil)
    }
}

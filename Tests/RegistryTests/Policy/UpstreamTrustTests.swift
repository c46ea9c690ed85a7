// Where requests, credentials and redirects may go: tables.

import TestSupport
import Testing

@testable import Configuration
@testable import Registry

@Suite struct UpstreamTrustTests {
    // MARK: Addresses

    @Test("local addresses are allowed only for a configured host or a configured proxy") func allowedLocal() throws {
        let loopback = try #require(NetworkAddress(literal: "127.0.0.1"))
        let metadata = try #require(NetworkAddress(literal: "169.254.169.254"))
        let outside = try #require(NetworkAddress(literal: "8.8.8.8"))
        let strict = AddressGuard(hostIsConfigured: false)
        #expect(!strict.admits(loopback))
        #expect(!strict.admits(metadata))
        #expect(strict.admits(outside))
        #expect(AddressGuard(hostIsConfigured: true, refusesPrivate: true).admits(metadata))
        let inside = try #require(NetworkAddress(literal: "10.0.0.1"))
        #expect(strict.admits(inside))
        #expect(!AddressGuard(hostIsConfigured: false, refusesPrivate: true).admits(inside))
        #expect(AddressGuard(hostIsConfigured: true, refusesPrivate: true).admits(inside))
        var proxied = TransferRequest(
            url: try #require(UpstreamURL("https://a.test/")), addresses: strict, noProgressMilliseconds: 1)
        #expect(!proxied.addresses.admits(loopback))
        proxied.proxy = UpstreamProxy(try ProxyURL("localhost:3128"))
        #expect(proxied.addresses.admits(loopback))
    }

    // MARK: Credentials

    private static func trust(
        _ base: String, name: String? = nil, isConfigured: Bool = true, tokenRealm: String? = nil
    ) throws -> UpstreamTrust {
        let url = try #require(UpstreamURL(base))
        return UpstreamTrust(name: name ?? url.host, base: url, isConfigured: isConfigured, tokenRealm: tokenRealm)
    }

    private static func decide(_ realm: String, _ trust: UpstreamTrust) throws -> String {
        switch CredentialPolicy.decide(realm: try #require(UpstreamURL(realm)), trust: trust) {
        case .send: "send"
        case .anonymous: "anonymous"
        case .refuse: "refuse"
        }
    }

    @Test("credentials are sent only to https realms of the registry's host or its parent domain")
    func realms() throws {
        let gitlab = try Self.trust("https://registry.gitlab.com")
        for (realm, expected) in [
            ("https://registry.gitlab.com/auth", "send"), ("https://registry.gitlab.com:8443/auth", "send"),
            ("https://gitlab.com/jwt/auth", "send"), ("https://GITLAB.com./jwt/auth", "send"),
            ("https://com/auth", "anonymous"), ("https://auth.registry.gitlab.com/", "anonymous"),
            ("https://evil.com/auth", "anonymous"), ("https://registry.gitlab.com.evil.com/", "anonymous"),
            ("https://xgitlab.com/", "anonymous"), ("http://gitlab.com/jwt/auth", "refuse"),
            ("http://registry.gitlab.com/auth", "anonymous"), ("https://127.0.0.1/auth", "refuse"),
            ("https://localhost/auth", "refuse"), ("https://169.254.169.254/auth", "refuse"),
        ] {
            #expect(try Self.decide(realm, gitlab) == expected, "\(realm)")
        }
    }

    @Test("an IP address has no parent domain") func addressRealms() throws {
        let address = try Self.trust("https://10.1.2.3")
        #expect(try Self.decide("https://10.1.2.3/auth", address) == "send")
        #expect(try Self.decide("https://2.3/auth", address) == "anonymous")
        #expect(!CredentialPolicy.isSameOrParent("2.3.4.5", of: "x.2.3.4.5"))
    }

    @Test("Docker Hub's credentials are sent to auth.docker.io, those of its mirror are not") func dockerHub() throws {
        let hub = try Self.trust("https://registry-1.docker.io", name: "docker.io")
        #expect(try Self.decide("https://auth.docker.io/token", hub) == "send")
        #expect(try Self.decide("https://auth.docker.com/token", hub) == "anonymous")
        // A mirror's credentials are the mirror's.
        let mirror = try Self.trust("https://mirror.corp", name: "docker.io")
        #expect(try Self.decide("https://auth.docker.io/token", mirror) == "anonymous")
    }

    @Test("credentials are sent to the configured token realm, port included") func configuredRealm() throws {
        let other = try Self.trust("https://registry.a", tokenRealm: "auth.b")
        #expect(try Self.decide("https://auth.b/token", other) == "send")
        #expect(try Self.decide("https://auth.b:8443/token", other) == "anonymous")
        #expect(try Self.decide("http://auth.b/token", other) == "refuse")
        let port = try Self.trust("https://registry.a", tokenRealm: "auth.b:8443")
        #expect(try Self.decide("https://auth.b:8443/token", port) == "send")
        #expect(try Self.decide("https://auth.b/token", port) == "anonymous")
        let local = try Self.trust("https://registry.a", tokenRealm: "127.0.0.1:5001")
        #expect(try Self.decide("https://127.0.0.1:5001/token", local) == "send")
    }

    @Test("a plain http registry may have a plain http realm on its own host") func plainRealm() throws {
        let plain = try Self.trust("http://registry.a:5000")
        #expect(try Self.decide("http://registry.a:5001/token", plain) == "send")
        #expect(try Self.decide("http://other.b/token", plain) == "anonymous")
    }

    @Test("the hint names auth.tokenRealm and the value to set, without the query") func hint() throws {
        let trust = try Self.trust("https://registry.a")
        let realm = try #require(UpstreamURL("https://auth.b:8443/token?x=secret"))
        guard case .anonymous(let hint) = CredentialPolicy.decide(realm: realm, trust: trust) else {
            Issue.record("not anonymous")
            return
        }
        #expect(hint.contains("auth.tokenRealm to auth.b:8443"))
        #expect(!hint.contains("secret"))
    }

    // MARK: Redirects

    private static func redirect(_ from: String, _ to: String, hop: Int = 1, _ trust: UpstreamTrust) throws -> String {
        let from = try #require(UpstreamURL(from))
        switch RedirectPolicy.decide(from: from, to: from.resolving(to), hop: hop, trust: trust) {
        case .follow(let keeps): return keeps ? "keep" : "drop"
        case .refuse: return "refuse"
        }
    }

    @Test("a redirect keeps, drops or refuses credentials by its scheme, host and address") func redirects() throws {
        let trust = try Self.trust("https://registry.a")
        let from = "https://registry.a/v2/x/blobs/y"
        for (location, expected) in [
            ("/other", "keep"), ("https://registry.a/z", "keep"), ("https://REGISTRY.A:443/z", "keep"),
            ("?q=1", "keep"),
            ("https://registry.a:8443/z", "drop"), ("https://cdn.b/z?sig=1", "drop"), ("//cdn.b/z", "drop"),
            ("http://registry.a/z", "refuse"), ("http://cdn.b/z", "refuse"), ("ftp://cdn.b/z", "refuse"),
            ("file:///etc/passwd", "refuse"), ("https://user@cdn.b/z", "refuse"), ("https://user:pw@cdn.b/z", "refuse"),
            ("https://127.0.0.1/z", "refuse"), ("https://[::1]/z", "refuse"), ("https://localhost/z", "refuse"),
            ("https://2130706433/z", "refuse"), ("https://0x7f.1/z", "refuse"),
            ("https://[::ffff:127.0.0.1]/z", "refuse"),
            ("https://169.254.169.254/latest/meta-data", "refuse"), ("https://[fe80::1%25eth0]/z", "refuse"),
            ("https://", "refuse"),
        ] {
            #expect(try Self.redirect(from, location, trust) == expected, "\(location)")
        }
        #expect(try Self.redirect(from, "/other", hop: 10, trust) == "keep")
        #expect(try Self.redirect(from, "/other", hop: 11, trust) == "refuse")
        #expect(try Self.redirect("http://registry.a/x", "https://registry.a/x", trust) == "drop")
    }

    @Test("a redirect to a local address is followed only to the configured host") func localRedirects() throws {
        let local = try Self.trust("http://127.0.0.1:5000", name: "registry.a")
        #expect(try Self.redirect("http://127.0.0.1:5000/x", "http://127.0.0.1:9000/x", local) == "drop")
        #expect(try Self.redirect("http://127.0.0.1:5000/x", "http://127.0.0.2:5000/x", local) == "refuse")
        #expect(try Self.redirect("http://127.0.0.1:5000/x", "http://localhost:5000/x", local) == "refuse")
        let unknown = try Self.trust("https://localhost:5000", isConfigured: false)
        #expect(unknown.restriction(of: unknown.base) != nil)
        let known = try Self.trust("https://[::1]:5000")
        #expect(try Self.redirect("https://[::1]:5000/x", "https://[0:0:0::1]/x", known) == "drop")
    }

    @Test("a private host is refused as a base, a realm and a redirect only if private upstreams are denied")
    func privateHosts() throws {
        let base = try #require(UpstreamURL("https://registry.a"))
        for refuses in [false, true] {
            let trust = UpstreamTrust(
                name: "registry.a", base: base, isConfigured: true, tokenRealm: "10.0.0.2:5001", refusesPrivate: refuses
            )
            let expected = refuses ? "refuse" : "drop"
            #expect(try Self.redirect("https://registry.a/x", "https://10.0.0.1/x", trust) == expected)
            #expect(try Self.redirect("https://registry.a/x", "https://[fd00::1]/x", trust) == expected)
            #expect(try Self.redirect("https://registry.a/x", "https://10.0.0.2/x", trust) == "drop")
            #expect(try Self.decide("https://10.0.0.1/token", trust) == (refuses ? "refuse" : "anonymous"))
            #expect(try Self.decide("https://10.0.0.2:5001/token", trust) == "send")
            let address = UpstreamTrust(
                name: "10.0.0.1", base: try #require(UpstreamURL("https://10.0.0.1")), isConfigured: false,
                refusesPrivate: refuses)
            #expect((address.restriction(of: address.base) != nil) == refuses)
        }
    }

    @Test("the reason of a refused address is for the log only, whatever else is wrong with the target")
    func addressComesFirst() throws {
        let trust = try Self.trust("https://registry.a")
        let from = try #require(UpstreamURL("https://registry.a/x"))
        let target = try #require(UpstreamURL("http://169.254.169.254/x"))
        let refusal = TargetRefusal.address(
            "it redirects to 169.254.169.254, the address of a cloud metadata service")
        #expect(RedirectPolicy.decide(from: from, to: target, hop: 11, trust: trust) == .refuse(refusal))
        guard case .refuse(.address) = CredentialPolicy.decide(realm: target, trust: trust) else {
            Issue.record("not an address")
            return
        }
    }

    @Test("the listed token services are those that credentials are sent to") func listedRealms() throws {
        func realms(_ name: String, _ base: String, tokenRealm: String? = nil) throws -> [String] {
            CredentialPolicy.realms(
                of: UpstreamTrust(
                    name: name, base: try #require(UpstreamURL(base)), isConfigured: true, tokenRealm: tokenRealm))
        }
        #expect(
            try realms("registry.gitlab.com", "https://registry.gitlab.com") == ["registry.gitlab.com", "gitlab.com"])
        #expect(
            try realms("docker.io", "https://registry-1.docker.io")
                == ["registry-1.docker.io", "docker.io", "auth.docker.io"])
        #expect(
            try realms("quay.io", "https://m.test:444", tokenRealm: "t.test:8443") == [
                "m.test", "quay.io", "t.test:8443",
            ])
        #expect(try realms("10.0.0.5", "http://10.0.0.5:5000") == ["10.0.0.5"])
    }
}

// Who may administer: every refusal by itself, and what is let through.

import TestSupport
import Testing

@testable import Configuration
@testable import Registry

@Suite struct AdminAccessTests {
    /// `adminListen` on a loopback address, without a token.
    private static let local = try! AdminAccess.listener(host: "127.0.0.1", token: nil)  // a loopback address

    private func origin(
        _ peer: String? = "127.0.0.1", host: String = "localhost:8080", _ fields: [(String, String)] = []
    ) -> AdminAccess.Origin {
        .init(
            peer: peer.flatMap { NetworkAddress(literal: $0) }, host: host,
            fields: [("user-agent", "curl/7.88.1"), ("accept", "*/*")] + fields)
    }

    @Test(
        "a loopback client has admin access without a token",
        arguments: ["127.0.0.1", "127.0.0.2", "127.255.255.254", "::1", "::ffff:127.0.0.1"])
    func loopbackPeers(_ peer: String) {
        #expect(Self.local.denial(origin(peer)) == nil)
    }

    @Test(
        "a client at any other address has no admin access",
        arguments: [
            "10.0.0.1", "192.168.1.7", "126.255.255.255", "128.0.0.1", "0.0.0.0", "169.254.1.1", "::", "::2", "fe80::1",
            "2001:db8::1", "::ffff:10.0.0.1", "::127.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::",
        ])
    func otherPeers(_ peer: String) {
        let denial = Self.local.denial(origin(peer))
        #expect(denial?.status == 403 && denial?.reason.hasSuffix("it does not come from this machine") == true)
    }

    @Test("a client with an unknown address has no admin access") func unknownPeer() {
        #expect(Self.local.denial(origin(nil))?.status == 403)
    }

    @Test(
        "a Host of localhost or a loopback address has admin access",
        arguments: [
            "localhost", "LOCALHOST:1", "127.0.0.1", "127.0.0.1:8080", "127.1.2.3:80", "[::1]", "[::1]:8080",
        ])
    func loopbackHosts(_ host: String) {
        #expect(Self.local.denial(origin(host: host)) == nil)
    }

    /// A name that an attacker has made to mean 127.0.0.1 is still that name.
    @Test(
        "any other Host has no admin access",
        arguments: [
            "", "mirror:8080", "rebound.example", "localhost.example", "127.0.0.1.example", "10.0.0.1:8080", "[::2]:80",
            "::1", "[::1].example", "2130706433", "0x7f.1", "localhost.", "[::ffff:10.0.0.1]",
        ])
    func otherHosts(_ host: String) {
        #expect(Self.local.denial(origin(host: host))?.reason.contains("Host") == true, "\(host)")
        let field = origin([("host", host)])
        #expect(Self.local.denial(field)?.reason.contains("Host") == true, "\(host)")
    }

    private func origin(_ fields: [(String, String)]) -> AdminAccess.Origin { origin("127.0.0.1", fields) }

    @Test(
        "requests with fields of web pages or proxies are refused, and the field is named",
        arguments: [
            (("origin", "https://evil.example"), "(Origin)"), (("origin", "null"), "(Origin)"),
            (("origin", "http://localhost:8080"), "(Origin)"), (("origin", ""), "(Origin)"),
            (("sec-fetch-site", "cross-site"), "(Sec-Fetch-Site)"),
            (("sec-fetch-site", "same-site"), "(Sec-Fetch-Site)"),
            (("sec-fetch-site", ""), "(Sec-Fetch-Site)"), (("referer", "http://evil.example/"), "(Referer)"),
            (("x-forwarded-for", "10.1.2.3"), "(x-forwarded-for)"), (("x-forwarded-for", ""), "(x-forwarded-for)"),
            (("forwarded", "for=10.1.2.3"), "(forwarded)"), (("x-forwarded-host", "m"), "(x-forwarded-host)"),
            (("x-forwarded-proto", "https"), "(x-forwarded-proto)"), (("x-real-ip", "10.1.2.3"), "(x-real-ip)"),
            (("x-forwarded-server", "m"), "(x-forwarded-server)"), (("via", "1.1 proxy"), "(via)"),
        ])
    func pagesAndProxies(_ field: (String, String), _ reason: String) {
        let denial = Self.local.denial(origin([field]))
        #expect(denial?.status == 403 && denial?.reason.hasSuffix(reason) == true, "\(field)")
        #expect(AdminAccess.socket.denial(origin([field])) == nil)
    }

    /// What the address bar sends, and a page of this very server.
    @Test(
        "a browser's address bar and the server's own pages have admin access",
        arguments: [
            [("sec-fetch-site", "none")], [("sec-fetch-site", "same-origin"), ("referer", "http://localhost/")],
        ])
    func ownBrowser(_ fields: [(String, String)]) {
        #expect(Self.local.denial(origin(fields)) == nil)
    }

    @Test("every client of the socket has admin access") func socket() {
        #expect(AdminAccess.socket.denial(origin(nil, host: "", [("origin", "x"), ("via", "y")])) == nil)
    }

    // MARK: The serving port

    @Test("the serving port refuses admin requests, and names the socket and adminListen")
    func servingPortIsClosed() throws {
        let access = try AdminAccess.servingPort(isOpen: false, token: Secret("sesame"))
        for request in [origin(), origin("10.0.0.1"), origin(nil), origin([("authorization", "Bearer sesame")])] {
            let denial = try #require(access.denial(request))
            #expect(denial.status == 403)
            #expect(denial.reason.contains("Unix socket") && denial.reason.contains("adminListen"))
            #expect(!denial.reason.contains("/"), "no path of this machine")
        }
    }

    @Test("adminOnServingPort requires the token, from a local client too")
    func servingPortWithToken() throws {
        let access = try AdminAccess.servingPort(isOpen: true, token: Secret("sesame"))
        #expect(access.denial(origin([("authorization", "Bearer sesame")])) == nil)
        #expect(access.denial(origin("10.0.0.1", [("authorization", "Bearer sesame")])) == nil)
        #expect(access.denial(origin())?.status == 401)
        #expect(access.denial(origin([("authorization", "Bearer other")]))?.status == 401)
    }

    @Test("adminOnServingPort without a token is refused")
    func servingPortWithoutToken() {
        let refusal = #expect(throws: Refusal.self) { _ = try AdminAccess.servingPort(isOpen: true, token: nil) }
        #expect(refusal?.reason.hasPrefix("adminOnServingPort: needs adminToken or adminTokenFromEnv") == true)
    }

    // MARK: A listener of its own

    @Test(
        "an admin listener on a non-loopback address needs a token",
        arguments: ["0.0.0.0", "::", "10.0.0.1", "192.168.0.1", "fe80::1"])
    func openListener(_ host: String) throws {
        #expect(throws: Refusal.self) { _ = try AdminAccess.listener(host: host, token: nil) }
        _ = try AdminAccess.listener(host: host, token: Secret("t"))
    }

    @Test("a loopback listener without a token serves local clients, but no web pages or proxies")
    func loopbackListener() throws {
        for host in ["127.0.0.1", "127.0.0.9", "::1"] {
            let access = try AdminAccess.listener(host: host, token: nil)
            #expect(access.denial(origin()) == nil)
            #expect(access.denial(origin("10.0.0.1"))?.status == 403)
            #expect(access.denial(origin([("origin", "https://evil.example")]))?.status == 403)
        }
    }

    /// With a token it is the token that counts, wherever the request comes from and whoever handed it on.
    @Test("with a token, only the exact bearer token decides") func token() throws {
        let access = try AdminAccess.listener(host: "127.0.0.1", token: Secret("sesame"))
        func denial(_ values: String...) -> AdminAccess.Denial? {
            access.denial(
                origin("10.0.0.1", host: "registry.example", values.map { ("authorization", $0) } + [("via", "1.1 p")]))
        }
        #expect(denial("Bearer sesame") == nil && denial("bearer sesame") == nil)
        for wrong in [
            "Bearer sesam", "Bearer sesames", "Bearer Sesame", "Bearer ", "Bearer", "", "sesame", "Basic sesame",
            "Bearer  sesame", "Bearer sesamesesame",
        ] {
            #expect(denial(wrong)?.status == 401, "\(wrong)")
        }
        #expect(denial()?.status == 401)
        #expect(denial("Bearer sesame", "Bearer sesame")?.status == 401)
    }
}

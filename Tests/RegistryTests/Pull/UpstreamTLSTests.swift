// TLS towards upstreams, with real certificates and openssl as the server.

import TestSupport
import Testing

@testable import Configuration
@testable import OCI
@testable import Registry

@Suite(.needs(.openssl)) struct UpstreamTLSTests {
    private static func ask(
        _ server: TLSServer, host: String = "127.0.0.1", settings: UpstreamSettings = UpstreamSettings(),
        _ change: (inout RegistryTLS) -> Void = { _ in }
    ) throws -> ExchangeRecord {
        let kit = try UpstreamKit(settings: settings) { _, config, _ in
            config.scheme = .https
            config.send(to: "https://\(host):\(server.port)")
            change(&config.tls)
        }
        let record = kit.ask()
        kit.run.close()
        return record
    }

    private static func expectUnreachable(
        _ record: ExchangeRecord, saying text: String, _ location: SourceLocation = #_sourceLocation
    ) {
        guard case .unreachable(let reason) = record.failure else {
            Issue.record("not unreachable: \(String(describing: record.failure))", sourceLocation: location)
            return
        }
        #expect(reason.contains(text), sourceLocation: location)
        #expect(record.head == nil, sourceLocation: location)
    }

    @Test("the upstream's certificate is verified against the configured authority") func certificates() throws {
        let certificates = try TestCertificates()
        let server = try TLSServer(certificates, "server")
        let good = try Self.ask(server) { $0.caFile = certificates.file("ca.pem") }
        #expect(good.head?.status == 200)
        #expect(good.head?.isCloseDelimited == true)
        #expect(good.failure == nil)
        #expect(try Self.ask(server, host: "localhost") { $0.caFile = certificates.file("ca.pem") }.failure == nil)
        Self.expectUnreachable(try Self.ask(server) { _ in }, saying: "certificate")
        Self.expectUnreachable(
            try Self.ask(server) { $0.caFile = certificates.file("stranger.pem") }, saying: "certificate")
        #expect(try Self.ask(server) { $0.insecureSkipVerify = true }.head?.status == 200)
    }

    @Test("the name in the upstream's certificate is verified, unless verification is off") func names() throws {
        let certificates = try TestCertificates()
        let server = try TLSServer(certificates, "other")
        let wrong = try Self.ask(server) { $0.caFile = certificates.file("ca.pem") }
        Self.expectUnreachable(wrong, saying: "127.0.0.1")
        let skipped = try Self.ask(server) {
            $0.caFile = certificates.file("ca.pem")
            $0.insecureSkipVerify = true
        }
        #expect(skipped.head?.status == 200)
    }

    @Test("the configured client certificate is sent to an upstream that requires one")
    func clientCertificate() throws {
        let certificates = try TestCertificates()
        let server = try TLSServer(
            certificates, "server", ["-Verify", "1", "-verify_return_error", "-CAfile", certificates.file("ca.pem")])
        let with = try Self.ask(server) {
            $0.caFile = certificates.file("ca.pem")
            $0.certificateFile = certificates.file("client.pem")
            $0.keyFile = certificates.file("client.key")
        }
        #expect(with.head?.status == 200)
        let without = try Self.ask(server) { $0.caFile = certificates.file("ca.pem") }
        #expect(without.head == nil)
        #expect(without.failure?.registryError(host: UpstreamKit.host).status == 503)
    }

    @Test("an endless TLS handshake fails at its own limit without retry, and the error names it")
    func endlessHandshake() throws {
        var limits = ConnectLimits()
        limits.tlsMilliseconds = 150
        let kit = try UpstreamKit(limits: limits) { fake, config, _ in
            config.scheme = .https
            config.send(to: "https://\(fake.authority)")
        }
        Self.expectUnreachable(kit.ask(), saying: "TLS handshake with 127.0.0.1 took longer than 150 ms")
        #expect(kit.fake.connectionCount == 1)
        kit.run.close()
    }

    @Test("a TLS handshake may take longer than the limits for lookup and connecting")
    func slowHandshake() throws {
        let certificates = try TestCertificates()
        let server = try TLSServer(certificates, "server")
        let relay = try DelayedRelay(to: server.port, afterMilliseconds: 600)
        var limits = ConnectLimits()
        limits.lookupMilliseconds = 100
        limits.addressMilliseconds = 100
        limits.connectMilliseconds = 100
        limits.proxyMilliseconds = 100
        let kit = try UpstreamKit(limits: limits) { _, config, _ in
            config.scheme = .https
            config.send(to: "https://127.0.0.1:\(relay.port)")
            config.tls.caFile = certificates.file("ca.pem")
        }
        let record = kit.ask()
        #expect(record.failure == nil)
        #expect(record.head?.status == 200)
        kit.run.close()
    }

    @Test("authorities for all upstreams count where an upstream has none of its own") func commonAuthorities() throws {
        let certificates = try TestCertificates()
        let server = try TLSServer(certificates, "server")
        var settings = UpstreamSettings(caFile: certificates.file("ca.pem"))
        #expect(try Self.ask(server, settings: settings).head?.status == 200)
        let own = try Self.ask(server, settings: settings) { $0.caFile = certificates.file("stranger.pem") }
        Self.expectUnreachable(own, saying: "certificate")
        settings.caFile = certificates.file("stranger.pem")
        settings.environment.caFile = certificates.file("ca.pem")
        Self.expectUnreachable(try Self.ask(server, settings: settings), saying: "certificate")
        #expect(try Self.ask(server, settings: settings) { $0.caFile = certificates.file("ca.pem") }.failure == nil)
    }

    @Test("SSL_CERT_FILE and every directory of SSL_CERT_DIR are trusted") func environmentAuthorities() throws {
        let certificates = try TestCertificates()
        let server = try TLSServer(certificates, "server")
        var settings = UpstreamSettings()
        settings.environment.caFile = certificates.file("ca.pem")
        #expect(try Self.ask(server, settings: settings).head?.status == 200)
        settings.environment.caFile = certificates.file("stranger.pem")
        Self.expectUnreachable(try Self.ask(server, settings: settings), saying: "certificate")
        let (empty, good) = try (certificates.hashedDirectory(of: "stranger"), certificates.hashedDirectory(of: "ca"))
        settings.environment.caDirectories = empty
        Self.expectUnreachable(try Self.ask(server, settings: settings), saying: "certificate")
        settings.environment.caDirectories = "\(empty):\(good)"
        #expect(try Self.ask(server, settings: settings).head?.status == 200)
        settings.environment.caFile = nil
        #expect(try Self.ask(server, settings: settings).head?.status == 200)
        // An upstream's own authorities replace all of them.
        let own = try Self.ask(server, settings: settings) { $0.caFile = certificates.file("stranger.pem") }
        Self.expectUnreachable(own, saying: "certificate")
    }

    /// The client's certificate and the configured authorities belong to the upstream's own host.
    @Test("other hosts get no client certificate, and are verified with system authorities too")
    func otherHosts() throws {
        var config = RegistryConfig(name: UpstreamKit.host)
        config.tls.caFile = "/ca"
        config.tls.certificateFile = "/cert"
        config.tls.keyFile = "/key"
        let upstream = Upstream(host: UpstreamKit.host, config: config).endpoints[0]
        let own = upstream.tls(for: try #require(UpstreamURL("https://registry.test:8443/x")))
        #expect(own.certificateFile == "/cert" && own.keyFile == "/key" && own.caFile == "/ca" && !own.trustsSystem)
        let other = upstream.tls(for: try #require(UpstreamURL("https://cdn.test/x")))
        #expect(other.certificateFile == nil && other.keyFile == nil && other.caFile == "/ca" && other.trustsSystem)
        let plain = Upstream(host: UpstreamKit.host, config: nil).endpoints[0]
        #expect(plain.tls(for: upstream.base) == TransferRequest.TLS())
    }
}

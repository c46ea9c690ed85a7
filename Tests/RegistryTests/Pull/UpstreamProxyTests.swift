// Requests through outgoing proxies: scripted ones on the test's loop, and real ones.

import TestSupport
import Testing

@testable import Configuration
@testable import OCI
@testable import Registry

@Suite struct UpstreamProxyTests {
    /// `me` and `p:w%`, as in `login`.
    private static let authorization = "Basic bWU6cDp3JQ=="
    private static let login = "me:p%3Aw%25"

    /// The kit's upstream is the proxy of `registry.test`, whose name is never looked up here.
    private static func kit(
        _ scheme: RegistryConfig.Scheme = .http, limits: ConnectLimits = ConnectLimits(),
        auth: RegistryAuth? = nil
    ) throws -> UpstreamKit {
        try UpstreamKit(limits: limits) { fake, config, _ in
            config.scheme = scheme
            config.endpoints = []
            config.auth = auth
            config.connections.proxy = try? ProxySetting("http://\(login)@\(fake.authority)")
        }
    }

    private static func expectUnreachable(
        _ record: ExchangeRecord, _ reason: String, _ location: SourceLocation = #_sourceLocation
    ) {
        guard case .unreachable(let stated) = record.failure else {
            Issue.record("\(String(describing: record.failure))", sourceLocation: location)
            return
        }
        // libcurl states how long it has tried to connect.
        #expect(stated.replacing(/after \d+ ms/, with: "after 0 ms") == reason, sourceLocation: location)
        let error = record.failure?.registryError(host: UpstreamKit.host)
        #expect(error?.status == 503 && error?.message.contains(stated) == false, sourceLocation: location)
        #expect(error?.operatorMessage.contains(stated) == true, sourceLocation: location)
        #expect(record.faults.isEmpty, sourceLocation: location)
    }

    // MARK: Scripted proxies

    @Test("a plain request is forwarded by the proxy, which gets its own credentials") func forwarded() throws {
        let kit = try Self.kit()
        kit.fake.answer = { _ in .ok([1, 2, 3]) }
        let record = kit.ask()
        #expect(record.failure == nil && record.body == [1, 2, 3])
        let request = try #require(kit.fake.requests.first)
        #expect(request.path == "http://registry.test\(UpstreamKit.path)")
        #expect(request.header("proxy-authorization") == Self.authorization)
        #expect(request.header("host") == "registry.test" && request.header("authorization") == nil)
        kit.run.close()
    }

    @Test("requests for tokens and after redirects go through the registry's proxy") func otherHosts() throws {
        let kit = try Self.kit(auth: UpstreamKit.auth)
        kit.fake.answer = { request in
            if request.path.hasPrefix("http://registry.test/token") { return .token("t") }
            if request.path.hasPrefix("http://cdn.test/") { return .ok([7]) }
            guard request.header("authorization") == "Bearer t" else {
                return .challenge(realm: "http://registry.test/token", scope: "repository:a:pull")
            }
            return .redirect(to: "http://cdn.test/blob")
        }
        let record = kit.ask()
        #expect(record.failure == nil && record.body == [7])
        let hosts = kit.fake.requests.map { $0.header("host") }
        #expect(hosts == ["registry.test", "registry.test", "registry.test", "cdn.test"])
        #expect(kit.fake.requests.allSatisfy { $0.header("proxy-authorization") == Self.authorization })
        kit.run.close()
    }

    @Test("exceptions are reached directly, and without a configuration so is everything") func exceptions() throws {
        var settings = UpstreamSettings()
        settings.connections.proxy = try ProxySetting("127.0.0.1:1")
        settings.connections.noProxy = try NoProxyList("127.0.0.0/8")
        let kit = try UpstreamKit(settings: settings)
        kit.fake.answer = { _ in .ok([1]) }
        #expect(kit.ask().failure == nil)
        #expect(kit.fake.requests.first?.path == UpstreamKit.path)
        kit.run.close()
        settings.connections.noProxy = nil
        let all = try UpstreamKit(settings: settings)
        Self.expectUnreachable(
            all.ask(),
            "the proxy 127.0.0.1:1 cannot be reached: Failed to connect to 127.0.0.1 port 1 after 0 ms: "
                + "Couldn't connect to server")
        all.run.close()
    }

    @Test("the environment's proxy is used for other machines, and not for this one") func environment() throws {
        let run = try UpstreamKit()
        var settings = UpstreamSettings()
        settings.environment.httpProxy = try ProxyURL("localhost:\(run.fake.port)")
        settings.environment.noProxy = try NoProxyList("direct.test")
        let client = UpstreamClient(
            loop: run.run.loop,
            registries: [run.fake.config()]
                + ["a.test", "direct.test"].compactMap { name in
                    RegistryHost(name).map { host in
                        var config = RegistryConfig(name: host)
                        config.scheme = .http
                        return config
                    }
                }, noProgressMilliseconds: 20_000, userAgent: "test/1", logger: LogRecorder().logger,
            metrics: Metrics(),
            settings: settings)
        run.run.atClose { client.close() }
        run.fake.answer = { _ in .ok([1]) }
        for (host, isProxied) in [("registry.test", false), ("a.test", true)] {
            let record = ExchangeRecord()
            record.onEnd = { run.run.finish() }
            let request = UpstreamRequest(
                method: .get, path: "/v2/a/blobs/x", repository: try #require(RepositoryName("a")), kind: .blob)
            let upstream = client.upstream(for: try #require(RegistryHost(host)))
            _ = client.start(request, to: upstream, handler: record)
            run.run.run()
            #expect(record.failure == nil)
            #expect(run.fake.requests.last?.path == (isProxied ? "http://a.test/v2/a/blobs/x" : "/v2/a/blobs/x"))
        }
        run.run.close()
    }

    @Test("a forwarding proxy's 407 is reported as the proxy's, not as the registry's refusal") func refusedForwarding()
        throws
    {
        for answer in [
            FakeAnswer.status(407, [("Proxy-Authenticate", "Basic realm=\"p\"")]),
            .status(401, [("WWW-Authenticate", "Basic realm=\"Tinyproxy\""), ("Server", "tinyproxy/1.11.1")]),
        ] {
            let kit = try Self.kit(auth: UpstreamKit.auth)
            kit.fake.answer = { _ in answer }
            Self.expectUnreachable(
                kit.ask(), "the proxy \(kit.fake.authority) refused the credentials (\(answer.status))")
            #expect(kit.fake.requests.count == 1)
            #expect(kit.fake.requests[0].header("authorization") == nil)
            kit.run.close()
        }
    }

    @Test("without a proxy a 407 is an unexpected status of the registry") func directRefusal() throws {
        let kit = try UpstreamKit()
        kit.fake.answer = { _ in .status(407) }
        let record = kit.ask()
        #expect(record.failure == nil && record.head?.status == 407)
        kit.run.close()
    }

    @Test(
        "what the proxy answers to CONNECT is reported as the proxy's",
        arguments: [
            (407, "refused the credentials (407)", 1), (401, "refused the credentials (401)", 1),
            (403, "answered 403 to CONNECT for registry.test", 1),
            (502, "answered 502 to CONNECT for registry.test", 2),
        ])
    func refusedTunnel(_ status: Int, _ text: String, _ attempts: Int) throws {
        let kit = try Self.kit(.https)
        kit.fake.answer = { _ in .status(status) }
        Self.expectUnreachable(kit.ask(), "the proxy \(kit.fake.authority) \(text)")
        #expect(kit.fake.requests.map(\.method) == Array(repeating: "CONNECT", count: attempts))
        #expect(kit.fake.requests.allSatisfy { $0.path == "registry.test:443" })
        #expect(kit.fake.requests.allSatisfy { $0.header("proxy-authorization") == Self.authorization })
        kit.run.close()
    }

    @Test("a proxy that does not answer CONNECT fails at its own limit") func silentProxy() throws {
        var limits = ConnectLimits()
        limits.proxyMilliseconds = 100
        let kit = try Self.kit(.https, limits: limits)
        kit.fake.answer = { _ in .silent }
        Self.expectUnreachable(
            kit.ask(), "the proxy's answer to CONNECT for registry.test took longer than 100 ms")
        kit.run.close()
    }

    @Test("a proxy's name that does not exist is named in the error") func unknownProxy() throws {
        let kit = try UpstreamKit { _, config, _ in
            config.connections.proxy = try? ProxySetting("http://me:s3cret@proxy.invalid:3128")
        }
        let record = kit.ask()
        guard case .unreachable(let reason) = record.failure else {
            Issue.record("not unreachable: \(String(describing: record.failure))")
            return
        }
        #expect(reason.hasPrefix("the proxy proxy.invalid:3128 cannot be reached: Could not resolve proxy"))
        #expect(!reason.contains("s3cret"))
        kit.run.close()
    }

    // MARK: SOCKS

    @Test(
        "a SOCKS proxy is used with its password, by either way of looking names up", arguments: ["socks5", "socks5h"])
    func socks(_ scheme: String) throws {
        func ask(_ password: String, host: String) throws -> (ExchangeRecord, UInt16) {
            var proxy: SocksProxy?
            let kit = try UpstreamKit { fake, config, _ in
                config.send(to: "http://\(host)")
                proxy = try? SocksProxy(user: "me", password: "p:w%", to: Int(fake.port))
                config.connections.proxy = try? ProxySetting("\(scheme)://me:\(password)@localhost:\(proxy?.port ?? 1)")
            }
            kit.fake.answer = { _ in .ok([1, 2]) }
            let record = kit.ask()
            kit.run.close()
            return (record, try #require(proxy).port)
        }
        let host = scheme == "socks5" ? "127.0.0.3:5000" : "registry.test"
        #expect(try ask("p%3Aw%25", host: host).0.body == [1, 2])
        let (refused, port) = try ask("wrong", host: host)
        Self.expectUnreachable(refused, "the proxy localhost:\(port) refused the credentials")
    }

    // MARK: tinyproxy

    /// What a registry at a TLS server with a private authority gives through tinyproxy.
    private static func ask(
        _ server: TLSServer, _ certificates: TestCertificates, proxy: String, noProxy: String? = nil
    ) throws -> ExchangeRecord {
        var settings = UpstreamSettings(caFile: certificates.file("ca.pem"))
        settings.connections.proxy = try ProxySetting(proxy)
        settings.connections.noProxy = try noProxy.map { try NoProxyList($0) }
        let kit = try UpstreamKit(settings: settings) { _, config, _ in
            config.scheme = .https
            config.send(to: "https://127.0.0.1:\(server.port)")
        }
        let record = kit.ask()
        kit.run.close()
        return record
    }

    @Test("an HTTPS upstream is reached through tinyproxy", .needs(.tinyproxy, .openssl)) func tunnel() throws {
        let certificates = try TestCertificates()
        let server = try TLSServer(certificates, "server")
        let proxy = try ForwardProxy(user: "me", password: "s3cret")
        let good = try Self.ask(server, certificates, proxy: "http://me:s3cret@\(proxy.address)")
        #expect(good.failure == nil && good.head?.status == 200)
        #expect(proxy.requests(atLeast: 1) == ["CONNECT 127.0.0.1:\(server.port) HTTP/1.1"])

        let wrong = try Self.ask(server, certificates, proxy: "http://me:wrong@\(proxy.address)")
        Self.expectUnreachable(wrong, "the proxy \(proxy.address) refused the credentials (401)")
        let none = try Self.ask(server, certificates, proxy: "http://\(proxy.address)")
        Self.expectUnreachable(none, "the proxy \(proxy.address) refused the credentials (407)")
        #expect(proxy.requests(atLeast: 3).count == 3)

        let direct = try Self.ask(server, certificates, proxy: proxy.address, noProxy: "127.0.0.1:\(server.port)")
        #expect(direct.failure == nil && direct.head?.status == 200)
        #expect(proxy.requests(atLeast: 3).count == 3)
    }
}

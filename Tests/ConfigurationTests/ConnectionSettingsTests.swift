// Proxies, authorities and limits in the configuration file and in the environment.

import TestSupport
import Testing

@testable import Configuration

@Suite struct ConnectionSettingsTests {
    private static let values = """
        proxy: http://me:s3cret@proxy.test:3128
        noProxy: .corp.test, 10.0.0.0/8
        lookupTimeout: 1500us
        connectTimeout: 500ms
        tlsTimeout: 2s
        firstByteTimeout: 1m
        maxConnections: 3
        """

    private static func expected() throws -> ConnectionSettings {
        var settings = ConnectionSettings()
        settings.proxy = try ProxySetting("http://me:s3cret@proxy.test:3128")
        settings.noProxy = try NoProxyList(".corp.test,10.0.0.0/8")
        settings.lookupMilliseconds = 2
        settings.connectMilliseconds = 500
        settings.tlsMilliseconds = 2000
        settings.firstByteMilliseconds = 60_000
        settings.maximumConnections = 3
        return settings
    }

    @Test("connections have the same keys for all upstreams and for one") func values() throws {
        let top = try decode(Self.values)
        #expect(try top.connections == Self.expected())
        let indented = Self.values.split(separator: "\n").map { "  \($0)" }.joined(separator: "\n")
        let entry = try decode("registries:\n- name: x.y\n  pullTimeout: 70\n\(indented)").registries[0]
        var expected = try Self.expected()
        expected.pullTimeoutMilliseconds = 70
        #expect(entry.connections == expected)
    }

    @Test("keys without a value set nothing, and an empty proxy is none") func emptyValues() throws {
        let keys = [
            "proxy", "noProxy", "lookupTimeout", "connectTimeout", "tlsTimeout", "firstByteTimeout", "maxConnections",
        ]
        let nulls = keys.map { "\($0):" }.joined(separator: "\n")
        #expect(try decode(nulls) == Config())
        let empty = try decode(keys.map { "\($0): ''" }.joined(separator: "\n")).connections
        var expected = ConnectionSettings()
        expected.proxy = .direct
        expected.noProxy = NoProxyList()
        #expect(empty == expected)
        #expect(try decode("proxy: direct").connections.proxy == .direct)
        #expect(try decode("registries: [{name: x.y, proxy: direct}]").registries[0].connections.proxy == .direct)
    }

    @Test(arguments: [
        ("\nproxy: ftp://x", "c.yaml:2: proxy: must begin with http://, https://, socks5:// or socks5h://"),
        ("proxy: {a: b}", "c.yaml:1: proxy: must be a single value, not a mapping"),
        (
            "noProxy: 10.0.0.0/33",
            "c.yaml:1: noProxy: must be hosts, .domains, addresses and networks (10.0.0.0/8), or *, with commas "
                + #"between; "10.0.0.0/33" is none of them"#
        ),
        (
            "lookupTimeout: 15",
            #"c.yaml:1: lookupTimeout: must be a whole number and a unit (ns us ms s m h d), such as 15s, not "15""#
        ),
        (
            "connectTimeout: 0s",
            #"c.yaml:1: connectTimeout: must be a whole number and a unit (ns us ms s m h d), such as 15s, not "0s""#
        ),
        ("tlsTimeout: 25h", #"c.yaml:1: tlsTimeout: must be at most 24h, not "25h""#),
        ("maxConnections: 0", #"c.yaml:1: maxConnections: must be a number from 1 to 1024, not "0""#),
        ("maxConnections: 1025", #"c.yaml:1: maxConnections: must be a number from 1 to 1024, not "1025""#),
        (
            "registries:\n- name: x.y\n  firstByteTimeout: never",
            "c.yaml:3: registries[0].firstByteTimeout: must be a whole number and a unit (ns us ms s m h d), "
                + #"such as 15s, not "never""#
        ),
        (
            "registries: [{name: x.y, pullTimeout: 1s}]",
            #"c.yaml:1: registries[0].pullTimeout: must be milliseconds from 1 to 86400000, not "1s""#
        ),
        ("tls: {cert: x}", "c.yaml:1: tls.cert: unknown key"),
        ("tls: {ca: missing.pem}", "c.yaml:1: tls.ca: missing.pem: cannot be read: No such file or directory"),
    ])
    func refusals(_ yaml: String, _ printed: String) {
        #expect(complaint(yaml) == printed)
    }

    @Test("authorities for all upstreams are a readable file, relative to the configuration file") func authorities()
        throws
    {
        let files = try TemporaryDirectory()
        let path = try files.write("", to: "ca.pem")
        let config = try files.write("tls: {ca: ca.pem}\n", to: "c.yaml")
        #expect(try ConfigDecoder.load(path: config) { _ in nil }.caFile == path)
        #expect(try decode("tls: {ca: ''}").caFile == nil)
    }

    // MARK: The environment

    private static func environment(_ variables: [String: String]) throws(ConfigError) -> UpstreamEnvironment {
        try UpstreamEnvironment { variables[$0] }
    }

    @Test(
        "proxies are taken from the variables in capitals and in small letters",
        arguments: [
            (["http_proxy": "a", "HTTP_PROXY": "b", "ALL_PROXY": "c"], "http://a:80", "http://c:80"),
            (["HTTP_PROXY": "b"], "http://b:80", nil), (["HTTPS_PROXY": "https://b"], nil, "https://b:443"),
            (["https_proxy": "a", "HTTPS_PROXY": "b"], nil, "http://a:80"),
            (["all_proxy": "socks5h://a", "ALL_PROXY": "b"], "socks5h://a:1080", "socks5h://a:1080"),
            (["https_proxy": "", "HTTPS_PROXY": "b:1"], nil, "http://b:1"), ([:], nil, nil),
        ] as [([String: String], String?, String?)])
    func environmentProxies(_ variables: [String: String], _ http: String?, _ https: String?) throws {
        let environment = try Self.environment(variables)
        #expect(environment.httpProxy?.description == http)
        #expect(environment.httpsProxy?.description == https)
    }

    @Test("exceptions and authorities are taken from the environment") func environmentLists() throws {
        let files = try TemporaryDirectory()
        let file = try files.write("", to: "ca.pem")
        let directories = "\(files.path):\(files.file("missing"))"
        let environment = try Self.environment([
            "NO_PROXY": "a.test,:1", "SSL_CERT_FILE": file, "SSL_CERT_DIR": directories,
        ])
        #expect(environment.noProxy.covers(host: "a.test", port: 1))
        #expect(environment.caFile == file && environment.caDirectories == directories)
        let small = try Self.environment(["no_proxy": "b.test", "NO_PROXY": "a.test"])
        #expect(small.noProxy.covers(host: "b.test", port: 1) && !small.noProxy.covers(host: "a.test", port: 1))
    }

    @Test("every wrong variable is reported by its name, and no password with it") func wrongVariables() throws {
        let files = try TemporaryDirectory()
        let missing = files.file("missing")
        do {
            _ = try Self.environment([
                "HTTPS_PROXY": "http://me:s3cret@", "http_proxy": "ftp://x", "SSL_CERT_FILE": missing,
                "SSL_CERT_DIR": missing,
            ])
            Issue.record("the variables were accepted")
        } catch {
            #expect(
                error.description == """
                    environment: http_proxy: must begin with http://, https://, socks5:// or socks5h://
                    environment: HTTPS_PROXY: must have a host[:port], as http://proxy.example:3128 does
                    environment: SSL_CERT_FILE: \(missing): cannot be read: No such file or directory
                    environment: SSL_CERT_DIR: \(missing): no such directory
                    """)
        }
    }
}

// What `explain` says of connections: proxies, certificates, limits; and that no secret is in its text.

import Foundation
import TestSupport
import Testing

@testable import Configuration
@testable import OCI
@testable import Registry

@Suite struct ExplainedConnectionTests {
    private static func explanation(
        _ name: String, _ yaml: String, environment: [String: String] = [:]
    ) throws -> ImageExplanation {
        var config = try ConfigDecoder.decode(yaml: Array(yaml.utf8), file: "c.yaml") { environment[$0] }
        config.environment = try UpstreamEnvironment { environment[$0] }
        return ImageExplanation(
            try WrittenImageName(name), config: config, docker: config.dockerConfig.map { DockerConfig.read($0) })
    }

    private static func value(
        _ key: String, _ yaml: String, _ name: String = "r.test/a", environment: [String: String] = [:]
    ) throws -> String? {
        try explanation(name, yaml, environment: environment).lines.first { $0.key == key }?.value
    }

    @Test(
        "the proxy is named with the key or the variable that decides",
        arguments: [
            ("", ["HTTPS_PROXY": "http://u:s3cret@p:1"], "http://p:1 (HTTPS_PROXY), with its user and password"),
            ("", ["all_proxy": "socks5h://p"], "socks5h://p:1080 (all_proxy)"), ("", ["http_proxy": "p"], "none"),
            ("", ["https_proxy": "p", "NO_PROXY": "r.test"], "none (NO_PROXY has the destination)"),
            ("noProxy: r.test", ["https_proxy": "p"], "none (noProxy has the destination)"),
            ("proxy: http://q:2", ["https_proxy": "p", "no_proxy": "*"], "http://q:2 (proxy)"),
            ("proxy: direct", ["https_proxy": "p"], "none (proxy is direct)"),
            (
                "{proxy: 'http://q', registries: [{name: r.test, proxy: direct}]}", [:],
                "none (registries[0].proxy is direct)"
            ),
            (
                "{proxy: 'http://q', registries: [{name: x.test}, {name: r.test, noProxy: .test}]}", [:],
                "none (registries[1].noProxy has the destination)"
            ),
            (
                "registries: [{name: r.test, proxy: 'https://q'}]", ["https_proxy": "p"],
                "https://q:443 (registries[0].proxy)"
            ),
        ] as [(String, [String: String], String)])
    func proxy(_ yaml: String, _ environment: [String: String], _ text: String) throws {
        #expect(try Self.value("endpoint[0].proxy", yaml, environment: environment) == text)
    }

    @Test("the environment's proxy is not used for this machine") func thisMachine() throws {
        let yaml = "registries: [{name: 'localhost:5000', scheme: http}]"
        let proxy = try Self.value("endpoint[0].proxy", yaml, "localhost:5000/a", environment: ["HTTP_PROXY": "p"])
        #expect(proxy == "none (HTTP_PROXY is not used for this machine)")
    }

    @Test("certificates are named with the key or the variable that names them") func certificates() throws {
        let files = try TemporaryDirectory()
        let (own, common) = (try files.write("", to: "own.pem"), try files.write("", to: "common.pem"))
        let ca = "endpoint[0].ca"
        #expect(try Self.value(ca, "") == "the system's")
        #expect(try Self.value(ca, "tls: {ca: \(common)}") == "\(common) (tls.ca)")
        let entry = "{tls: {ca: \(common)}, registries: [{name: r.test, tls: {ca: \(own), cert: \(own), key: \(own)}}]}"
        #expect(try Self.value(ca, entry) == "\(own) (registries[0].tls.ca)")
        #expect(
            try Self.value("endpoint[0].client-certificate", entry) == "\(own), key \(own) (registries[0].tls)")
        #expect(try Self.value("endpoint[0].client-certificate", "") == "none")
        let item = "registries: [{name: r.test, endpoints: [{url: 'https://m.test', tls: {ca: \(own)}}]}]"
        #expect(try Self.value(ca, item) == "\(own) (registries[0].endpoints[0].tls.ca)")
        let environment = ["SSL_CERT_FILE": common, "SSL_CERT_DIR": files.path]
        #expect(
            try Self.value(ca, "", environment: environment)
                == "\(common) (SSL_CERT_FILE), directory \(files.path) (SSL_CERT_DIR)")
        #expect(try Self.value(ca, entry, environment: environment) == "\(own) (registries[0].tls.ca)")
    }

    @Test("only limits that are not the defaults are listed, with their place") func limits() throws {
        func limits(_ yaml: String) throws -> [String] {
            try Self.explanation("r.test/a", yaml).lines.filter { $0.key.hasPrefix("limit.") }
                .map { "\($0.key): \($0.value)" }
        }
        #expect(try limits("").isEmpty)
        #expect(try limits("{connectTimeout: 5s, pullTimeout: 60000}").isEmpty)
        let yaml = """
            {connectTimeout: 2s, pullTimeout: 1000, maxConnections: 7,
            registries: [{name: r.test, lookupTimeout: 1500ms, tlsTimeout: 3s, firstByteTimeout: 1m,
            maxConnections: 8, quota: {reserve: 20}}]}
            """
        #expect(
            try limits(yaml) == [
                "limit.lookupTimeout: 1500 ms (registries[0])", "limit.connectTimeout: 2 s (top level)",
                "limit.tlsTimeout: 3 s (registries[0])", "limit.firstByteTimeout: 60 s (registries[0])",
                "limit.pullTimeout: 1 s (top level)", "limit.maxConnections: 8 (registries[0])",
                "limit.quota.reserve: 20 pulls (registries[0])",
            ])
    }

    @Test("no secret is in the text, wherever it is in the configuration") func secrets() throws {
        let files = try TemporaryDirectory()
        let encoded = Data("me:canary1".utf8).base64EncodedString()
        let docker = try files.write(
            """
            {"auths": {"d.test": {"auth": "\(encoded)"}, "e.test": {"identitytoken": "canary2"},
            "f.test": {"registrytoken": "canary3"}, "g.test": {"auth": "canary4"},
            "https://me:canary5@h.test/v1/": {"username": "me:canary6", "password": "canary7"}}}
            """, to: "docker.json")
        let password = try files.write("canary8", to: "password")
        let yaml = """
            proxy: http://puser:canary9@p.example
            dockerConfig: \(docker)
            adminToken: canary10
            registries:
            - {name: a.test, auth: {user: u, password: canary11}}
            - {name: b.test, auth: {user: u, passwordFromEnv: PW}, proxy: "http://x:canary12@q.example"}
            - {name: c.test, endpoints: [{url: "https://m.test", auth: {token: {static: canary13}}}]}
            - {name: i.test, auth: {user: u, passwordFile: \(password)}}
            """
        let environment = [
            "PW": "canary14", "https_proxy": "http://e:canary15@e.example", "AWS_SECRET_ACCESS_KEY": "canary16",
        ]
        for host in "abcdefghij" {
            let text = try Self.explanation("\(host).test/x", yaml, environment: environment).text
            #expect(!text.contains("canary") && !text.contains(encoded) && !text.contains("puser"), "\(text)")
        }
    }

    @Test("a control character from a name is not printed") func controlCharacters() throws {
        let files = try TemporaryDirectory()
        // CSI of ECMA-48, which begins escape sequences as ESC [ does.
        let user = "{\"username\": \"a\\u009b31m\", \"password\": \"p\"}"
        let docker = try files.write("{\"auths\": {\"r.test\": \(user)}}", to: "docker.json")
        let text = try Self.explanation("r.test/a", "dockerConfig: \(docker)").text
        #expect(text.contains("user a?31m\n") && !text.contains("\u{9B}"))
    }
}

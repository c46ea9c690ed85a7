// The configuration that a valid file gives: every key and every default.

import Foundation
import TestSupport
import Testing

@testable import Configuration
@testable import OCI
@testable import Registry

@Suite struct ConfigDecoderTests {
    @Test("an empty file gives the default configuration") func emptyFile() throws {
        let config = try decode("")
        #expect(config == Config())
        #expect(config.imagePath == "/var/lib/ociregistry")
        #expect(config.logLevel == .error)
        #expect(config.port == 8080)
        #expect(config.host == "0.0.0.0")
        #expect(config.pullTimeoutMilliseconds == 60_000)
        #expect(config.prefetchLayers == .layer)
    }

    @Test("the original server's default file gives the default configuration") func originalDefaults() throws {
        let yaml = """
            imagePath: /var/lib/ociregistry
            logLevel: error
            logFile:
            preloadImages:
            imageFile:
            port: 8080
            host: 0.0.0.0
            os:
            arch:
            pullTimeout: 60000
            alwaysPullLatest: false
            airGapped: false
            helloWorld: false
            defaultNs:
            health:
            metrics: 0
            registries:
            pruneConfig: {enabled: false, duration: 30d, type: accessed, frequency: 1d, count: -1, dryRun: false}
            serverTlsConfig: {cert: , key: '', ca: ~, clientAuth: none}
            """
        #expect(try decode(yaml) == Config())
    }

    @Test("every scalar setting is read") func everySetting() throws {
        let yaml = """
            imagePath: cache
            logLevel: warn
            logFile: /var/log/r.log
            port: 0
            host: "[::1]"
            pullTimeout: 1
            alwaysPullLatest: true
            airGapped: true
            helloWorld: true
            defaultNs: Index.Docker.io
            prefetchLayers: false
            rangesAhead: false
            diagnostics: false
            reloadOnChange: true
            privateUpstreams: deny
            prefetchReferrers: true
            """
        var expected = Config()
        expected.imagePath = "cache"
        expected.logLevel = .warn
        expected.logFile = "/var/log/r.log"
        expected.port = 0
        expected.host = "::1"
        expected.pullTimeoutMilliseconds = 1
        expected.alwaysPullLatest = true
        expected.airGapped = true
        expected.helloWorld = true
        expected.defaultNamespace = RegistryHost("docker.io")
        expected.prefetchLayers = .never
        expected.rangesAhead = false
        expected.diagnostics = false
        expected.reloadOnChange = true
        expected.privateUpstreams = .deny
        expected.prefetchReferrers = true
        #expect(try decode(yaml) == expected)
    }

    @Test("registries are read with endpoint, scheme, credentials and TLS options") func registries() throws {
        let yaml = """
            registries:
            - name: docker.io
              description: |
                two
                lines
              endpoint: HTTP://127.0.0.1:5000/
              sendNamespace: false
            - name: My-Registry.example:5000
              scheme: http
              auth: {user: u, password: p}
            - name: x.example
              endpoint: https://[::1]:5000
              auth: {user: u, passwordFromEnv: PW, tokenRealm: "https://Auth.example:8443/token?x=y", token: {static: }}
              tls: {insecureSkipVerify: true}
            """
        let registries = try decode(yaml, environment: ["PW": "s"]).registries
        #expect(
            registries.map { $0.endpoints.map(\.address.description) }
                == [["http://127.0.0.1:5000"], [], ["https://[::1]:5000"]])
        #expect(registries[1].name.text == "my-registry.example:5000" && registries[1].scheme == .http)
        #expect(registries[0].description == "two\nlines\n")
        #expect(registries.map(\.sendsNamespace) == [false, true, true])
        #expect(registries[0].auth == nil)
        #expect(registries[1].auth == RegistryAuth(user: "u", password: Secret("p")))
        var fromVariable = RegistryAuth(user: "u", password: Secret("s"), tokenRealm: "auth.example:8443")
        fromVariable.passwordVariable = "PW"
        #expect(registries[2].auth == fromVariable)
        #expect(registries.map(\.tls.insecureSkipVerify) == [false, false, true])
    }

    @Test("relative paths of TLS files are resolved from the configuration file's directory") func tlsPaths() throws {
        let directory = FileManager.default.temporaryDirectory.appending(path: "tls-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: directory) }
        for name in ["ca.crt", "c.crt", "c.key"] { try Data().write(to: directory.appending(path: name)) }
        let file = directory.appending(path: "c.yaml")
        let ca = directory.appending(path: "ca.crt").path
        try Data("registries: [{name: x.example, tls: {ca: \(ca), cert: c.crt, key: ./c.key}}]".utf8).write(to: file)
        let config = try ConfigDecoder.load(path: file.path) { _ in nil }
        let tls = try #require(config.registries.first?.tls)
        #expect(tls.caFile == ca)
        #expect(tls.certificateFile == directory.path + "/c.crt")
        #expect(tls.keyFile == directory.path + "/./c.key")
    }

    @Test(
        "prefetchLayers takes its three values, and a switch's",
        arguments: [
            ("manifest", PrefetchLayers.manifest), ("layer", .layer), ("never", .never), ("true", .layer),
            ("false", .never),
        ])
    func prefetchLayers(_ text: String, _ value: PrefetchLayers) throws {
        #expect(try decode("prefetchLayers: \(text)").prefetchLayers == value)
    }

    @Test("a configuration's description and dump do not contain passwords") func passwords() throws {
        let config = try decode("registries: [{name: x.y, auth: {user: u, password: hunter2}}]")
        var dumped = ""
        dump(config, to: &dumped)
        for text in ["\(config)", String(reflecting: config), dumped] { #expect(!text.contains("hunter2")) }
        #expect(config.registries.first?.auth == RegistryAuth(user: "u", password: Secret("hunter2")))
    }
}

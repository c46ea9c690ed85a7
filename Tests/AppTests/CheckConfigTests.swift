// `check-config`: what it accepts, and every problem with its place.

import ArgumentParser
import Foundation
import TestSupport
import Testing

@testable import App
@testable import Configuration

@Suite struct CheckConfigTests {
    private let files: TemporaryDirectory

    init() throws { files = try TemporaryDirectory() }

    private func check(
        _ yaml: String, environment: [String: String] = [:], override: (inout Config) -> Void = { _ in }
    ) throws -> ConfigCheck {
        ConfigCheck(path: try files.write(yaml, to: "c.yaml"), environment: { environment[$0] }, override: override)
    }

    /// The problems without the directory of the file.
    private func problems(_ yaml: String, environment: [String: String] = [:]) throws -> [String] {
        try check(yaml, environment: environment).problems.map { $0.description.replacing(files.path + "/", with: "") }
    }

    @Test("the file is given once, as an argument or an option") func arguments() throws {
        #expect(try OCIRegistry.parseAsRoot(["check-config", "c.yaml"]) is CheckConfig)
        #expect(try OCIRegistry.parseAsRoot(["--config-file", "c.yaml", "check-config"]) is CheckConfig)
        for arguments in [["check-config"], ["--config-file", "a", "check-config", "b"], ["check-config", ""]] {
            #expect(parseRefusal(arguments)?.status == 64)
        }
    }

    @Test("a valid file has a summary of registries and listeners") func summary() throws {
        #expect(try check("").summary == "valid; 0 registries; 1 listener: images 0.0.0.0:8080")
        let yaml = """
            host: "::1"
            metrics: 9090
            metricsHost: 127.0.0.1
            health: 9091
            adminListen: "127.0.0.1:9092"
            registries: [{name: a.test}, {name: "*.b.test"}]
            """
        #expect(
            try check(yaml).summary
                == "valid; 2 registries (1 by pattern); 4 listeners: images [::1]:8080, metrics 127.0.0.1:9090, "
                + "health [::1]:9091, administration 127.0.0.1:9092")
        #expect(try check(yaml).problems.isEmpty)
    }

    @Test("every problem is reported at its line, those that serve finds at its start too") func everyProblem() throws {
        try files.write("{", to: "docker.json")
        try files.write("a\nb", to: "pw")
        let yaml = """
            port: 81
            metrics: 81
            health: 81
            adminListen: 0.0.0.0:82
            logFile: \(files.file("none/log"))
            dockerConfig: docker.json
            pinned: "("
            registries:
            - name: a.test
              auth: {user: u, passwordFile: pw}
            - nmae: b.test
            """
        let environment = ["http_proxy": "ftp://x", "SSL_CERT_FILE": files.file("none")]
        #expect(
            try problems(yaml, environment: environment) == [
                "c.yaml:2: metrics: 81 is the port of port already",
                "c.yaml:3: health: 81 is the port of port already",
                "c.yaml:4: adminListen: 0.0.0.0 is not a loopback address, so adminToken or adminTokenFromEnv "
                    + "must be set",
                "c.yaml:5: logFile: none/log: No such file or directory",
                "c.yaml:6: dockerConfig: docker.json: not the JSON of a docker configuration",
                "c.yaml:7: pinned: pattern '(', at 1: missing closing parenthesis",
                "c.yaml:10: registries[0].auth.passwordFile: pw: it holds a control character, such as a second line",
                "c.yaml:11: registries[1].nmae: unknown key; did you mean name?",
                "c.yaml:11: registries[1]: needs a name, the host of image references",
                "environment: http_proxy: must begin with http://, https://, socks5:// or socks5h://",
                "environment: SSL_CERT_FILE: none: cannot be read: No such file or directory",
            ])
    }

    @Test("a wrong key is reported once") func reportedOnce() throws {
        #expect(
            try problems("adminListen: 0.0.0.0:82\nadminToken: \"a b\"")
                == ["c.yaml:2: adminToken: must be visible ASCII without spaces"])
        let needs = ConfigRules.servingPortNeedsToken
        #expect(try problems("adminOnServingPort: true") == ["c.yaml:1: adminOnServingPort: \(needs)"])
        #expect(
            try problems("port: 82\nadminListen: 0.0.0.0:82\nadminToken: \"a b\"") == [
                "c.yaml:2: adminListen: 82 is the port of port already",
                "c.yaml:3: adminToken: must be visible ASCII without spaces",
            ])
    }

    @Test("the log file is checked without creating it, and an option replaces it") func logFile() throws {
        let path = files.file("log")
        #expect(try check("logFile: \(path)").problems.isEmpty)
        #expect(!FileManager.default.fileExists(atPath: path))
        #expect(try problems("logFile: \(files.path)") == ["c.yaml:1: logFile: \(files.path): Is a directory"])
        let wrong = try check("") { $0.logFile = files.path }
        #expect(wrong.problems.count == 1)
        #expect(wrong.problems.first?.line == nil)
    }

    @Test("the authorities of the environment are read too") func environmentAuthorities() throws {
        let path = try files.write("no certificate", to: "ca.pem")
        #expect(
            try problems("", environment: ["SSL_CERT_FILE": path])
                == ["environment: SSL_CERT_FILE: ca.pem: holds no PEM certificate"])
    }

    @Test("an air gap reads no variables") func airGap() throws {
        #expect(try problems("airGapped: true", environment: ["http_proxy": "ftp://x"]).isEmpty)
    }

    @Test("a file that cannot be read or is no YAML is a problem") func unreadable() throws {
        let missing = ConfigCheck(path: files.file("none"), environment: { _ in nil }) { _ in }
        #expect(missing.problems.map(\.reason) == ["cannot be read: No such file or directory"])
        #expect(try problems("a: [").count == 1)
    }
}

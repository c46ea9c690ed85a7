// `explain` and `check-config` as programs: output, exit status, no secrets, no sockets and no writes.

import Foundation
import TestSupport
import Testing

@Suite struct ExplainTests {
    private let files: TemporaryDirectory
    private let config: String
    private static let environment = [
        "QUAY_PASSWORD": "canary1", "https_proxy": "", "HTTPS_PROXY": "http://u:canary2@proxy.example:3128",
        "http_proxy": "", "no_proxy": "", "NO_PROXY": "", "all_proxy": "", "ALL_PROXY": "",
    ]

    init() throws {
        files = try TemporaryDirectory()
        let helper = try files.write("#!/bin/sh\ntouch \(files.file("asked"))\n", to: "docker-credential-canary")
        chmod(helper, 0o755)
        try files.write(
            "{\"auths\":{\"d.example\":{\"auth\":\"\(Data("me:canary3".utf8).base64EncodedString())\"}},"
                + "\"credHelpers\":{\"e.example\":\"canary\"}}", to: "docker.json")
        config = try files.write(
            """
            imagePath: \(files.file("images"))
            logFile: \(files.file("log"))
            defaultNs: docker.io
            dockerConfig: docker.json
            registries:
            - name: quay.io
              auth: {user: someone, passwordFromEnv: QUAY_PASSWORD}
              endpoints: ["https://mirror.example", "https://quay.io"]
            """, to: "c.yaml")
    }

    private func run(_ arguments: [String], launcher: [String] = []) throws -> Command.Result {
        var environment = Self.environment
        environment["PATH"] = "\(files.path):\(ProcessInfo.processInfo.environment["PATH"] ?? "")"
        return try Command.run(launcher + [Checkout.server] + arguments, environment: environment)
    }

    @Test("explain prints what the configuration decides, and no secret") func explain() throws {
        let result = try run(["explain", "quay.io/a/b", "--config-file", config])
        #expect(result.status == 0 && result.errors.isEmpty, "\(result)")
        for line in [
            "image: quay.io/a/b:latest", "pull: allowed: no allow, deny or registriesOnly is configured",
            "entry: registries[0], exact name quay.io", "endpoints: 2",
            "endpoint[0].request: GET https://mirror.example/v2/a/b/manifests/latest?ns=quay.io",
            "endpoint[0].credentials: dockerConfig \(files.file("docker.json")): nothing there for mirror.example",
            "endpoint[1].credentials: user someone from passwordFromEnv QUAY_PASSWORD (registries[0].auth)",
            "endpoint[1].proxy: http://proxy.example:3128 (HTTPS_PROXY), with its user and password",
        ] {
            #expect(result.text.split(separator: "\n").contains { $0 == line }, "\(line)\n\(result)")
        }
        for name in ["quay.io/a", "d.example/a", "e.example/a", "alpine"] {
            let result = try run(["--config-file", config, "explain", name, "--from", "10.0.0.1", "--user", "x"])
            #expect(result.status == 0 && !result.description.contains("canary1"), "\(result)")
            #expect(!result.text.contains("canary2") && !result.text.contains("canary3"), "\(result)")
        }
        #expect(!FileManager.default.fileExists(atPath: files.file("asked")), "a helper was run")
    }

    @Test("explain and check-config end with the status of what is wrong") func statuses() throws {
        let wrong = try files.write("prot: 1\nmetrics: 8080\n", to: "wrong.yaml")
        #expect(try run(["explain", "Foo/x"]).status == 64)
        #expect(try run(["explain", "a", "--from", "x"]).status == 64)
        #expect(try run(["explain", "a", "--config-file", wrong]).status == 78)
        let checked = try run(["check-config", wrong])
        #expect(checked.status == 78 && checked.text.isEmpty)
        #expect(
            checked.errors == """
                \(wrong):1: prot: unknown key; did you mean port?
                \(wrong):2: metrics: 8080 is the port of port already

                """)
        let valid = try run(["check-config", config])
        #expect(valid.status == 0 && valid.errors.isEmpty)
        #expect(valid.text == "\(config): valid; 1 registry; 1 listener: images 0.0.0.0:8080\n")
    }

    @Test("neither command opens a socket, writes a file or starts a program", .needs(.strace)) func systemCalls()
        throws
    {
        let trace = files.file("trace")
        let launcher = ["strace", "-f", "-qq", "-o", trace, "-e", "trace=network,execve,openat,mkdir,unlink,rename"]
        for arguments in [
            ["check-config", config], ["explain", "e.example/a", "--config-file", config],
            ["explain", "quay.io/a", "--config-file", config],
        ] {
            #expect(try run(arguments, launcher: launcher).status == 0)
            let calls = try String(contentsOfFile: trace, encoding: .utf8).split(separator: "\n")
            #expect(calls.count { $0.contains("execve(") } == 1, "the program itself")
            let wrong = calls.filter { call in
                ["socket", "connect(", "mkdir", "unlink", "rename", "O_CREAT", "O_WRONLY", "O_RDWR"].contains {
                    call.contains($0)
                }
            }
            #expect(wrong.isEmpty, "\(wrong)")
        }
        #expect(!FileManager.default.fileExists(atPath: files.file("images")))
        #expect(!FileManager.default.fileExists(atPath: files.file("log")))
    }
}

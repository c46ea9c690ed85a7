// Secrets of every kind are used, and are nowhere to be seen: not in the log, in errors, in metrics, or in what other
// users of the machine can read of the processes.

import Foundation
import TestSupport
import Testing

@testable import OCI
@testable import Registry

@Suite struct SecretLeakTests {
    private enum Kind: String, CaseIterable {
        case password, variable, file, fixed, identity, helper, login, proxy

        /// A text that is nowhere by chance.
        var secret: String { "canary-\(rawValue)-7d1f" }
        var host: String { "\(rawValue).test" }
        /// What stands in requests with it.
        var forms: [String] { [secret, Base64.encode("me:\(secret)")] }
    }

    /// The token that the token service gives, and the administrators' token.
    private static let otherSecrets = ["canary-issued-7d1f", "canary-admin-7d1f"]

    /// Upstreams on the test's loop. They refuse what is asked for below `no/`, after they have been given the secret.
    private final class Upstreams {
        let shared: FakeUpstream
        /// Docker's file has credentials by address.
        let identity: FakeUpstream
        let helper: FakeUpstream
        let login: FakeUpstream

        init(on run: LoopRun) {
            let all = (0..<4).map { _ in FakeUpstream(on: run.loop) }
            (shared, identity, helper, login) = (all[0], all[1], all[2], all[3])
            for fake in all { run.atClose { fake.close() } }
            let basic = [("WWW-Authenticate", "Basic realm=\"r\"")]
            for fake in [shared, helper, login] {
                fake.answer = { request in
                    let isRefused = request.path.contains("/no/")
                    if request.path.hasPrefix("http://") {
                        return isRefused ? .status(407, [("Proxy-Authenticate", "Basic realm=\"p\"")]) : image.answer
                    }
                    return request.header("authorization") == nil || isRefused ? .status(401, basic) : image.answer
                }
            }
            identity.answer = { [unowned identity] request in
                if request.path == "/token" {
                    let form = String(decoding: request.body, as: UTF8.self)
                    return form.contains("no%2F") ? .status(401) : .token(SecretLeakTests.otherSecrets[0])
                }
                return request.header("authorization") == nil
                    ? .challenge(realm: "\(identity.url)/token") : image.answer
            }
        }

        /// Everything that the upstreams were sent.
        var received: String {
            [shared, identity, helper, login].flatMap(\.requests).map { request in
                request.headers.map(\.value).joined(separator: "\n") + "\n"
                    + String(decoding: request.body, as: UTF8.self)
            }.joined(separator: "\n")
        }
    }

    private static let image = FakeImage(seed: 8)

    private static func registries(_ upstreams: Upstreams, passwordFile: String) -> String {
        Kind.allCases.map { kind in
            let (endpoint, more) =
                switch kind {
                case .password: (upstreams.shared.url, "auth: {user: me, password: \(kind.secret)}")
                case .variable: (upstreams.shared.url, "auth: {user: me, passwordFromEnv: CANARY_PASSWORD}")
                case .file: (upstreams.shared.url, "auth: {user: me, passwordFile: \"\(passwordFile)\"}")
                case .fixed: (upstreams.shared.url, "auth: {token: {static: \(kind.secret)}}")
                case .identity: (upstreams.identity.url, "description: docker's file")
                case .helper: (upstreams.helper.url, "description: docker's file")
                case .login: (upstreams.login.url, "description: docker's file")
                case .proxy: ("http://\(kind.host)", "proxy: http://me:\(kind.secret)@\(upstreams.shared.authority)")
                }
            return "- name: \(kind.host)\n  endpoint: \(endpoint)\n  \(more)\n"
        }.joined()
    }

    /// Docker's file, and a helper that writes down what it was started with.
    private static func dockerConfig(_ upstreams: Upstreams, in files: TemporaryDirectory) throws -> String {
        let script = """
            #!/bin/sh
            cat /proc/$$/environ /proc/$$/cmdline >>"\(files.file("helper"))"; cat >>"\(files.file("helper"))"
            echo '{"Username":"me","Secret":"\(Kind.helper.secret)"}'

            """
        let helper = try files.write(script, to: "bin/docker-credential-canary")
        try FileManager.default.setAttributes([.posixPermissions: 0o755], ofItemAtPath: helper)
        return try files.write(
            """
            {
              "auths": {
                "\(upstreams.identity.authority)": {"identitytoken": "\(Kind.identity.secret)"},
                "\(upstreams.login.authority)": {"auth": "\(Kind.login.forms[1])"}
              },
              "credHelpers": {"\(upstreams.helper.authority)": "canary"}
            }
            """, to: "docker.json")
    }

    /// The last three are another process's.
    private static let managerVariables = [
        "NOTIFY_SOCKET": "@nobody", "WATCHDOG_USEC": "100000000", "LISTEN_PID": "1", "LISTEN_FDS": "1",
        "LISTEN_FDNAMES": "http",
    ]

    @Test("no secret is in the log at debug level, in errors, in metrics, or in what a helper is started with")
    func canaries() throws {
        let files = try TemporaryDirectory()
        let run = try LoopRun()
        let upstreams = Upstreams(on: run)
        let path = ProcessInfo.processInfo.environment["PATH"] ?? ""
        let server = try OciRegistryProcess(
            registries: Self.registries(upstreams, passwordFile: try files.write(Kind.file.secret, to: "password")),
            arguments: ["--metrics", "0", "--log-level", "debug", "--no-prefetch-layers"],
            settings: "adminTokenFromEnv: CANARY_TOKEN\n"
                + "dockerConfig: \"\(try Self.dockerConfig(upstreams, in: files))\"\n",
            environment: [
                "PATH": "\(files.file("bin")):\(path)", "CANARY_PASSWORD": Kind.variable.secret,
                "CANARY_TOKEN": Self.otherSecrets[1],
            ].merging(Self.managerVariables) { $1 })
        let puller = try MirrorPuller(server, on: run)
        var seen: [(place: String, text: String)] = []
        for kind in Kind.allCases {
            let good = puller.get("/v2/\(kind.host)/ok/app/manifests/v1")
            #expect(good.body == Self.image.manifest, "\(kind): \(good.status) \(good.text)")
            let bad = puller.get("/v2/\(kind.host)/no/app/manifests/v1")
            #expect(bad.status == (kind == .proxy ? 503 : 403), "\(kind): \(bad.text)")
            #expect(kind.forms.contains { upstreams.received.contains($0) }, "\(kind) was not used")
            seen.append(("the error for \(kind)", bad.text))
        }
        let metrics = try server.process.line(containing: "  metrics: http://", in: server.process.errors)
        let port = try #require(UInt16(metrics.components(after: "127.0.0.1:").prefix(while: \.isNumber)))
        seen.append(("the metrics", MirrorPuller(port: port, on: run).get("/metrics").text))
        let process = "/proc/\(server.process.processID)"
        seen.append(("the command line", try String(contentsOfFile: "\(process)/cmdline", encoding: .utf8)))
        #expect(try server.stop() == 0)
        let started = try String(contentsOfFile: files.file("helper"), encoding: .utf8)
        #expect(started.contains("docker-credential-canary") && started.contains(upstreams.helper.authority))
        seen.append(("what the helper was started with", started))
        // A message or a socket of the service manager is the server's own affair.
        for name in Self.managerVariables.keys { #expect(!started.contains("\(name)="), "a helper gets \(name)") }
        seen.append(("the log", server.process.errors.text + server.process.output.text))
        #expect(server.process.errors.text.contains("asking upstream"))
        for secret in Kind.allCases.flatMap(\.forms) + Self.otherSecrets {
            for (place, text) in seen { #expect(!text.contains(secret), "\(secret) is in \(place)") }
        }
        run.close()
    }
}

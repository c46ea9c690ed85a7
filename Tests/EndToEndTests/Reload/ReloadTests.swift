// SIGHUP and `ociregistry reload`: what they print, what a wrong file does, and what needs a restart.

import Foundation
import TestSupport
import Testing

@testable import Configuration
@testable import OCI
@testable import Registry

@Suite struct ReloadTests {
    private static func registry(_ scene: ReloadScene, _ password: String) -> String {
        """
        logLevel: info
        registries:
        - name: registry.test
          endpoint: \(scene.fake.url)
          auth: {user: me, password: \(password)}

        """
    }

    /// Its upstream wants the password "new".
    private static func scene(password: String) throws -> ReloadScene {
        let scene = try ReloadScene()
        let image = FakeImage()
        let basic = UpstreamCredentials(user: "me", password: "new").basic
        scene.fake.answer = { request in
            request.header("authorization") == basic
                ? image.answer : .status(401, [("WWW-Authenticate", "Basic realm=\"r\"")])
        }
        try scene.use(registry(scene, password))
        return scene
    }

    /// Sends SIGHUP and waits for what the log says then.
    private static func hangUp(_ scene: ReloadScene, _ yaml: String, until line: String) throws {
        try scene.write(yaml)
        kill(scene.process.processID, SIGHUP)
        _ = try scene.process.line(containing: line, in: scene.process.errors)
    }

    @Test("after SIGHUP a new password is used at once") func newPassword() throws {
        let scene = try Self.scene(password: "old")
        #expect(scene.status("v1") == 403)
        try Self.hangUp(
            scene, "alwaysPullLatest: true\n" + Self.registry(scene, "new"),
            until: "the configuration was reloaded changed=\"alwaysPullLatest registries\"")
        #expect(scene.status("v1") == 200)
        try scene.close()
    }

    @Test("a wrong file leaves the running configuration in place, and says what is wrong") func wrongFile() throws {
        let scene = try Self.scene(password: "new")
        #expect(scene.status("v1") == 200)
        let wrong = Self.registry(scene, "old") + "  sheme: http\n"
        try Self.hangUp(
            scene, wrong, until: "config.yaml:6: registries[0].sheme: unknown key; did you mean scheme?")
        #expect(scene.status("v2") == 200)
        try scene.close()
    }

    @Test("the bearer token of former credentials is not used after a reload") func tokens() throws {
        let scene = try ReloadScene()
        let image = FakeImage()
        var tokenCount = 0
        scene.fake.answer = { [url = scene.fake.url] request in
            if request.path == "/token" {
                tokenCount += 1
                return .token("t\(tokenCount)")
            }
            return request.header("authorization") == "Bearer t\(tokenCount)"
                ? image.answer : .challenge(realm: "\(url)/token")
        }
        #expect(scene.status("v1") == 200)
        #expect(scene.status("v2") == 200)
        #expect(tokenCount == 1)
        try scene.use("")
        #expect(scene.status("v3") == 200)
        #expect(tokenCount == 2)
        try scene.close()
    }

    @Test("reload prints what has changed and what needs a restart, as lines or as JSON") func output() throws {
        let scene = try ReloadScene("", arguments: ["--log-level", "warn"])
        #expect(try scene.reload("").text == "the configuration was reloaded\n")
        // Options of the command line override the file.
        let yaml = "logLevel: debug\nport: 1\nhealth: 81\nadminListen: 127.0.0.1:82\nmaxBytes: 1GB\nhelloWorld: true\n"
        let result = try scene.reload(yaml)
        #expect(result.status == 0)
        #expect(
            result.text == """
                changed: helloWorld
                changed: maxBytes
                needs a restart: health
                needs a restart: adminListen
                the configuration was reloaded

                """)
        let again = try scene.reload(yaml, ["--json"])
        #expect(again.text == "{\"changed\":[],\"needRestart\":[\"health\",\"adminListen\"]}\n")
        _ = try scene.process.line(
            containing: "the configuration was reloaded needs_restart=\"health adminListen\"",
            in: scene.process.errors)
        try scene.close()
    }

    private static let wrongFiles: [(yaml: String, problems: [String])] = [
        ("logLevel: loud\nmaxByte: 5\n", [":1: logLevel: must be", ":2: maxByte: unknown key; did you mean"]),
        ("{", [": not YAML: "]),
        ("helloWorld: [\n", [": not YAML: "]),
        ("defaultNs: registry.test\nlogFile: /nowhere/log\n", [":2: logFile: /nowhere/log: No such file"]),
        ("adminOnServingPort: true\n", [":1: adminOnServingPort: "]),
        ("tls: {ca: DIRECTORY/text}\n", [":1: tls.ca: "]),
        ("dockerConfig: DIRECTORY/none\n", [":1: dockerConfig: "]),
        ("pinned: '(('\n", [":1: pinned: pattern '(('"]),
        (
            "health: 79\nadminListen: 127.0.0.1:79\nmetricsHost: 1.2.3.4.5\n",
            [":2: adminListen: 79 is the port of health already", ":3: metricsHost: "]
        ),
        ("registries: [{name: a.test, endpoint: 'ftp://x'}]\n", [":1: registries[0].endpoint: "]),
    ]

    @Test("a file with problems changes nothing, and every problem is printed with its place")
    func wrongFiles() throws {
        let scene = try ReloadScene("helloWorld: true\nairGapped: true\n")
        try scene.files.write("no certificate", to: "text")
        let hello = TestClient.Request.get("/v2/docker.io/library/hello-world/manifests/latest")
        #expect(scene.ask(hello).status == 200)
        let start = try scene.metrics()
        let loaded = try #require(start["ociregistry_config_last_reload_success_timestamp_seconds"])
        #expect(start["ociregistry_config_last_reload_success"] == 1 && loaded > 1_700_000_000)
        for (yaml, problems) in Self.wrongFiles {
            let text = yaml.replacing("DIRECTORY", with: scene.files.path)
            let result = try scene.reload(text)
            #expect(result.status == 1, "\(result)")
            #expect(result.text.isEmpty)
            for problem in problems { #expect(result.errors.contains(problem), "\(result)") }
            #expect(scene.ask(hello).status == 200, "\(text)")
            let metrics = try scene.metrics()
            #expect(metrics["ociregistry_config_last_reload_success"] == 0)
            #expect(metrics["ociregistry_config_last_reload_success_timestamp_seconds"] == loaded)
        }
        let json = try scene.reload("logLevel: loud\n", ["--json"])
        #expect(json.status == 1)
        #expect(json.errors.contains(#"config.yaml","line":1,"key":"logLevel","reason":"must be "#), "\(json)")
        try scene.use("helloWorld: true\n")
        #expect(try scene.metrics()["ociregistry_config_last_reload_success"] == 1)
        try scene.close()
    }

    @Test("a token that the running listener needs cannot be removed with the listener's address")
    func neededToken() throws {
        let scene = try ReloadScene("adminListen: 0.0.0.0:0\nadminToken: abc\n")
        let result = try scene.reload("adminListen: 127.0.0.1:0\n")
        #expect(result.status == 1)
        let lines = result.errors.split(separator: "\n")
        let problem = try #require(lines.first { $0.contains("config.yaml:1: adminListen:") })
        #expect(problem.hasSuffix("; the listener in use stays until a restart"))
        try scene.use("adminListen: 127.0.0.1:0\nadminToken: abcd\n")
        try scene.close()
    }

    @Test("requests that wait for maxConnections start when a reload raises it") func raisedLimit() throws {
        let scene = try ReloadScene()
        func yaml(_ count: Int) -> String {
            "registries: [{name: registry.test, endpoint: '\(scene.fake.url)', maxConnections: \(count)}]"
        }
        try scene.use(yaml(1))
        scene.fake.answer = { _ in .silent }
        let clients = (0..<3).map { scene.start(.get("/v2/registry.test/team/app/manifests/v\($0)")) }
        scene.run.wait { scene.fake.requests.count == 1 }
        try scene.use(yaml(3))
        scene.run.wait { scene.fake.requests.count == 3 }
        for client in clients { client.leave() }
        try scene.close()
    }

    @Test("reload without a server fails and names the cache") func noServer() throws {
        let files = try TemporaryDirectory()
        let images = files.file("images")
        let result = try Command.run([Checkout.server, "reload", "--image-path", images])
        #expect(result.status == 1 && result.text.isEmpty)
        #expect(result.errors.contains("no server runs on the cache \(images)"))
        // The file says where the cache is, although it has a problem.
        let config = try files.write("imagePath: \(images)\nprot: 1\n", to: "c.yaml")
        let other = try Command.run([Checkout.server, "reload", "--config-file", config])
        #expect(other.status == 1 && other.errors.contains("no server runs on the cache \(images)"), "\(other)")
        let broken = try files.write("{", to: "d.yaml")
        let third = try Command.run([Checkout.server, "reload", "--config-file", broken])
        #expect(third.status == 1 && third.errors.contains("use --image-path"), "\(third)")
    }

    @Test("the call is a POST, on the socket and with the token on a port", .needs(.curl)) func calls() throws {
        let scene = try AdminScene()
        let server = try scene.serve(["--admin-listen", "127.0.0.1:0"])
        let address = try scene.adminAddress(of: server.process)
        #expect(try scene.curl("/cmd/reload").status == 405)
        #expect(try scene.curl("/cmd/reload", ["-X", "POST"]).body == "the configuration was reloaded\n")
        let json = try scene.curl("/cmd/reload", at: address, ["-X", "POST", "-H", "Accept: application/json"])
        #expect(json.status == 200 && json.body == "{\"changed\":[],\"needRestart\":[]}\n")
        let serving = try scene.curl("/cmd/reload", at: scene.servingAddress(of: server.process), ["-X", "POST"])
        #expect(serving.status == 403)
        #expect(server.process.errors.text.contains("administration: POST /cmd/reload"))
        #expect(try server.stop() == 0)
    }
}

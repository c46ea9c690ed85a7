// SIGHUP: what the configuration says of upstreams is used without a restart, and a wrong file changes nothing.

import Foundation
import TestSupport
import Testing

@testable import Configuration
@testable import OCI
@testable import Registry

@Suite struct ReloadTests {
    /// A server whose upstream wants a password, and the configuration file that it has been given.
    private final class Scene {
        let run: LoopRun
        let files: TemporaryDirectory
        let fake: FakeUpstream
        let process: ChildProcess
        let port: UInt16
        private var clients: [TestClient] = []

        init(password: String) throws {
            run = try LoopRun()
            files = try TemporaryDirectory()
            fake = FakeUpstream(on: run.loop)
            let config = files.file("config.yaml")
            try files.write(Scene.yaml(fake, password), to: "config.yaml")
            process = try ChildProcess([
                Checkout.server, "serve", "--config-file", config, "--image-path", files.file("images"), "--host",
                "127.0.0.1", "--port", "0",
            ])
            let mark = "listening on http://127.0.0.1:"
            let line = try process.line(containing: mark, in: process.errors)
            port = try #require(UInt16(line.components(after: mark).prefix(while: \.isNumber)))
            let image = FakeImage()
            let basic = UpstreamCredentials(user: "me", password: "new").basic
            fake.answer = { request in
                request.header("authorization") == basic
                    ? image.answer : .status(401, [("WWW-Authenticate", "Basic realm=\"r\"")])
            }
        }

        static func yaml(_ fake: FakeUpstream, _ password: String) -> String {
            """
            logLevel: info
            registries:
            - name: registry.test
              endpoint: \(fake.url)
              auth: {user: me, password: \(password)}

            """
        }

        /// Sends SIGHUP and waits for what the log says then.
        func reload(_ yaml: String, until line: String) throws {
            try files.write(yaml, to: "config.yaml")
            kill(process.processID, SIGHUP)
            _ = try process.line(containing: line, in: process.errors)
        }

        func status(_ tag: String) -> Int {
            let client = TestClient(on: run.loop, port: port, manner: .init(), number: clients.count)
            clients.append(client)
            client.send(.get("/v2/registry.test/team/app/manifests/\(tag)"))
            run.wait(until: { client.isDone })
            return client.response.status
        }

        func close() throws {
            for client in clients { client.leave() }
            fake.close()
            process.stop()
            #expect(try process.wait() == 0)
            run.close()
        }
    }

    @Test("after SIGHUP a new password is used at once") func newPassword() throws {
        let scene = try Scene(password: "old")
        #expect(scene.status("v1") == 403)
        try scene.reload(Scene.yaml(scene.fake, "new"), until: "the configuration was reloaded")
        #expect(scene.status("v1") == 200)
        try scene.close()
    }

    @Test("a wrong file leaves the running configuration in place, and says what is wrong") func wrongFile() throws {
        let scene = try Scene(password: "new")
        #expect(scene.status("v1") == 200)
        let wrong = Scene.yaml(scene.fake, "old") + "  sheme: http\n"
        try scene.reload(wrong, until: "config.yaml:6: registries[0].sheme: unknown key; did you mean scheme?")
        #expect(scene.status("v2") == 200)
        try scene.close()
    }

    @Test("changes that need a restart are said, and those of upstreams are used") func restart() throws {
        let scene = try Scene(password: "old")
        let yaml = "helloWorld: true\n" + Scene.yaml(scene.fake, "new")
        try scene.reload(yaml, until: "settings other than those of upstreams have changed; they need a restart")
        #expect(scene.status("v1") == 200)
        try scene.close()
    }
}

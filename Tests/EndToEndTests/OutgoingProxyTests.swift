// The server as users run it behind an outgoing proxy: settings, environment, and what its log and its errors say.

import Foundation
import TestSupport
import Testing

@testable import OCI
@testable import Registry

@Suite struct OutgoingProxyTests {
    private static let path = "/v2/registry.test/a/manifests/v1"

    /// An upstream, or a proxy, on the test's loop.
    private static func scripted() throws -> (LoopRun, FakeUpstream) {
        let run = try LoopRun()
        let fake = FakeUpstream(on: run.loop)
        run.atClose { fake.close() }
        return (run, fake)
    }

    private static func get(_ server: OciRegistryProcess, _ run: LoopRun) throws -> TestClient.Response {
        let port = try #require(server.address.split(separator: ":").last.flatMap { UInt16($0) })
        let client = TestClient(on: run.loop, port: port, manner: .init(), number: 0)
        client.send(.get(path))
        run.wait { client.isDone }
        client.leave()
        return client.response
    }

    @Test("tinyproxy lets pulls through, and a wrong password is reported as the proxy's", .needs(.tinyproxy))
    func passwords() throws {
        let image = FakeImage(seed: 4)
        let proxy = try ForwardProxy(user: "me", password: "s3cret")
        for (password, status) in [("s3cret", 200), ("wr0ng", 503)] {
            let (run, fake) = try Self.scripted()
            fake.on("/v2/a/manifests/v1", image.answer)
            let server = try OciRegistryProcess(
                upstreams: ["registry.test": fake.authority], arguments: ["--no-prefetch-layers"],
                settings: "proxy: http://me:\(password)@\(proxy.address)\n")
            let response = try Self.get(server, run)
            #expect(response.status == status, "\(response.text)")
            if status == 503 {
                let reason = "the proxy \(proxy.address) refused the credentials (401)"
                _ = try server.process.line(containing: reason, in: server.process.errors)
                #expect(!response.text.contains(proxy.address))
                #expect(fake.requests.isEmpty)
            } else {
                #expect(response.body == image.manifest)
            }
            #expect(try server.stop() == 0)
            #expect(!server.process.errors.text.contains(password))
            run.close()
        }
        #expect(proxy.requests(atLeast: 2).count >= 2)
    }

    @Test("proxies are taken from the environment, except for what NO_PROXY names") func environment() throws {
        let image = FakeImage(seed: 5)
        let (run, fake) = try Self.scripted()
        fake.on("http://registry.test/v2/a/manifests/v1", image.answer)
        // The endpoint is a name that only the proxy knows.
        let environment = [
            "HTTP_PROXY": "http://\(fake.authority)", "http_proxy": "", "no_proxy": "", "NO_PROXY": "other.test",
        ]
        let server = try OciRegistryProcess(
            upstreams: ["registry.test": "registry.test"], arguments: ["--no-prefetch-layers"],
            environment: environment)
        #expect(try Self.get(server, run).body == image.manifest)
        #expect(fake.requests.allSatisfy { $0.path.hasPrefix("http://registry.test/") })
        #expect(try server.stop() == 0)
        run.close()
    }

    @Test("an invalid proxy in the environment stops the start, and its password is not printed")
    func wrongEnvironment() throws {
        let result = try Command.run(
            [Checkout.server, "serve", "--port", "0", "--image-path", try TemporaryDirectory().path],
            environment: ["https_proxy": "ftp://me:s3cret@proxy:1"])
        #expect(result.status == 78)
        #expect(result.errors.contains("environment: https_proxy: must begin with http://"))
        #expect(!result.errors.contains("s3cret"))
    }
}

// Clients that ask again and again, such as the kubelet for a pod whose image is missing, and registries that count
// what they are asked.

import Foundation
import TestSupport
import Testing

@testable import OCI
@testable import Registry

@Suite struct CrashLoopTests {
    /// A server process, and clients on a loop of the test's own.
    private final class Scene {
        let run: LoopRun
        let server: OciRegistryProcess
        private let port: UInt16
        private var clients: [TestClient] = []

        init(_ run: LoopRun, _ server: OciRegistryProcess) throws {
            self.run = run
            self.server = server
            port = try #require(server.address.split(separator: ":").last.flatMap { UInt16($0) })
        }

        func ask(_ request: TestClient.Request) -> TestClient.Response {
            let client = TestClient(on: run.loop, port: port, manner: .init(), number: clients.count)
            clients.append(client)
            client.send(request)
            run.wait(until: { client.isDone })
            return client.response
        }

        /// What containerd asks for a tag.
        func pull(_ target: String) -> (head: Int, get: Int) {
            let head = ask(.head(target)).status
            return (head, head == 200 ? ask(.get(target)).status : head)
        }

        func reload() throws {
            kill(server.process.processID, SIGHUP)
            _ = try server.process.line(containing: "the configuration was reloaded", in: server.process.errors)
        }

        func close() throws {
            for client in clients { client.leave() }
            #expect(try server.stop() == 0, "\(server.process.errors.text)")
        }
    }

    @Test(
        "a hundred pulls of a missing tag cost a real registry one HEAD and one GET, until a reload",
        .needs(.sampleImages))
    func missingTag() throws {
        let files = try TemporaryDirectory()
        // Other tests use the original.
        try FileManager.default.copyItem(atPath: SampleImages.storage(), toPath: files.file("storage"))
        let registry = try DockerRegistry(storing: files.file("storage"))
        let scene = try Scene(
            LoopRun(),
            OciRegistryProcess(
                upstreams: ["docker.io": registry.address], settings: "negativeCache: {notFound: 1h, denied: 1h}\n"))
        let target = "/v2/docker.io/library/multi/manifests/late"
        for _ in 0..<100 { #expect(scene.pull(target) == (404, 404)) }
        let blob = "/library/multi/blobs/\(digestOf([1]))"
        for _ in 0..<100 { #expect(scene.ask(.get("/v2/docker.io\(blob)")).status == 404) }
        try Command.check([
            "skopeo", "--insecure-policy", "copy", "--quiet", "--all", "--src-tls-verify=false",
            "--dest-tls-verify=false", "docker://\(registry.address)/\(SampleImage.multi)",
            "docker://\(registry.address)/library/multi:late",
        ])
        #expect(scene.pull(target) == (404, 404))
        try scene.reload()
        #expect(scene.pull(target) == (200, 200))
        try scene.close()
        scene.run.close()
        let log = try registry.stop()
        let asked = log.filter { $0.contains("/manifests/late") && !$0.hasPrefix("PUT ") }
        // Of the HEADs, one is skopeo's own, who looks whether the tag is there.
        #expect(asked.filter { $0.hasPrefix("GET ") }.count == 2, "\(asked)")
        #expect((2...3).contains(asked.filter { $0.hasPrefix("HEAD ") }.count), "\(asked)")
        #expect(log.filter { $0.hasPrefix("GET /v2\(blob)") }.count == 1)
    }

    /// Docker Hub, as far as it counts: GETs of manifests cost, HEADs do not, and every answer says what is left.
    private final class Hub {
        var left = 100
        var images: [String: FakeImage] = [:]
        private(set) var requests: [String] = []

        func answer(_ request: FakeRequest) -> FakeAnswer {
            requests.append("\(request.method) \(request.path)")
            guard request.header("authorization") == "Bearer t" else {
                if request.path == "/token" { return .token("t") }
                return .challenge(realm: "http://\(request.header("host") ?? "")/token")
            }
            guard let name = request.path.split(separator: "/").last, let image = images[String(name)] else {
                return .status(404)
            }
            if request.method == "GET" { left -= 1 }
            return image.answer.adding("ratelimit-limit", "100;w=21600").adding(
                "ratelimit-remaining", "\(left);w=21600")
        }

        func count(_ request: String) -> Int { requests.filter { $0 == request }.count }
    }

    @Test(
        "what a crash-looping pod costs the upstream, without and with a memory of negative answers",
        arguments: [
            ("negativeCache: {notFound: 0s, denied: 0s}\n", 100), ("negativeCache: {notFound: 1h}\n", 1),
        ])
    func cost(_ settings: String, _ count: Int) throws {
        let run = try LoopRun()
        let (fake, hub) = (FakeUpstream(on: run.loop), Hub())
        fake.answer = { hub.answer($0) }
        let scene = try Scene(
            run, OciRegistryProcess(upstreams: ["docker.io": fake.authority], settings: settings))
        for _ in 0..<100 { #expect(scene.pull("/v2/docker.io/library/app/manifests/none") == (404, 404)) }
        #expect(hub.count("HEAD /v2/library/app/manifests/none") == count + 1, "the first one got a 401")
        #expect(hub.count("GET /v2/library/app/manifests/none") == count)
        #expect(hub.count("GET /token") == 1)
        try scene.close()
        fake.close()
        run.close()
    }

    @Test("with few pulls left a moved tag is served as it was, and what is not cached is pulled") func quota() throws {
        let run = try LoopRun()
        let (fake, hub) = (FakeUpstream(on: run.loop), Hub())
        fake.answer = { hub.answer($0) }
        let scene = try Scene(
            run,
            OciRegistryProcess(
                upstreams: ["docker.io": fake.authority], upstreamSettings: "quota: {reserve: 20}",
                arguments: ["--always-pull-latest"]))
        let (old, new) = (FakeImage(seed: 1), FakeImage(seed: 2))
        hub.images["latest"] = old
        let target = "/v2/docker.io/library/app/manifests/latest"
        #expect(scene.ask(.get(target)).body == old.manifest)
        (hub.left, hub.images) = (19, ["latest": new, "v2": new])
        for _ in 0..<10 { #expect(scene.ask(.get(target)).body == old.manifest) }
        #expect(hub.left == 19)
        let line = try scene.server.process.line(containing: "few pulls left", in: scene.server.process.errors)
        #expect(line.contains("host=docker.io") && line.contains("left=19") && line.contains("reserve=20"), "\(line)")
        #expect(scene.ask(.get("/v2/docker.io/library/app/manifests/v2")).body == new.manifest)
        #expect(hub.left == 18)
        hub.left = 100
        // The tag is checked again when the pause after its last check is over.
        var body: [UInt8] = []
        for _ in 0..<100_000 where body != new.manifest { body = scene.ask(.get(target)).body }
        #expect(body == new.manifest)
        try scene.close()
        fake.close()
        run.close()
    }
}

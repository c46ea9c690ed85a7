// Upstreams with several endpoints, with endpoints below a path, and with names that are patterns.

import TestSupport
import Testing

@testable import Configuration
@testable import OCI
@testable import Registry

@Suite struct UpstreamEndpointTests {
    /// A server whose upstream `many.test` has several endpoints.
    private final class Scene {
        let mirror: MirrorKit
        let fakes: [FakeUpstream]
        static let image = FakeImage(layerBytes: [200_000])
        static let manifest = "/v2/many.test/team/app/manifests/v1"
        static let layer = "/v2/team/app/blobs/\(digestOf(image.layers[0]))"

        init(
            count: Int = 2, path: String = "", _ change: @escaping (inout RegistryConfig) -> Void = { _ in }
        ) throws {
            var made: [FakeUpstream] = []
            mirror = try MirrorKit {
                $0.upstreams = { loop in
                    made = (0..<count).map { _ in FakeUpstream(on: loop) }
                    return made
                }
                $0.registries = { _ in
                    var config = RegistryConfig(name: RegistryHost("many.test")!)  // a valid host
                    config.isList = true
                    for fake in made { config.add(endpoint: fake.url + path) }
                    change(&config)
                    return [config]
                }
            }
            fakes = made
            mirror.metrics.admit(RegistryHost("many.test")!)  // a valid host
        }

        func put(on numbers: Int...) {
            for number in numbers { Self.image.put(on: fakes[number], tag: "v1") }
        }

        var counts: [Int] { fakes.map(\.requests.count) }
    }

    // MARK: The next endpoint

    private static let unusable: [(name: String, answer: FakeAnswer)] = [
        ("500", .status(500)), ("503", .status(503)), ("429", .limited), ("404", .status(404)), ("401", .status(401)),
        ("403", .status(403)), ("408", .status(408)), ("reset", .reset), ("hang-up", .hangUp), ("no HTTP", .raw("x")),
    ]

    @Test("the next endpoint is asked when one answers nothing usable", arguments: unusable)
    func next(_ name: String, _ answer: FakeAnswer) throws {
        let scene = try Scene()
        scene.fakes[0].answer = { _ in answer }
        scene.put(on: 1)
        #expect(scene.mirror.get(Scene.manifest).body == Scene.image.manifest)
        #expect(scene.counts[0] > 0 && scene.counts[1] == 1)
        scene.mirror.close()
    }

    @Test("the next endpoint is asked when one cannot be reached") func unreachable() throws {
        let scene = try Scene()
        scene.fakes[0].stopListening()
        scene.put(on: 1)
        #expect(scene.mirror.get(Scene.manifest).body == Scene.image.manifest)
        #expect(scene.mirror.log.text.contains("an endpoint of the upstream failed; the next one is asked"))
        #expect(try scene.mirror.scrape()["ociregistry_upstream_failovers_total{ns=\"many.test\"}"] == 1)
        scene.mirror.close()
    }

    @Test("the limits of a request are shorter while there are other endpoints, unless the configuration sets them")
    func hurries() throws {
        let url = try #require(UpstreamURL("https://a.test/"))
        var connections = ConnectionSettings()
        connections.connectMilliseconds = 7000
        for settings in [ConnectionSettings(), connections] {
            var config = RegistryConfig(name: UpstreamKit.host)
            config.connections = settings
            let endpoint = Upstream(host: UpstreamKit.host, config: config).endpoints[0]
            let complete = RequestSettings(
                UpstreamSettings(), noProgressMilliseconds: 60_000, limits: ConnectLimits())
            var request = TransferRequest(
                url: url, addresses: AddressGuard(hostIsConfigured: true), noProgressMilliseconds: 60_000)
            complete.complete(&request, for: endpoint)
            complete.hurry(&request, for: endpoint)
            let limits = try #require(request.limits)
            let isSet = settings.connectMilliseconds != nil
            #expect(limits.addressMilliseconds == (isSet ? 7000 : FailoverLimits.connectMilliseconds))
            #expect(limits.firstByteMilliseconds == FailoverLimits.firstByteMilliseconds)
            #expect(limits.tlsMilliseconds == FailoverLimits.tlsMilliseconds)
        }
    }

    @Test("an endpoint that is silent is given up for the next one") func silent() throws {
        let scene = try Scene { $0.connections.firstByteMilliseconds = 50 }
        scene.fakes[0].answer = { _ in .silent }
        scene.put(on: 1)
        #expect(scene.mirror.get(Scene.manifest).body == Scene.image.manifest)
        #expect(scene.counts == [1, 1])
        scene.mirror.close()
    }

    @Test("the last endpoint's answer is the answer", arguments: [(404, 404), (500, 503), (403, 403)])
    func last(_ status: Int, _ answered: Int) throws {
        let scene = try Scene()
        scene.fakes[0].stopListening()
        scene.fakes[1].answer = { _ in .status(status) }
        #expect(scene.mirror.get(Scene.manifest).status == answered)
        scene.mirror.close()
    }

    @Test(
        "the last endpoint's 404 is the answer while another one fails, and another one's is not while the last fails")
    func notFound() throws {
        let scene = try Scene()
        scene.fakes[0].answer = { _ in .status(500) }
        let target = "/v2/many.test/team/app/manifests/none"
        #expect(scene.mirror.get(target).status == 404)
        // The first one is asked last now.
        #expect(scene.mirror.get(target).status == 404)
        #expect(scene.counts == [1, 2])
        scene.fakes[0].answer = { _ in .status(404) }
        scene.fakes[1].answer = { _ in .status(500) }
        #expect(scene.mirror.get(target).status == 503)
        #expect(scene.counts == [2, 3])
        scene.mirror.close()
    }

    @Test("a 404 of an endpoint with final404 is the answer") func final404() throws {
        let scene = try Scene { $0.endpoints[0].is404Final = true }
        scene.put(on: 1)
        #expect(scene.mirror.get(Scene.manifest).status == 404)
        #expect(scene.counts == [1, 0])
        scene.mirror.close()
    }

    @Test("an endpoint that failed is asked last for a while, a 404 is no failure") func pauses() throws {
        let scene = try Scene()
        scene.fakes[0].on("/v2/team/app/manifests/none", .status(404))
        scene.fakes[0].answer = { _ in .status(500) }
        scene.put(on: 1)
        #expect(scene.mirror.get("/v2/many.test/team/app/manifests/none").status == 404)
        #expect(scene.mirror.get("/v2/many.test/team/app/manifests/none").status == 404)
        #expect(scene.counts == [2, 2])
        #expect(scene.mirror.get(Scene.manifest).status == 200)
        #expect(scene.counts == [3, 3])
        // In its pause it is not asked, unless all others fail too.
        #expect(scene.mirror.get("/v2/many.test" + Scene.layer.dropFirst(3)).body == Scene.image.layers[0])
        #expect(scene.counts == [3, 4])
        scene.fakes[1].stopListening()
        scene.fakes[1].hangUp()
        #expect(scene.mirror.get("/v2/many.test/team/app/manifests/v2").status == 503)
        #expect(scene.counts[0] == 4)
        scene.mirror.close()
    }

    @Test("a blob whose transfer breaks is resumed at the next endpoint") func restElsewhere() throws {
        let scene = try Scene(count: 3)
        scene.put(on: 2)
        scene.fakes[0].stopListening()
        scene.fakes[1].on(Scene.layer) { .blob(Scene.image.layers[0], for: $0).cut(after: 120_000) }
        let response = scene.mirror.get("/v2/many.test" + Scene.layer.dropFirst(3))
        #expect(response.status == 200 && response.body == Scene.image.layers[0])
        #expect(scene.fakes[1].requests.map(\.rangeStart) == [nil])
        let rest = try #require(scene.fakes[2].requests.first)
        #expect(scene.fakes[2].requests.count == 1 && (rest.rangeStart ?? 0) > 0)
        scene.mirror.close()
    }

    @Test("an endpoint that sends wrong content is asked last for a while", arguments: ["blob", "manifest"])
    func wrongContent(_ kind: String) throws {
        let scene = try Scene()
        scene.put(on: 0, 1)
        let image = Scene.image
        scene.fakes[0].on(Scene.layer) { .blob(image.layers[0], for: $0).corrupted(at: 5) }
        scene.fakes[0].on("/v2/team/app/manifests/\(image.digest)", image.answer.corrupted(at: 5))
        let target =
            kind == "blob"
            ? "/v2/many.test" + Scene.layer.dropFirst(3) : "/v2/many.test/team/app/manifests/\(image.digest)"
        let first = scene.mirror.ask(.get(target))
        #expect(!(first.response.status == 200 && first.isComplete))
        scene.mirror.settle()
        let second = scene.mirror.ask(.get(target))
        #expect(second.response.status == 200 && second.isComplete)
        #expect(scene.counts[1] == 1)
        scene.mirror.close()
    }

    // MARK: Paths

    private static let paths: [(path: String, asked: String)] = [
        ("/dockerhub-proxy", "/v2/dockerhub-proxy/team/app"), ("/v2/dockerhub-proxy", "/v2/dockerhub-proxy/team/app"),
        ("/artifactory/api/docker/hub/v2", "/artifactory/api/docker/hub/v2/team/app"),
        ("/a/v2/b/c", "/a/v2/b/c/team/app"),
    ]

    @Test("requests to an endpoint with a path go below it", arguments: paths)
    func below(_ path: String, _ asked: String) throws {
        let scene = try Scene(count: 1, path: path)
        let image = Scene.image
        scene.fakes[0].on("\(asked)/manifests/v1", image.answer)
        scene.fakes[0].on("\(asked)/tags/list", .json("{\"name\":\"x\",\"tags\":[\"v1\"]}"))
        scene.fakes[0].on("\(asked)/blobs/\(digestOf(image.layers[0]))") { .blob(image.layers[0], for: $0) }
        #expect(scene.mirror.get(Scene.manifest).body == image.manifest)
        #expect(scene.mirror.get("/v2/many.test" + Scene.layer.dropFirst(3)).body == image.layers[0])
        #expect(scene.mirror.get("/v2/many.test/team/app/tags/list").status == 200)
        // The path says what is wanted.
        #expect(scene.fakes[0].requests.allSatisfy { $0.query == nil })
        scene.mirror.close()
    }

    @Test("a token is asked for the repository as the endpoint calls it, and /v2/ below its path") func scope() throws {
        let scene = try Scene(count: 1, path: "/a/v2/b") {
            $0.endpoints[0].auth = RegistryAuth(user: "me", password: Secret("pw"))
        }
        let fake = scene.fakes[0]
        fake.answer = { [unowned fake] request in
            switch request.path {
            case "/a/v2/": .challenge(realm: "\(fake.url)/token")
            case "/token": .token("t")
            default:
                request.header("authorization") == "Bearer t" ? Scene.image.answer : .status(401)
            }
        }
        #expect(scene.mirror.get(Scene.manifest).body == Scene.image.manifest)
        #expect(fake.requests(to: "/token").first?.parameter("scope") == "repository:b/team/app:pull")
        #expect(fake.requests(to: "/token").first?.header("authorization")?.hasPrefix("Basic ") == true)
        scene.mirror.close()
    }

    // MARK: Credentials

    @Test("each endpoint of a list gets its own credentials only") func ownCredentials() throws {
        let scene = try Scene {
            $0.endpoints[0].auth = RegistryAuth(user: "one", password: Secret("1"))
            $0.auth = RegistryAuth(user: "registry", password: Secret("0"))
        }
        let challenge = FakeAnswer.status(401, [("WWW-Authenticate", "Basic realm=\"r\"")])
        for fake in scene.fakes { fake.answer = { _ in challenge } }
        #expect(scene.mirror.get(Scene.manifest).status == 403)
        let sent = scene.fakes.map { $0.requests.compactMap { $0.header("authorization") } }
        #expect(sent == [[UpstreamCredentials(user: "one", password: "1").basic ?? ""], []])
        scene.mirror.close()
    }

    @Test("credentials are sent where anonymous requests are answered with 404, once /v2/ asks for them")
    func hidden() throws {
        let kit = try UpstreamKit { _, config, _ in config.auth = UpstreamKit.auth }
        let basic = UpstreamCredentials(user: "me", password: "s3cret").basic
        kit.fake.answer = { request in
            if request.header("authorization") == basic { return .ok([1, 2]) }
            return request.path == "/v2/" ? .status(401, [("WWW-Authenticate", "Basic realm=\"r\"")]) : .status(404)
        }
        #expect(kit.ask().body == [1, 2])
        #expect(kit.fake.requests.map(\.path) == [UpstreamKit.path, "/v2/", UpstreamKit.path])
        // What has worked is sent at once.
        #expect(kit.ask().body == [1, 2])
        #expect(kit.fake.requests.count == 4)
        kit.run.close()
    }

    @Test("a registry that asks nobody for credentials is not asked about it with every 404") func nothingHidden()
        throws
    {
        let kit = try UpstreamKit { _, config, _ in config.auth = UpstreamKit.auth }
        kit.fake.on("/v2/", .ok([]))
        #expect(kit.ask().head?.status == 404)
        #expect(kit.ask().head?.status == 404)
        #expect(kit.fake.requests.map(\.path) == [UpstreamKit.path, "/v2/", UpstreamKit.path, UpstreamKit.path])
        #expect(kit.fake.requests.allSatisfy { $0.header("authorization") == nil })
        kit.run.close()
    }

    @Test("a fixed token is sent with the first request, and not to where a redirect leads") func fixedToken() throws {
        let kit = try UpstreamKit { _, config, _ in config.auth = RegistryAuth(.token(Secret("abc"))) }
        let elsewhere = FakeUpstream(on: kit.run.loop)
        kit.fake.answer = { _ in .redirect(to: "\(elsewhere.url)/x") }
        elsewhere.answer = { _ in .ok([1]) }
        _ = kit.ask()
        #expect(kit.fake.requests.map { $0.header("authorization") } == ["Bearer abc"])
        #expect(elsewhere.requests.allSatisfy { $0.header("authorization") == nil })
        kit.fake.answer = { [unowned fake = kit.fake] _ in .challenge(realm: "\(fake.url)/token") }
        #expect(kit.ask().head?.deniedHint == UpstreamAnswer.credentialsHint)
        #expect(kit.fake.requests(to: "/token").isEmpty)
        elsewhere.close()
        kit.run.close()
    }

    // MARK: Patterns

    @Test("a host without an entry takes that of the most specific pattern") func patterns() throws {
        let kit = try UpstreamKit { fake, _, more in
            for (name, answer) in [("*", "/all"), ("*.example", "/example"), ("r*.example", "/r")] {
                var config = RegistryConfig(name: (try? RegistryPattern(parsing: name)) ?? RegistryPattern(.dockerHub))
                config.add(endpoint: fake.url + answer)
                more.append(config)
            }
        }
        for (host, path) in [("r1.example", "r"), ("x.example", "example"), ("quay.io", "all")] {
            _ = kit.ask(host: try #require(RegistryHost(host)))
            #expect(kit.fake.requests.last?.path == "/v2/\(path)/a/blobs/x")
        }
        _ = kit.ask()
        #expect(kit.fake.requests.last?.path == UpstreamKit.path)
        kit.run.close()
    }

    @Test("a name that matches a pattern does not lead to a local address, an address that matches does")
    func localPatterns() throws {
        let kit = try UpstreamKit { fake, _, more in
            // Names below localhost are this machine's (RFC 6761 §6.3).
            for name in ["*.localhost:\(fake.port)", "*.0.0.1:\(fake.port)"] {
                var config = RegistryConfig(name: (try? RegistryPattern(parsing: name)) ?? RegistryPattern(.dockerHub))
                config.scheme = .http
                more.append(config)
            }
        }
        let name = try #require(RegistryHost("a.localhost:\(kit.fake.port)"))
        #expect(kit.ask(host: name).refusal?.status == 403 && kit.fake.requests.isEmpty)
        _ = kit.ask(host: try #require(RegistryHost(kit.fake.authority)))
        #expect(kit.fake.requests.count == 1)
        kit.run.close()
    }

    @Test("an entry for every host without an endpoint does not open this machine to clients") func everyHost() throws {
        let kit = try UpstreamKit { fake, _, more in
            var config = RegistryConfig(name: (try? RegistryPattern(parsing: "*")) ?? RegistryPattern(.dockerHub))
            config.scheme = .http
            more = [config]
        }
        let record = kit.ask(host: try #require(RegistryHost(kit.fake.authority)))
        #expect(record.refusal?.status == 403 && kit.fake.requests.isEmpty)
        kit.run.close()
    }
}

extension RegistryConfig {
    mutating func add(endpoint: String) {
        endpoints.append(EndpointConfig(try! EndpointAddress(parsing: endpoint)))  // a test's own URL
    }
}

// The `ns` parameter of requests to an endpoint that is not the registry's own host.

import TestSupport
import Testing

@testable import Configuration
@testable import OCI
@testable import Registry

@Suite struct NamespaceTests {
    private static func upstream(_ name: String, endpoint: String?, sends: Bool = true) throws -> Upstream {
        let host = try #require(RegistryHost(name))
        var config = RegistryConfig(name: host)
        if let endpoint { config.send(to: endpoint) }
        config.scheme = endpoint?.hasPrefix("http:") == true ? .http : .https
        config.sendsNamespace = sends
        return Upstream(host: host, config: config)
    }

    private static let elsewhere = [
        ("docker.io", "http://mirror.example:5000", "ns=docker.io"),
        ("registry.example:5000", "https://10.0.0.5", "ns=registry.example%3A5000"),
        ("[2001:db8::1]:5000", "https://mirror.example", "ns=%5B2001%3Adb8%3A%3A1%5D%3A5000"),
        // Another port of the same machine may be another server.
        ("registry.example", "https://registry.example:8443", "ns=registry.example"),
        ("registry.example:5000", "http://registry.example:5001", "ns=registry.example%3A5000"),
        ("registry.example", "https://registry-1.docker.io", "ns=registry.example"),
    ]

    @Test("requests to another endpoint name the registry, percent-encoded", arguments: elsewhere)
    func otherEndpoint(name: String, endpoint: String, query: String) throws {
        #expect(try Self.upstream(name, endpoint: endpoint).endpoints[0].namespaceQuery == query)
        #expect(try Self.upstream(name, endpoint: endpoint, sends: false).endpoints[0].namespaceQuery == nil)
    }

    private static let own: [(String, String?)] = [
        ("docker.io", "https://registry-1.docker.io"), ("docker.io", "https://index.docker.io"), ("docker.io", nil),
        ("docker.io", "https://docker.io:443"), ("registry.example", "https://registry.example"),
        ("registry.example:5000", "http://registry.example:5000"), ("registry.example:443", nil),
        ("[::1]:5000", "http://[::1]:5000"),
    ]

    @Test("requests to the registry's own host do not name it", arguments: own)
    func ownHost(name: String, endpoint: String?) throws {
        #expect(try Self.upstream(name, endpoint: endpoint).endpoints[0].namespaceQuery == nil)
    }

    @Test("requests to an upstream without an entry do not name it")
    func unconfigured() throws {
        #expect(Upstream(host: .dockerHub, config: nil).endpoints[0].namespaceQuery == nil)
    }

    @Test("every kind of upstream request has ns beside its own parameters")
    func everyRequest() throws {
        let mirror = try MirrorKit()
        // Lists that are too long to be kept are passed through, and with them the client's parameters.
        mirror.puller.keptListPages = 0
        let image = FakeImage()
        image.put(on: mirror.fake, tag: "v1")
        let list = "/v2/team/app/tags/list"
        mirror.fake.on(list, .json("{\"name\":\"team/app\",\"tags\":[\"v1\"]}"))
        let referrers = "/v2/team/app/referrers/\(image.digest)"
        let index = "{\"schemaVersion\":2,\"mediaType\":\"\(MediaType.ociIndex.text)\",\"manifests\":[]}"
        mirror.fake.on(referrers, .ok(Array(index.utf8), type: MediaType.ociIndex.text))
        #expect(mirror.head("/v2/team/app/manifests/v1").status == 200)
        #expect(mirror.get("/v2/team/app/manifests/v1").status == 200)
        #expect(mirror.head("/v2/team/app/blobs/\(digestOf(image.config))").status == 200)
        #expect(mirror.get("/v2/team/app/blobs/\(digestOf(image.config))").status == 200)
        #expect(mirror.get("\(list)?n=5&last=a").status == 200)
        #expect(mirror.get("\(referrers)?artifactType=a%2Fb&ns=registry.test").status == 200)
        // libcurl 7.88 writes escapes in lower case.
        let queries = mirror.fake.requests.map { ($0.query ?? "").lowercased() }
        #expect(queries.prefix(4).allSatisfy { $0 == "ns=registry.test" })
        let whole = "ns=registry.test"
        let passed = ["n=5&last=a&ns=registry.test", "artifacttype=a%2fb&ns=registry.test"]
        #expect(queries.dropFirst(4) == [whole, passed[0], whole, passed[1]])
        mirror.close()
    }

    @Test("a client cannot name another registry to the mirror behind this one")
    func smuggling() throws {
        let mirror = try MirrorKit()
        let referrers = "/v2/team/app/referrers/\(digestOf([1]))"
        let index = "{\"schemaVersion\":2,\"mediaType\":\"\(MediaType.ociIndex.text)\",\"manifests\":[]}"
        mirror.fake.on(referrers, .ok(Array(index.utf8), type: MediaType.ociIndex.text))
        mirror.puller.keptListPages = 0
        #expect(mirror.get("\(referrers)?n%73=registry.test").status == 200)
        #expect(mirror.fake.requests.map { $0.query ?? "" } == ["ns=registry.test", "ns=registry.test"])
        mirror.close()
    }

    @Test("the Link of a referrers page leads to this server, without the ns sent upstream")
    func pages() throws {
        let mirror = try MirrorKit()
        let referrers = "/v2/team/app/referrers/\(digestOf([1]))"
        let index = "{\"schemaVersion\":2,\"mediaType\":\"\(MediaType.ociIndex.text)\",\"manifests\":[]}"
        mirror.fake.on(
            referrers,
            .ok(Array(index.utf8), type: MediaType.ociIndex.text)
                .adding("Link", "<\(referrers)?next=2&ns=registry.test>; rel=\"next\""))
        mirror.puller.keptListPages = 0
        #expect(mirror.get(referrers).header("link") == "<\(referrers)?next=2>; rel=\"next\"")
        let named = mirror.get("\(referrers)?ns=registry.test")
        #expect(named.header("link") == "<\(referrers)?next=2&ns=registry.test>; rel=\"next\"")
        mirror.close()
    }

    @Test("redirects and token services do not get the ns parameter")
    func others() throws {
        let kit = try UpstreamKit()
        kit.fake.answer = { [unowned fake = kit.fake] request in
            switch request.path {
            case "/token": return .token("t")
            case "/elsewhere": return .ok([1])
            default:
                return request.header("authorization") == "Bearer t"
                    ? .redirect(to: "/elsewhere?sig=1") : .challenge(realm: "\(fake.url)/token")
            }
        }
        #expect(kit.ask().body == [1])
        #expect(kit.fake.requests(to: "/elsewhere").map(\.query) == ["sig=1"])
        #expect(kit.fake.requests(to: "/token").allSatisfy { $0.parameter("ns") == nil })
        #expect(kit.fake.requests(to: "/v2/a/blobs/x").allSatisfy { $0.query == "ns=registry.test" })
        kit.run.close()
    }
}

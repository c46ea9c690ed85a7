// Content under names that have no proof for it: what is asked, and what the client gets.

import TestSupport
import Testing

@testable import Configuration
@testable import OCI
@testable import Registry

@Suite struct ProofCheckTests {
    static let image = FakeImage(seed: 1)
    static let blob = image.layers[1]
    static let blobPath = "/v2/team/app/blobs/\(digestOf(blob))"
    static let manifestPath = "/v2/team/app/manifests/\(image.digest)"

    /// What another upstream answers to a HEAD and a GET of content that the cache has.
    struct Case: Sendable, CustomTestStringConvertible {
        let name: String
        let answer: @Sendable (FakeRequest, _ content: [UInt8]) -> FakeAnswer
        let status: Int
        /// The methods of the requests that it gets.
        let methods: [String]
        /// Whether the next request is answered without asking.
        let isRemembered: Bool

        var testDescription: String { name }
    }

    private static func answer(_ request: FakeRequest, _ content: [UInt8]) -> FakeAnswer {
        request.path.contains("/manifests/") ? image.answer : .blob(content, for: request)
    }

    static let cases: [Case] = [
        .init(
            name: "it has the content", answer: { answer($0, $1) }, status: 200, methods: ["HEAD"], isRemembered: true),
        .init(
            name: "it does not have it", answer: { _, _ in .status(404) }, status: 404, methods: ["HEAD"],
            isRemembered: false),
        .init(
            name: "it answers only GET", answer: { $0.method == "HEAD" ? .status(405) : answer($0, $1) }, status: 200,
            methods: ["HEAD", "GET"], isRemembered: true),
        .init(
            name: "it denies access", answer: { _, _ in .status(403) }, status: 403, methods: ["HEAD", "GET"],
            isRemembered: false),
        .init(
            name: "it fails", answer: { _, _ in .status(500) }, status: 404, methods: ["HEAD"], isRemembered: false),
        .init(
            name: "it hangs up", answer: { _, _ in .hangUp }, status: 404, methods: ["HEAD", "HEAD"],
            isRemembered: false),
        .init(
            name: "it says nothing of the content",
            answer: { $0.method == "HEAD" ? .status(200).chunked() : answer($0, $1) }, status: 200,
            methods: ["HEAD", "GET"], isRemembered: true),
        .init(
            name: "it has content of another size",
            answer: { $0.method == "HEAD" ? .ok([1, 2, 3]) : answer($0, $1) }, status: 200, methods: ["HEAD", "GET"],
            isRemembered: true),
    ]

    /// A server that has the image of `registry.test`, and another upstream, which the configuration names.
    private func mirror(isRequired: Bool = true) throws -> (MirrorKit, other: FakeUpstream) {
        let mirror = try MirrorKit { $0.upstreams = { [FakeUpstream(on: $0)] } }
        mirror.store.requiresProofs = isRequired
        Self.image.put(on: mirror.fake, tag: "v1")
        #expect(mirror.get("/v2/team/app/manifests/v1").status == 200)
        for blob in Self.image.blobs { #expect(mirror.get("/v2/team/app/blobs/\(digestOf(blob))").body == blob) }
        mirror.settle()
        return (mirror, mirror.upstreams[0])
    }

    @Test("a blob without a proof is asked for by HEAD, once, and served as the upstream says", arguments: cases)
    func blob(_ item: Case) throws {
        let (mirror, other) = try mirror()
        other.answer = { item.answer($0, Self.blob) }
        let target = "\(Self.blobPath)?ns=\(other.authority)"
        let clients = (0..<5).map { _ in mirror.start(.get(target)) }
        mirror.wait(for: clients)
        for client in clients {
            #expect(client.response.status == item.status)
            if item.status == 200 { #expect(client.response.body == Self.blob) }
        }
        #expect(other.requests.map(\.method) == item.methods)
        mirror.settle()
        let before = other.requests.count
        #expect(mirror.get(target).status == item.status)
        #expect((other.requests.count == before) == item.isRemembered)
        mirror.close()
    }

    @Test("a manifest without a proof is asked for by HEAD, and served as the upstream says", arguments: cases)
    func manifest(_ item: Case) throws {
        let (mirror, other) = try mirror()
        other.answer = { item.answer($0, Self.image.manifest) }
        let target = "\(Self.manifestPath)?ns=\(other.authority)"
        let response = mirror.get(target)
        #expect(response.status == item.status)
        if item.status == 200 { #expect(response.body == Self.image.manifest) }
        #expect(other.requests.map(\.method) == item.methods)
        mirror.settle()
        let before = other.requests.count
        #expect(mirror.head(target).status == item.status)
        #expect((other.requests.count == before) == item.isRemembered)
        mirror.close()
    }

    @Test("without rules, cached content is served under every name without an upstream request") func open() throws {
        let (mirror, other) = try mirror(isRequired: false)
        #expect(mirror.get("\(Self.blobPath)?ns=\(other.authority)").body == Self.blob)
        #expect(mirror.get("\(Self.manifestPath)?ns=\(other.authority)").body == Self.image.manifest)
        #expect(other.requests.isEmpty)
        mirror.close()
    }

    @Test("a HEAD response of an upstream that only a client has named is no proof: the content is pulled")
    func unnamed() throws {
        // A proxy stands for every host below evil.test, of which the configuration names none.
        var proxyURL = ""
        let mirror = try MirrorKit { options in
            options.upstreams = { loop in
                let proxy = FakeUpstream(on: loop)
                proxyURL = proxy.url
                return [proxy]
            }
            options.registries = { _ in
                var config = RegistryConfig(name: try! RegistryPattern(parsing: "*.evil.test"))  // a valid pattern
                config.scheme = .http
                config.connections.proxy = try? ProxySetting(proxyURL)
                return [config]
            }
        }
        let proxy = mirror.upstreams[0]
        mirror.store.requiresProofs = true
        Self.image.put(on: mirror.fake, tag: "v1")
        #expect(mirror.get("/v2/team/app/manifests/v1").status == 200)
        #expect(mirror.get(Self.blobPath).body == Self.blob)
        mirror.settle()
        // It says that it has everything, and has nothing.
        proxy.answer = { $0.method == "HEAD" ? .ok(Self.blob) : .status(404) }
        #expect(mirror.get("\(Self.blobPath)?ns=a.evil.test").status == 404)
        #expect(mirror.get("\(Self.manifestPath)?ns=a.evil.test").status == 404)
        #expect(proxy.requests.map(\.method) == ["GET", "GET"])
        proxy.answer = { $0.path.contains("/manifests/") ? Self.image.answer : .blob(Self.blob, for: $0) }
        #expect(mirror.get("\(Self.blobPath)?ns=b.evil.test").body == Self.blob)
        #expect(mirror.get("\(Self.manifestPath)?ns=b.evil.test").body == Self.image.manifest)
        mirror.settle()
        let before = proxy.requests.count
        #expect(mirror.get("\(Self.blobPath)?ns=b.evil.test").body == Self.blob)
        #expect(mirror.get("\(Self.manifestPath)?ns=b.evil.test").body == Self.image.manifest)
        #expect(proxy.requests.count == before)
        mirror.close()
    }

    @Test(
        "a mirror that all requests go to is no witness for the hosts that clients choose",
        arguments: ["*", "*.evil.test", "127.0.0.*"])
    func pattern(_ name: String) throws {
        var url = ""
        let mirror = try MirrorKit { options in
            options.upstreams = { loop in
                let upstream = FakeUpstream(on: loop)
                url = upstream.url
                return [upstream]
            }
            options.registries = { _ in
                var config = RegistryConfig(name: try! RegistryPattern(parsing: name))  // a valid pattern
                config.scheme = .http
                if !name.hasPrefix("127") { config.send(to: url) }
                return [config]
            }
        }
        let upstream = mirror.upstreams[0]
        mirror.store.requiresProofs = true
        Self.image.put(on: mirror.fake, tag: "v1")
        #expect(mirror.get(Self.blobPath).body == Self.blob)
        mirror.settle()
        upstream.answer = { $0.method == "HEAD" ? .ok(Self.blob) : .status(404) }
        let host = name.hasPrefix("127") ? "127.0.0.1:\(upstream.port)" : "a.evil.test"
        if name.hasPrefix("127") { #expect(mirror.client.upstream(for: RegistryHost("127.0.0.2")!).isNamed == false) }
        let response = mirror.get("\(Self.blobPath)?ns=\(host)")
        // The kit has an entry for its upstream's own address, which is named.
        #expect(response.status == (name.hasPrefix("127") ? 200 : 404))
        mirror.close()
    }

    @Test("prefetching does not show a hostile registry what is cached") func prefetch() throws {
        var url = ""
        let mirror = try MirrorKit { options in
            options.prefetchLayers = .manifest
            options.upstreams = { loop in
                let upstream = FakeUpstream(on: loop)
                url = upstream.url
                return [upstream]
            }
            options.registries = { _ in
                var config = RegistryConfig(name: try! RegistryPattern(parsing: "*.evil.test"))  // a valid pattern
                config.scheme = .http
                config.send(to: url)
                return [config]
            }
        }
        let hostile = mirror.upstreams[0]
        mirror.store.requiresProofs = true
        Self.image.put(on: mirror.fake, tag: "v1")
        #expect(mirror.get(Self.blobPath).body == Self.blob)
        mirror.settle()
        hostile.on("/v2/x/manifests/latest", Self.image.answer)
        #expect(mirror.get("/v2/x/manifests/latest?ns=a.evil.test").status == 200)
        let asked = { Set(hostile.requests.filter { $0.path.contains("/blobs/") }.map(\.path)) }
        mirror.wait(until: { asked().count == Self.image.blobs.count })
        #expect(asked() == Set(Self.image.blobs.map { "/v2/x/blobs/\(digestOf($0))" }))
        mirror.settle()
        mirror.close()
    }

    @Test("a hostile manifest that names private content hands none of it out", arguments: ["GET", "HEAD", "Range"])
    func hostile(_ method: String) throws {
        let (mirror, other) = try mirror()
        // The hostile registry serves the manifest and an index of it, since it knows their bytes, but no blob.
        let index = FakeImage.index([Self.image])
        other.on("/v2/evil/x/manifests/latest", Self.image.answer)
        other.on(
            "/v2/evil/x/manifests/all",
            .manifest(index, type: MediaType.ociIndex.text, digest: "\(digestOf(index))"))
        let ns = "?ns=\(other.authority)"
        #expect(mirror.get("/v2/evil/x/manifests/latest\(ns)").status == 200)
        #expect(mirror.get("/v2/evil/x/manifests/all\(ns)").status == 200)
        for blob in Self.image.blobs {
            let target = "/v2/evil/x/blobs/\(digestOf(blob))\(ns)"
            let response =
                switch method {
                case "HEAD": mirror.head(target)
                case "Range": mirror.get(target, range: "bytes=0-9")
                default: mirror.get(target)
                }
            #expect(response.status == 404)
            #expect(response.header("content-length") != "\(blob.count)")
        }
        // Lists of referrers are the upstream's own.
        let former = other.requests.count
        _ = mirror.get("/v2/evil/x/referrers/\(Self.image.digest)\(ns)")
        #expect(other.requests.count > former)
        // Under its own name it is there.
        #expect(mirror.get(Self.blobPath).body == Self.blob)
        mirror.close()
    }

    @Test("a tag that a HEAD claims to mean private content does not point to it") func claimedTag() throws {
        let (mirror, other) = try mirror()
        let claim = FakeAnswer.manifest(Self.image.manifest, type: FakeImage.type, digest: "\(Self.image.digest)")
        other.on("/v2/evil/x/manifests/latest", { $0.method == "HEAD" ? claim : .status(404) })
        let target = "/v2/evil/x/manifests/latest?ns=\(other.authority)"
        #expect(mirror.head(target).status == 200)
        #expect(mirror.get(target).status == 404)
        mirror.close()
    }

    @Test("without a named upstream, cached content is not served") func unnamedUpstream() throws {
        let mirror = try MirrorKit { $0.policy.defaultHost = nil }
        Self.image.put(on: mirror.fake, tag: "v1")
        #expect(mirror.get("/v2/team/app/manifests/v1?ns=registry.test").status == 200)
        #expect(mirror.get(Self.manifestPath).status == 200)
        mirror.store.requiresProofs = true
        #expect(mirror.get(Self.manifestPath).status == 404)
        mirror.close()
    }

    @Test("an air-gapped server serves what is proven and nothing else") func airGapped() throws {
        let directory = try TemporaryDirectory()
        do {
            let mirror = try MirrorKit { $0.imagePath = directory.path }
            Self.image.put(on: mirror.fake, tag: "v1")
            #expect(mirror.get("/v2/team/app/manifests/v1").status == 200)
            #expect(mirror.get(Self.blobPath).status == 200)
            mirror.settle()
            mirror.close()
        }
        let mirror = try MirrorKit {
            $0.imagePath = directory.path
            $0.policy.airGapped = true
        }
        mirror.store.requiresProofs = true
        #expect(mirror.get("/v2/team/app/manifests/v1").body == Self.image.manifest)
        #expect(mirror.get(Self.blobPath).body == Self.blob)
        #expect(mirror.get("\(Self.blobPath)?ns=other.example").status == 404)
        #expect(mirror.get("\(Self.manifestPath)?ns=other.example").status == 404)
        #expect(mirror.fake.requests.isEmpty)
        mirror.close()
    }

    @Test("a tag of an earlier release's store is asked for once, and pulled again when it has moved")
    func earlierStore() throws {
        let (mirror, _) = try mirror(isRequired: false)
        let name = PruneFixture.repository("team/app")
        mirror.store.removeProofs(ofRepository: "registry.test/\(name)")
        mirror.store.requiresProofs = true
        let former = mirror.fake.requests.count
        #expect(mirror.get("/v2/team/app/manifests/v1").body == Self.image.manifest)
        #expect(mirror.fake.requests.dropFirst(former).map(\.method) == ["HEAD"])
        #expect(mirror.get("/v2/team/app/manifests/v1").body == Self.image.manifest)
        #expect(mirror.fake.requests.count == former + 1)
        mirror.store.removeProofs(ofRepository: "registry.test/\(name)")
        let moved = FakeImage(seed: 7)
        moved.put(on: mirror.fake, tag: "v1")
        mirror.fake.on(Self.manifestPath, .status(404))
        #expect(mirror.get("/v2/team/app/manifests/v1").body == moved.manifest)
        mirror.close()
    }
}

// Clients that ask again and again for what an upstream does not have, or denies.

import Foundation
import TestSupport
import Testing

@testable import Configuration
@testable import OCI
@testable import Registry

@Suite struct RememberedAnswersTests {
    private static let image = FakeImage(seed: 81)
    private static let byTag = "/v2/team/app/manifests/v1"
    private static let byDigest = "/v2/team/app/manifests/\(Self.image.digest)"
    private static let blob = "/v2/team/app/blobs/\(digestOf(Self.image.layers[0]))"

    private static let long = NegativeCacheSettings(notFoundMilliseconds: 3_600_000, deniedMilliseconds: 3_600_000)

    private func mirror(_ change: (inout MirrorKit.Options) -> Void = { _ in }) throws -> MirrorKit {
        try MirrorKit {
            $0.negativeCache = Self.long
            change(&$0)
        }
    }

    private func hits(_ mirror: MirrorKit, _ status: Int) throws -> Double? {
        try mirror.scrape()["ociregistry_negative_hits_total{status=\"\(status)\"}"]
    }

    /// Statuses of an upstream, and what the client gets.
    static let refusals = [(404, 404), (410, 404), (401, 403), (403, 403), (451, 403)]

    @Test("a refusal of one client's own types is no answer for others") func ownTypes() throws {
        let mirror = try mirror()
        mirror.fake.on(Self.byTag, .status(404))
        let own = [("Accept", "application/x.own")]
        #expect(mirror.get(Self.byTag, own).status == 404)
        Self.image.put(on: mirror.fake, tag: "v1")
        #expect(mirror.get(Self.byTag).status == 200)
        mirror.close()
    }

    @Test("a hundred requests for what an upstream does not give cost it one", arguments: refusals)
    func once(_ upstream: Int, _ status: Int) throws {
        for (target, code) in [(Self.byTag, "MANIFEST"), (Self.byDigest, "MANIFEST"), (Self.blob, "BLOB")] {
            let mirror = try mirror()
            mirror.fake.on(target, .status(upstream))
            let first = mirror.get(target)
            for _ in 0..<99 {
                let answer = mirror.get(target)
                #expect(answer.status == status && answer.body == first.body && !first.body.isEmpty)
            }
            #expect(first.errorCode == (status == 404 ? "\(code)_UNKNOWN" : "DENIED"))
            #expect(mirror.head(target).status == status, "it holds for a HEAD too")
            // After a 401 without a challenge, `/v2/` is asked for one.
            #expect(mirror.fake.requests.map(\.path) == (upstream == 401 ? [target, "/v2/"] : [target]))
            #expect(try hits(mirror, status) == 100)
            #expect(try hits(mirror, 807 - status) == 0)
            #expect(
                try mirror.scrape()["ociregistry_upstream_pulls_by_ns{ns=\"registry.test\"}"]
                    == (code == "BLOB" ? 0 : 1), "what is remembered is no pull from the upstream")
            mirror.close()
        }
    }

    @Test("containerd's HEAD and GET of a missing tag cost the upstream one of each, once") func headThenGet() throws {
        let mirror = try mirror()
        for _ in 0..<50 {
            #expect(mirror.head(Self.byTag).status == 404)
            #expect(mirror.get(Self.byTag).status == 404)
        }
        // The 404 to the HEAD says nothing of the GET, whose 404 says all.
        #expect(mirror.fake.requests.map(\.method) == ["HEAD", "GET"])
        mirror.close()
    }

    @Test("a denied HEAD that no GET follows is remembered for HEADs alone") func deniedHead() throws {
        let mirror = try mirror()
        for target in [Self.byTag, Self.blob] {
            mirror.fake.on(target) {
                $0.method == "HEAD"
                    ? .status(401) : target == Self.byTag ? Self.image.answer : .blob(Self.image.layers[0], for: $0)
            }
            for _ in 0..<3 { #expect(mirror.head(target).status == 403) }
            #expect(mirror.fake.requests(to: target).map(\.method) == ["HEAD"])
            #expect(mirror.get(target).status == 200)
            mirror.settle()
            #expect(mirror.head(target).status == 200)
        }
        mirror.close()
    }

    @Test("a HEAD that is refused hides nothing that a GET gives", arguments: [403, 404, 405])
    func refusedHead(_ status: Int) throws {
        let mirror = try mirror()
        mirror.fake.on(Self.byTag) { $0.method == "HEAD" ? .status(status) : Self.image.answer }
        #expect(mirror.head(Self.byTag).status == 200)
        #expect(mirror.get(Self.byTag).body == Self.image.manifest)
        mirror.close()
    }

    static let troubles: [FakeAnswer] = [
        .status(500), .status(503), .status(408), .status(302), .status(400), .hangUp, .redirect(to: "ftp://x"),
        .redirect(to: "http://127.0.0.1:1/"), .status(429),
    ]

    @Test("what says nothing of the content is not remembered", arguments: troubles.indices)
    func notRemembered(_ index: Int) throws {
        let mirror = try mirror()
        for target in [Self.byTag, Self.blob] {
            mirror.fake.on(target, Self.troubles[index])
            #expect(mirror.get(target).status >= 403)
            mirror.fake.on(target) {
                target == Self.byTag ? Self.image.answer : .blob(Self.image.layers[0], for: $0)
            }
            // A 429 pauses the repository.
            if Self.troubles[index].status != 429 { #expect(mirror.get(target).status == 200) }
        }
        #expect(try hits(mirror, 404) == 0 && hits(mirror, 403) == 0)
        mirror.close()
    }

    @Test("anonymous users' refusal by a token service is remembered") func tokenService() throws {
        let mirror = try mirror()
        mirror.fake.answer = { [url = mirror.fake.url] request in
            request.path == "/token" ? .status(403) : .challenge(realm: "\(url)/token")
        }
        for _ in 0..<5 { #expect(mirror.get(Self.byTag).errorCode == "DENIED") }
        #expect(mirror.fake.requests.map(\.path) == [Self.byTag, "/token"])
        mirror.close()
    }

    @Test("an answer is forgotten after its time") func time() throws {
        let mirror = try mirror {
            $0.negativeCache = NegativeCacheSettings(notFoundMilliseconds: 1, deniedMilliseconds: 3_600_000)
        }
        #expect(mirror.get(Self.byTag).status == 404)
        let end = mirror.run.loop.nowMilliseconds + 2
        mirror.wait(until: { mirror.run.loop.nowMilliseconds >= end })
        Self.image.put(on: mirror.fake, tag: "v1")
        #expect(mirror.get(Self.byTag).body == Self.image.manifest)
        mirror.close()
    }

    // MARK: Successes

    @Test("a tag that is set, and content that has come under another name, end what is remembered of them")
    func setMeanwhile() throws {
        let mirror = try mirror()
        for target in [Self.byTag, Self.byDigest, Self.blob] { #expect(mirror.get(target).status == 404) }
        // The tag `v2` brings the manifest that `v1` means; then a HEAD says so.
        Self.image.put(on: mirror.fake, tag: "v2")
        #expect(mirror.get("/v2/team/app/manifests/v2").status == 200)
        #expect(mirror.get(Self.byDigest).status == 200)
        #expect(mirror.get(Self.byTag).status == 404)
        let (host, repository) = (MirrorKit.host, try #require(RepositoryName("team/app")))
        mirror.store.setTag(host: host, repository: repository, tag: "v1", digest: Self.image.digest)
        #expect(mirror.get(Self.byTag).status == 200)
        #expect(mirror.get(Self.blob).status == 404)
        // As `load` does after it has stored a blob.
        mirror.store.addProof(digestOf(Self.image.layers[0]), host: host, repository: repository)
        #expect(mirror.get(Self.blob).status == 200)
        mirror.close()
    }

    @Test("a 404 that was on its way when the content came is not remembered") func lateFailure() throws {
        let mirror = try mirror()
        let repository = try #require(RepositoryName("team/app"))
        mirror.fake.on(Self.byTag, .status(404).delayed(milliseconds: 50))
        let client = mirror.start(.get(Self.byTag))
        mirror.wait(until: { !mirror.fake.requests.isEmpty })
        mirror.store.setTag(host: MirrorKit.host, repository: repository, tag: "v1", digest: Self.image.digest)
        mirror.wait(for: [client])
        #expect(client.response.status == 404)
        Self.image.put(on: mirror.fake, tag: "v1")
        #expect(mirror.get(Self.byTag).status == 200)
        mirror.close()
    }

    @Test("a load asks although an answer is remembered, and what it gets counts for clients") func explicit() throws {
        let mirror = try mirror()
        let blob = digestOf(Self.image.layers[0])
        #expect(mirror.get(Self.byTag).status == 404 && mirror.get(Self.blob).status == 404)
        Self.image.put(on: mirror.fake, tag: "v1")
        let name = try #require(ImageName("registry.test/team/app:v1"))
        let context = LoadContext(
            loop: mirror.run.loop, offload: mirror.offload, store: mirror.store, puller: mirror.puller,
            names: mirror.api.names, tags: mirror.api.tags, pseudonym: "load")
        let source = context.source(of: name)
        mirror.wait { done in mirror.puller.manifest(.tag("v1"), from: source) { _, _ in done() } }
        mirror.wait { done in _ = mirror.puller.fetchBlob(blob, from: source) { _ in done() } }
        mirror.settle()
        let before = mirror.fake.requests.count
        #expect(mirror.get(Self.byTag).status == 200 && mirror.get(Self.blob).status == 200)
        #expect(mirror.fake.requests.count == before)
        // Without it the same calls get what is remembered, which no request is sent for.
        let other = digestOf([1])
        #expect(mirror.get("/v2/team/app/blobs/\(other)").status == 404)
        var ordinary = source
        ordinary.isExplicit = false
        var error: RegistryError?
        mirror.wait { done in
            let growing = mirror.puller.fetchBlob(other, from: ordinary) {
                error = $0
                done()
            }
            #expect(growing == nil)
        }
        #expect(error?.status == 404 && mirror.fake.requests.count == before + 1)
        mirror.close()
    }

    // MARK: Changes

    @Test("a reload forgets, and its times count from then on") func reload() throws {
        let mirror = try mirror()
        #expect(mirror.get(Self.byTag).status == 404)
        mirror.puller.context.settings.negativeCache = .off
        mirror.puller.upstreamsChanged()
        for _ in 0..<2 { #expect(mirror.get(Self.byTag).status == 404) }
        #expect(mirror.fake.requests.count == 3)
        mirror.puller.context.settings.negativeCache = Self.long
        mirror.puller.upstreamsChanged()
        for _ in 0..<2 { #expect(mirror.get(Self.byTag).status == 404) }
        #expect(mirror.fake.requests.count == 4)
        mirror.close()
    }

    @Test("other credentials forget what was denied to the former ones") func credentials() throws {
        let files = try TemporaryDirectory()
        let path = try files.write("old", to: "password")
        let mirror = try mirror {
            $0.auth = RegistryAuth(.passwordFile(user: "me", path: path))
        }
        let basic = UpstreamCredentials(user: "me", password: "new").basic
        mirror.fake.answer = { request in
            guard request.header("authorization") != nil else {
                return .status(401, [("WWW-Authenticate", "Basic realm=\"r\"")])
            }
            return request.header("authorization") == basic ? Self.image.answer : .status(404)
        }
        for _ in 0..<2 { #expect(mirror.get(Self.byTag).status == 404) }
        #expect(mirror.fake.requests.count == 2)
        try files.write("new", to: "password")
        // A refusal of the old password makes the server read the file again.
        let other = "/v2/team/app/manifests/other"
        mirror.fake.on(other) { request in
            request.header("authorization") == basic
                ? Self.image.answer : .status(401, [("WWW-Authenticate", "Basic realm=\"r\"")])
        }
        #expect(mirror.get(other).status == 200)
        #expect(mirror.get(Self.byTag).status == 200)
        mirror.close()
    }

    // MARK: Other ways to ask

    @Test("a cached tag whose upstream has lost it is served, and asked for once") func revalidated() throws {
        let mirror = try mirror { $0.policy.tags = TagPolicies(checksLatest: true) }
        let latest = "/v2/team/app/manifests/latest"
        Self.image.put(on: mirror.fake, tag: "latest")
        #expect(mirror.get(latest).status == 200)
        mirror.fake.on(latest, .status(404))
        for _ in 0..<10 { #expect(mirror.get(latest).body == Self.image.manifest) }
        #expect(mirror.fake.requests.map(\.method) == ["GET", "HEAD", "GET"])
        mirror.close()
    }

    @Test("content without a proof that its repository does not have is asked for once") func proofs() throws {
        let mirror = try mirror { $0.upstreams = { [FakeUpstream(on: $0)] } }
        let other = mirror.upstreams[0]
        mirror.store.requiresProofs = true
        Self.image.put(on: mirror.fake, tag: "v1")
        #expect(mirror.get(Self.byTag).status == 200 && mirror.get(Self.blob).status == 200)
        mirror.settle()
        for target in [Self.blob, Self.byDigest] {
            for _ in 0..<5 { #expect(mirror.get("\(target)?ns=\(other.authority)").status == 404) }
            #expect(other.requests(to: target).map(\.method) == ["HEAD"])
        }
        mirror.close()
    }

    @Test("requests that come together and late share one answer") func together() throws {
        let mirror = try mirror()
        mirror.fake.on(Self.byTag, .status(404).delayed(milliseconds: 20))
        let clients = (0..<20).map { _ in mirror.start(.get(Self.byTag)) }
        mirror.wait(for: clients)
        for client in clients + [mirror.ask(.get(Self.byTag))] { #expect(client.response.status == 404) }
        #expect(mirror.fake.requests.count == 1)
        mirror.close()
    }
}

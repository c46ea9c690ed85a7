// What upstreams do wrong with manifests, tags and tokens, and what a client is told.

import TestSupport
import Testing

@testable import Configuration
@testable import OCI
@testable import Registry

@Suite struct ManifestFaultTests {
    static let image = FakeImage()
    static let byTag = "/v2/team/app/manifests/v1"
    static let byDigest = "/v2/team/app/manifests/\(image.digest)"

    /// What the upstream answers, what the client is told, and whether a word of the reason must be in it.
    static let faults: [(FakeAnswer, Int, String, String)] = [
        (.status(404), 404, "MANIFEST_UNKNOWN", ""),
        (.status(401), 403, "DENIED", "registry.test"),
        (.status(403), 403, "DENIED", "registry.test"),
        (.status(500), 503, "UNAVAILABLE", "500"),
        (.status(502), 503, "UNAVAILABLE", "502"),
        (.hangUp, 503, "UNAVAILABLE", ""),
        (.reset, 503, "UNAVAILABLE", ""),
        (.ok(Array("<html>".utf8), type: "text/html"), 502, "MANIFEST_INVALID", "manifest"),
        (.ok(Array("{}".utf8), type: FakeImage.type), 502, "MANIFEST_INVALID", "manifest"),
        (.ok([], type: FakeImage.type), 502, "MANIFEST_INVALID", "manifest"),
        (.ok(pattern(10 << 20), type: FakeImage.type), 502, "SIZE_INVALID", "larger"),
        (.ok(pattern(10 << 20), type: FakeImage.type).chunked(), 502, "SIZE_INVALID", "larger"),
        (
            .ok(
                Array("{\"schemaVersion\":1,\"name\":\"x\"}".utf8),
                type: "application/vnd.docker.distribution.manifest.v1+prettyjws"),
            502, "MANIFEST_INVALID", "prettyjws"
        ),
        (.manifest(image.manifest, type: FakeImage.type, digest: "\(digestOf([1]))"), 502, "DIGEST_INVALID", "digest"),
        (.manifest(image.manifest, type: FakeImage.type, digest: "nonsense"), 502, "MANIFEST_INVALID", "Digest"),
        (image.answer.corrupted(at: 40), 502, "DIGEST_INVALID", "digest"),
        (image.answer.cut(after: 20), 503, "UNAVAILABLE", ""),
        (
            .manifest(image.manifest, type: MediaType.ociIndex.text, digest: nil), 502, "MANIFEST_INVALID",
            "without a list"
        ),
        (.manifest(image.manifest, type: "text/plain", digest: nil), 200, "", ""),
    ]

    @Test("a faulty manifest response has its status and code, and the next pull succeeds", arguments: faults.indices)
    func faultyResponses(_ index: Int) throws {
        let (answer, status, code, word) = Self.faults[index]
        let mirror = try MirrorKit()
        mirror.fake.on(Self.byTag, answer)
        let readers = (0..<3).map { _ in mirror.start(.get(Self.byTag)) }
        mirror.wait(for: readers)
        for reader in readers {
            #expect(reader.response.status == status, "\(reader.response.text)")
            #expect(reader.isComplete)
            if status != 200 {
                #expect(reader.response.errorCode == code)
                #expect(reader.response.text.contains(word), "\(reader.response.text)")
            }
        }
        #expect(mirror.fake.requests(to: Self.byTag).count <= 2, "one question, or one and its retry")
        Self.image.put(on: mirror.fake, tag: "v1")
        let healed = mirror.get(Self.byTag)
        #expect(healed.status == 200)
        #expect(healed.body == Self.image.manifest)
        #expect(healed.header("content-type") == FakeImage.type)
        #expect(healed.header("docker-content-digest") == "\(Self.image.digest)")
        mirror.close()
    }

    @Test("a manifest of another digest than requested is a 502") func wrongDigest() throws {
        let mirror = try MirrorKit()
        mirror.fake.on(Self.byDigest, .manifest(FakeImage(seed: 2).manifest, type: FakeImage.type, digest: nil))
        let response = mirror.get(Self.byDigest)
        #expect(response.status == 502)
        #expect(response.errorCode == "DIGEST_INVALID")
        // A HEAD that names another digest than the one asked for is no better.
        mirror.fake.on(Self.byDigest, FakeImage(seed: 2).answer)
        #expect(mirror.head(Self.byDigest).status == 502)
        mirror.close()
    }

    @Test("a slow manifest is a 503 at the deadline, and the pull continues") func silence() throws {
        let mirror = try MirrorKit { $0.policy.answerDeadlineMilliseconds = 60 }
        mirror.fake.on(Self.byTag, Self.image.answer.delayed(milliseconds: 300))
        let readers = (0..<3).map { _ in mirror.start(.get(Self.byTag)) } + [mirror.start(.head(Self.byTag))]
        mirror.wait(for: readers)
        for reader in readers { #expect(reader.response.status == 503) }
        mirror.wait(until: { mirror.store.cachedManifest(Self.image.digest) != nil })
        #expect(mirror.get(Self.byTag).status == 200)
        #expect(mirror.fake.requests.map(\.method).sorted() == ["GET", "HEAD"])
        mirror.close()
    }

    // MARK: 429

    @Test("a 429 pauses the repository's upstream requests, and hits are still served") func rateLimit() throws {
        let mirror = try MirrorKit()
        Self.image.put(on: mirror.fake, tag: "v1")
        #expect(mirror.get(Self.byTag).status == 200)
        mirror.fake.on("/v2/team/app/manifests/v2", .status(429, [("Retry-After", "17")]))
        let first = mirror.get("/v2/team/app/manifests/v2")
        #expect(first.status == 429)
        #expect(first.errorCode == "TOOMANYREQUESTS")
        #expect(first.header("retry-after") == "17")
        let asked = mirror.fake.requests.count
        let others = [
            mirror.get("/v2/team/app/manifests/v2"), mirror.head("/v2/team/app/manifests/v3"),
            mirror.get("/v2/team/app/blobs/\(digestOf([5]))"), mirror.get("/v2/team/app/tags/list"),
        ]
        for response in others {
            #expect(response.status == 429)
            #expect(Int(response.header("retry-after") ?? "").map { (1...17).contains($0) } == true)
        }
        #expect(mirror.fake.requests.count == asked, "the upstream was left alone")
        #expect(mirror.get(Self.byTag).body == Self.image.manifest)
        mirror.close()
    }

    // MARK: Tokens

    static let tokens: [(FakeAnswer, Int)] = [
        (.ok(Array("<html>".utf8), type: "text/html"), 502), (.json("{}"), 502), (.json("{\"token\":7}"), 502),
        (.ok(pattern(300_000)), 502), (.status(500), 503), (.status(403), 403), (.status(404), 502), (.hangUp, 503),
        (.json("{\"token\":\"bad\\r\\nX: y\"}"), 502),
    ]

    @Test("a faulty token service gets its status, and the pull succeeds once it is fixed", arguments: tokens.indices)
    func tokenService(_ index: Int) throws {
        let (answer, status) = Self.tokens[index]
        let mirror = try MirrorKit()
        let target = "/v2/team/app/blobs/\(digestOf([1, 2, 3]))"
        mirror.fake.answer = { [fake = mirror.fake] request in
            request.header("authorization") == "Bearer good"
                ? .ok([1, 2, 3]) : .challenge(realm: "\(fake.url)/token")
        }
        mirror.fake.on("/token", answer)
        let readers = [mirror.start(.get(target)), mirror.start(.get(target)), mirror.start(.head(target))]
        mirror.wait(for: readers)
        for reader in readers { #expect(reader.response.status == status, "\(reader.response.text)") }
        mirror.fake.on("/token", .token("good"))
        #expect(mirror.get(target).body == [1, 2, 3])
        mirror.close()
    }

    // MARK: Redirects

    @Test("a redirect to another server gets no Authorization, also when a transfer resumes") func redirect() throws {
        let mirror = try MirrorKit { $0.auth = RegistryAuth(user: "me", password: Secret("secret")) }
        let blobs = FakeUpstream(on: mirror.run.loop)
        mirror.run.atClose { blobs.close() }
        let bytes = pattern(200_000)
        let target = "/v2/team/app/blobs/\(digestOf(bytes))"
        mirror.fake.on(target) { request in
            request.header("authorization") == nil
                ? .status(401, [("WWW-Authenticate", "Basic realm=\"x\"")]) : .redirect(to: "\(blobs.url)/data?sig=1")
        }
        // A broken download is asked for again where it was first asked for: the redirect may have expired.
        blobs.on("/data", { .blob(bytes, for: $0).cut(after: 120_000) }, { .blob(bytes, for: $0) })
        let audience = ConcurrentReaders(mirror, target, bytes)
        mirror.wait(until: { audience.isDone })
        audience.expectNobodyIsFooled()
        mirror.settle()
        #expect(mirror.get(target).body == bytes)
        #expect(blobs.requests.count == 2)
        #expect(blobs.requests.allSatisfy { $0.header("authorization") == nil })
        #expect(blobs.requests.map(\.rangeStart) == [nil, 120_000])
        #expect(mirror.fake.requests(to: target).count >= 3)
        #expect(!mirror.log.text.contains("secret"))
        mirror.close()
    }
}

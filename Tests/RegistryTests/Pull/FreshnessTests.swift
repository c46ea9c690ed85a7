// When a tag is looked up again, what an air-gapped server says, lists that are passed through, requests that come back
// to ourselves, and disks without room.

import Foundation
import TestSupport
import Testing

@testable import Configuration
@testable import OCI
@testable import Registry

@Suite struct FreshnessTests {
    static let old = FakeImage(seed: 1)
    static let new = FakeImage(seed: 2)
    static let latest = "/v2/team/app/manifests/latest"

    private func alwaysLatest() throws -> MirrorKit {
        let mirror = try MirrorKit {
            $0.policy.tags = TagPolicies(checksLatest: true)
            $0.policy.revalidationDeadlineMilliseconds = 100
        }
        Self.old.put(on: mirror.fake, tag: "latest")
        Self.old.put(on: mirror.fake, tag: "v1")
        #expect(mirror.get(Self.latest).body == Self.old.manifest)
        return mirror
    }

    @Test("with alwaysPullLatest, latest is revalidated by HEAD and pulled when it has changed")
    func latestChanged() throws {
        let mirror = try alwaysLatest()
        #expect(mirror.get(Self.latest).body == Self.old.manifest)
        #expect(mirror.fake.requests.map(\.method) == ["GET", "HEAD"])
        Self.new.put(on: mirror.fake, tag: "latest")
        #expect(mirror.get(Self.latest).body == Self.new.manifest)
        #expect(mirror.fake.requests.map(\.method) == ["GET", "HEAD", "HEAD", "GET"])
        let head = mirror.head(Self.latest)
        #expect(head.header("docker-content-digest") == "\(Self.new.digest)")
        mirror.close()
    }

    @Test("with alwaysPullLatest, other tags are pulled once") func otherTags() throws {
        let mirror = try alwaysLatest()
        for _ in 0..<3 { #expect(mirror.get("/v2/team/app/manifests/v1").status == 200) }
        #expect(mirror.fake.requests(to: "/v2/team/app/manifests/v1").count == 1)
        mirror.close()
    }

    static let troubles: [FakeAnswer] = [
        .status(500), .status(404), .status(401), .status(429), .hangUp, .silent, .redirect(to: "ftp://x"),
    ]

    @Test("a stale tag is served when its revalidation fails", arguments: troubles.indices)
    func stale(_ index: Int) throws {
        let mirror = try alwaysLatest()
        mirror.fake.on(Self.latest, Self.troubles[index])
        let clients = (0..<4).map { _ in mirror.start(.get(Self.latest)) } + [mirror.start(.head(Self.latest))]
        mirror.wait(for: clients)
        for client in clients {
            #expect(client.response.status == 200)
            #expect(client.response.header("docker-content-digest") == "\(Self.old.digest)")
        }
        mirror.close()
    }

    @Test("a changed tag that cannot be pulled keeps its old digest") func failedUpdate() throws {
        let mirror = try alwaysLatest()
        // HEAD says that it has changed; GET breaks.
        mirror.fake.on(Self.latest) { $0.method == "HEAD" ? Self.new.answer : Self.new.answer.corrupted(at: 30) }
        #expect(mirror.get(Self.latest).body == Self.old.manifest)
        mirror.fake.close()
        #expect(mirror.get(Self.latest).body == Self.old.manifest)
        mirror.close()
    }

    @Test("an air-gapped server serves hits and sends no upstream requests") func airGapped() throws {
        let directory = try TemporaryDirectory()
        let layer = Self.old.layers[1]
        do {
            let mirror = try MirrorKit { $0.imagePath = directory.path }
            Self.old.put(on: mirror.fake, tag: "v1")
            #expect(mirror.get("/v2/team/app/manifests/v1").status == 200)
            #expect(mirror.get("/v2/team/app/blobs/\(digestOf(layer))").status == 200)
            mirror.settle()
            mirror.close()
        }
        let mirror = try MirrorKit {
            $0.imagePath = directory.path
            $0.policy.airGapped = true
            $0.prefetchLayers = .manifest
        }
        #expect(mirror.get("/v2/team/app/manifests/v1").body == Self.old.manifest)
        #expect(mirror.get("/v2/team/app/blobs/\(digestOf(layer))").body == layer)
        for method in ["GET", "HEAD"] {
            for target in [
                "manifests/v2", "manifests/\(Self.new.digest)", "blobs/\(digestOf(Self.old.layers[0]))",
            ] {
                let answer = mirror.ask(.init(method: method, target: "/v2/team/app/\(target)")).response
                #expect(answer.status == 404, "\(method) \(target)")
                if method == "GET" { #expect(answer.errorCode?.hasSuffix("_UNKNOWN") == true) }
            }
            // Nobody has said that there are none.
            for target in ["tags/list", "referrers/\(Self.old.digest)"] {
                let answer = mirror.ask(.init(method: method, target: "/v2/team/app/\(target)")).response
                #expect(answer.status == 503, "\(method) \(target)")
            }
        }
        mirror.settle()
        #expect(mirror.fake.connectionCount == 0)
        mirror.close()
    }

    // MARK: Lists

    @Test("referrers come from the API or the fallback tag, and failures are not empty lists") func referrers() throws {
        let mirror = try MirrorKit { $0.policy.tags = TagPolicies(ttl: .zero) }
        let subject = Self.old.digest
        let target = "/v2/team/app/referrers/\(subject)"
        let entry =
            FakeImage.descriptor(FakeImage.type, Self.new.manifest).dropLast()
            + ",\"artifactType\":\"application/x.sig\"}"
        let index = "{\"schemaVersion\":2,\"mediaType\":\"\(MediaType.ociIndex.text)\",\"manifests\":[\(entry)]}"
        let answer = FakeAnswer.ok(Array(index.utf8), type: MediaType.ociIndex.text)
        mirror.fake.on(target, answer)
        let direct = mirror.get(target)
        #expect(direct.status == 200)
        #expect(direct.header("content-type") == MediaType.ociIndex.text)
        #expect(direct.text.contains("\(Self.new.digest)"))
        let filtered = mirror.get(target + "?artifactType=application/x.other")
        #expect(filtered.header("oci-filters-applied") == "artifactType")
        #expect(!filtered.text.contains("\(Self.new.digest)"))
        // Without the API: the tag that clients keep.
        mirror.fake.on(target, .status(404))
        mirror.fake.on("/v2/team/app/manifests/sha256-\(subject.hex)", answer)
        #expect(mirror.get(target).text.contains("\(Self.new.digest)"))
        mirror.fake.on("/v2/team/app/manifests/sha256-\(subject.hex)", .status(404))
        // Without both, and without the image: the registry may hide the repository, so the cached list stays.
        let hidden = mirror.get(target)
        #expect(hidden.status == 200 && hidden.header("warning") != nil)
        #expect(hidden.text.contains("\(Self.new.digest)"))
        mirror.fake.on("/v2/team/app/manifests/\(subject)", .ok(Self.old.manifest, type: FakeImage.type))
        mirror.puller.upstreamsChanged()
        let none = mirror.get(target)
        #expect(none.status == 200 && none.header("warning") == nil)
        #expect(none.text.contains("\"manifests\":[]"))
        mirror.close()
    }

    // MARK: Ourselves

    /// An endpoint that is this server: the request that comes back is refused, and nothing waits for itself.
    @Test("a request that loops back through an endpoint is refused with 508") func loop() throws {
        let mirror = try MirrorKit {
            let host = RegistryHost("loop.test")!  // a valid host
            $0.policy.defaultHost = host
            $0.registries = { port in
                var loop = RegistryConfig(name: host)
                loop.scheme = .http
                loop.send(to: "http://127.0.0.1:\(port)")
                return [loop]
            }
        }
        let targets = [
            "blobs/\(digestOf([1]))", "manifests/v1", "manifests/\(digestOf([2]))", "tags/list",
            "referrers/\(digestOf([3]))",
        ]
        for target in targets {
            for method in ["GET", "HEAD"] {
                let response = mirror.ask(.init(method: method, target: "/v2/team/app/\(target)")).response
                #expect(response.status >= 500, "\(method) \(target)")
                if method == "GET" { #expect(response.text.contains("508"), "\(target): \(response.text)") }
            }
        }
        mirror.settle()
        #expect(mirror.puller.blobsInFlight == 0)
        mirror.close()
    }

    // MARK: No room

    @Test("a blob that cannot fit on the disk passes through, and a later valid size is served") func absurdSize()
        throws
    {
        let mirror = try MirrorKit()
        let target = "/v2/team/app/blobs/\(digestOf([1, 2, 3]))"
        mirror.fake.on(target, .ok([1, 2, 3]).claiming(length: Int(ContentSize.maximum)).stall(after: 3))
        let clients = [nil, nil, "bytes=1-"].map { mirror.start(.get(target, range: $0)) }
        mirror.wait(until: { clients.allSatisfy { !$0.response.body.isEmpty } })
        for client in clients {
            #expect([200, 206].contains(client.response.status))
            #expect(client.response.header("x-ociregistry-cache") == "bypass")
        }
        mirror.fake.on(target, .ok([1, 2, 3]))
        mirror.fake.hangUp()
        mirror.wait(for: clients)
        #expect(clients.allSatisfy { !$0.isComplete && $0.end == .fin })
        #expect(mirror.get(target).body == [1, 2, 3])
        mirror.close()
    }

    @Test("a disk that fills up ends its readers with FIN and frees the space", .needs(.root))
    func fullDisk() throws {
        let disk = try SmallDisk(sizeBytes: 2 << 20)
        let mirror = try MirrorKit { $0.imagePath = disk.path }
        let bytes = pattern(4 << 20)
        let target = "/v2/team/app/blobs/\(digestOf(bytes))"
        // Of unknown length, so that nothing can be reserved.
        mirror.fake.on(target) { .blob(bytes, for: $0).chunked() }
        let audience = ConcurrentReaders(mirror, target, bytes)
        mirror.wait(until: { audience.isDone })
        audience.expectNobodyIsFooled()
        // The late one may come when it is known that there is no room: for it, the blob passes through.
        for reader in [audience.first, audience.joiner, audience.range] {
            #expect(!reader.isComplete && reader.end == .fin)
        }
        mirror.settle()
        #expect(mirror.inspectBlobs() == ([], 0))
        let small = pattern(100_000, seed: 5)
        let other = "/v2/team/app/blobs/\(digestOf(small))"
        mirror.fake.on(other) { .blob(small, for: $0) }
        #expect(mirror.get(other).body == small, "there is room for others again")
        mirror.settle()
        #expect(mirror.inspectBlobs() == ([], 1))
        mirror.close()
    }
}

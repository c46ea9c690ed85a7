// A server that ends amid its work, the one after it, and clients that come in two steps.

import TestSupport
import Testing

@testable import Registry

@Suite struct RestartTests {
    static let bytes = pattern(300_000, seed: 41)
    static let target = "/v2/team/app/blobs/\(digestOf(bytes))"

    @Test("a pull that a stopping server interrupted is resumed by the next server") func resumeAfterRestart() throws {
        let directory = try TemporaryDirectory()
        do {
            let mirror = try MirrorKit { $0.imagePath = directory.path }
            mirror.fake.on(Self.target, .ok(Self.bytes).stall(after: 200_000))
            let client = mirror.start(.get(Self.target))
            let asking = mirror.start(.get("/v2/team/app/blobs/\(digestOf([1]))"))
            mirror.fake.on("/v2/team/app/blobs/\(digestOf([1]))", .silent)
            mirror.wait(until: { client.response.body.count == 200_000 && mirror.fake.requests.count == 2 })
            mirror.puller.close()
            mirror.wait(for: [client, asking])
            #expect(client.end == .fin)
            #expect(asking.response.status == 503)
            #expect(mirror.get(Self.target).status == 503, "nothing is begun any more")
            mirror.close()
        }
        let mirror = try MirrorKit { $0.imagePath = directory.path }
        mirror.fake.on(Self.target) { .blob(Self.bytes, for: $0) }
        #expect(mirror.get(Self.target).body == Self.bytes)
        #expect(mirror.fake.requests.map(\.rangeStart) == [200_000])
        mirror.settle()
        #expect(mirror.inspectBlobs() == ([], 1))
        mirror.close()
    }

    /// What a former server left is not what the upstream has: hashed with the rest, it shows, and zero is begun from.
    @Test("a wrong partial file of an earlier server is detected and pulled again from zero")
    func wrongPartial() throws {
        let directory = try TemporaryDirectory()
        do {
            let mirror = try MirrorKit { $0.imagePath = directory.path }
            mirror.fake.on(Self.target, .ok(Self.bytes).corrupted(at: 7).stall(after: 200_000))
            let client = mirror.start(.get(Self.target))
            mirror.wait(until: { client.response.body.count == 200_000 })
            mirror.close()
        }
        let mirror = try MirrorKit { $0.imagePath = directory.path }
        mirror.fake.chance = SeededRandom(seed: 2)
        mirror.fake.on(Self.target) { .blob(Self.bytes, for: $0) }
        let audience = ConcurrentReaders(mirror, Self.target, Self.bytes)
        mirror.wait(until: { audience.isDone })
        audience.expectNobodyIsFooled()
        mirror.settle()
        #expect(mirror.get(Self.target).body == Self.bytes)
        #expect(mirror.fake.requests.map(\.rangeStart) == [200_000, nil])
        mirror.settle()
        #expect(mirror.inspectBlobs() == ([], 1))
        mirror.close()
    }

    /// containerd and dockerd ask for a tag by HEAD and for the manifest by digest: the tag is known afterwards.
    @Test("a HEAD by tag and a GET by digest cache the tag") func tagByHead() throws {
        let mirror = try MirrorKit()
        let image = FakeImage()
        image.put(on: mirror.fake, tag: "Upper.1")
        let byTag = "/v2/team/app/manifests/Upper.1"
        #expect(mirror.head(byTag).header("docker-content-digest") == "\(image.digest)")
        #expect(mirror.get("/v2/team/app/manifests/\(image.digest)").body == image.manifest)
        mirror.fake.close()
        let cached = mirror.head(byTag)
        #expect(cached.status == 200)
        #expect(cached.header("docker-content-digest") == "\(image.digest)")
        #expect(mirror.get(byTag).body == image.manifest)
        #expect(mirror.get("/v2/team/app/manifests/upper.1").status == 503, "tags are told apart by case")
        mirror.close()
    }
}

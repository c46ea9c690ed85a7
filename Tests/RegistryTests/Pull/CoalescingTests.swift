// One transfer for any number of clients, none of whom can hold up, or end, what others wait for.

import TestSupport
import Testing

@testable import Configuration
@testable import OCI
@testable import Registry

@Suite struct CoalescingTests {
    static let bytes = pattern(400_000, seed: 3)
    static let target = "/v2/team/app/blobs/\(digestOf(bytes))"

    @Test("fifty clients of a cold blob cause one upstream request") func coalescedBlob() throws {
        let mirror = try MirrorKit()
        mirror.fake.chance = SeededRandom(seed: 11)
        mirror.fake.on(Self.target) { .blob(Self.bytes, for: $0) }
        let clients = (0..<50).map { number in
            mirror.start(number % 5 == 4 ? .get(Self.target, range: "bytes=\(number * 1000)-") : .get(Self.target))
        }
        mirror.wait(for: clients)
        for client in clients {
            #expect(client.isComplete)
            ConcurrentReaders.expectHonest(client, Self.bytes, "client \(client.number)")
        }
        #expect(mirror.fake.requests.map(\.method) == ["GET"])
        mirror.close()
    }

    @Test("fifty clients of a cold tag cause one upstream request") func coalescedTag() throws {
        let mirror = try MirrorKit()
        let image = FakeImage()
        image.put(on: mirror.fake, tag: "v1")
        let target = "/v2/team/app/manifests/v1"
        let clients = (0..<50).map { _ in mirror.start(.get(target)) }
        mirror.wait(for: clients)
        for client in clients { #expect(client.response.body == image.manifest) }
        #expect(mirror.fake.requests.count == 1)
        #expect(mirror.get(target).body == image.manifest)
        #expect(mirror.get("/v2/team/app/manifests/\(image.digest)").body == image.manifest)
        #expect(mirror.fake.requests.count == 1, "tag and digest are in the cache")
        mirror.close()
    }

    @Test func aHeadStartsNoPullAndHeadsAreOneQuestion() throws {
        let mirror = try MirrorKit { $0.prefetchLayers = .manifest }
        let image = FakeImage()
        image.put(on: mirror.fake, tag: "v1")
        mirror.fake.on(Self.target) { .blob(Self.bytes, for: $0) }
        let blobs = (0..<10).map { _ in mirror.start(.head(Self.target)) }
        let manifests = (0..<10).map { _ in mirror.start(.head("/v2/team/app/manifests/v1")) }
        mirror.wait(for: blobs + manifests)
        for blob in blobs {
            #expect(blob.response.status == 200)
            #expect(blob.response.contentLength == Self.bytes.count)
            #expect(blob.response.header("docker-content-digest") == "\(digestOf(Self.bytes))")
        }
        for manifest in manifests {
            #expect(manifest.response.status == 200)
            #expect(manifest.response.contentLength == image.manifest.count)
            #expect(manifest.response.header("content-type") == FakeImage.type)
            #expect(manifest.response.header("docker-content-digest") == "\(image.digest)")
        }
        #expect(mirror.fake.requests.map(\.method) == ["HEAD", "HEAD"])
        #expect(mirror.puller.blobsInFlight == 0)
        #expect(mirror.head("/v2/team/app/blobs/\(digestOf([7]))").status == 404)
        mirror.close()
    }

    @Test("a pull continues when its clients disconnect") func leavingClients() throws {
        let mirror = try MirrorKit()
        mirror.fake.on(Self.target) { .blob(Self.bytes, for: $0).dripping(20_000, everyMilliseconds: 1) }
        var clients: [TestClient] = []
        for number in 0..<6 {
            var manner = TestClient.ClientBehavior()
            manner.leavesAfterBodyBytes = 1 + number * 20_000
            manner.leavesByReset = number % 2 == 0
            clients.append(mirror.start(.get(Self.target), manner: manner))
        }
        // And one that goes before it has an answer.
        clients[0].leave()
        mirror.wait(for: clients)
        for client in clients { #expect(client.end == .left) }
        mirror.settle()
        #expect(mirror.get(Self.target).body == Self.bytes)
        #expect(mirror.fake.requests.count == 1)
        #expect(mirror.fake.abandonedCount == 0)
        mirror.close()
    }

    @Test("a slow reader does not delay a fast one") func slowReader() throws {
        let mirror = try MirrorKit()
        let bytes = pattern(6 << 20, seed: 8)
        let target = "/v2/team/app/blobs/\(digestOf(bytes))"
        mirror.fake.on(target) { .blob(bytes, for: $0) }
        var manner = TestClient.ClientBehavior()
        manner.receiveBufferBytes = 8192
        manner.readBytes = 4096
        manner.pauseMilliseconds = 5
        let slow = mirror.start(.get(target), manner: manner)
        let fast = mirror.start(.get(target))
        mirror.wait(for: [fast])
        #expect(fast.response.body == bytes)
        mirror.settle()
        #expect(!slow.isDone, "the fast one did not wait for it")
        slow.leave()
        mirror.close()
    }

    @Test("the same digest in another repository is pulled separately, and shared once verified")
    func otherRepository() throws {
        let mirror = try MirrorKit()
        let elsewhere = "/v2/team/other/blobs/\(digestOf(Self.bytes))"
        mirror.fake.on(Self.target, .ok(Self.bytes).stall(after: 1000))
        mirror.fake.on(elsewhere) { .blob(Self.bytes, for: $0) }
        let stuck = mirror.start(.get(Self.target))
        mirror.wait(until: { stuck.response.body.count > 0 })
        #expect(mirror.get(elsewhere).body == Self.bytes)
        mirror.wait(until: { mirror.store.blobSize(digestOf(Self.bytes)) == .present(Int64(Self.bytes.count)) })
        #expect(mirror.get(Self.target).body == Self.bytes, "a verified file is everybody's")
        #expect(!stuck.isDone)
        mirror.close()
    }

    // MARK: Whole images

    @Test func aManifestBringsItsConfigAndLayers() throws {
        let mirror = try MirrorKit { $0.prefetchLayers = .manifest }
        let image = FakeImage(layerBytes: [1, 10_000, 300_000, 300_001, 70, 80], foreign: true)
        image.put(on: mirror.fake, tag: "v1")
        #expect(mirror.get("/v2/team/app/manifests/v1").body == image.manifest)
        let isStored = { mirror.store.blobSize(digestOf($0)) == .present(Int64($0.count)) }
        mirror.wait(until: { image.blobs.allSatisfy(isStored) })
        mirror.settle()
        let asked = Set(mirror.fake.requests.map(\.path))
        #expect(asked == Set(["/v2/team/app/manifests/v1"] + image.blobs.map { "/v2/team/app/blobs/\(digestOf($0))" }))
        #expect(mirror.fake.requests.count == asked.count, "each once, and nothing foreign")
        // With the upstream gone, the image is whole.
        mirror.fake.close()
        #expect(mirror.get("/v2/team/app/manifests/\(image.digest)").status == 200)
        for blob in image.blobs { #expect(mirror.get("/v2/team/app/blobs/\(digestOf(blob))").body == blob) }
        mirror.close()
    }

    @Test func anIndexBringsNothingAndNeitherDoesAHeadOrARefusal() throws {
        let mirror = try MirrorKit { $0.prefetchLayers = .manifest }
        let image = FakeImage()
        image.put(on: mirror.fake, tag: "v1")
        let index = FakeImage.index([image])
        mirror.fake.on(
            "/v2/team/app/manifests/all", .manifest(index, type: MediaType.ociIndex.text, digest: "\(digestOf(index))"))
        #expect(mirror.get("/v2/team/app/manifests/all").body == index)
        #expect(mirror.head("/v2/team/app/manifests/v1").status == 200)
        #expect(mirror.get("/v2/team/app/manifests/\(digestOf([1]))").status == 404)
        mirror.settle()
        #expect(mirror.fake.requests.map(\.path).allSatisfy { $0.contains("/manifests/") })
        mirror.close()
    }

    @Test("nothing is prefetched when prefetchLayers is off") func prefetchOff() throws {
        let mirror = try MirrorKit()
        let image = FakeImage()
        image.put(on: mirror.fake, tag: "v1")
        for _ in 0..<3 { #expect(mirror.get("/v2/team/app/manifests/v1").status == 200) }
        mirror.settle()
        #expect(mirror.fake.requests.count == 1)
        mirror.close()
    }

    @Test func whatAClientAsksForIsJoinedWhileItIsFetchedAhead() throws {
        let mirror = try MirrorKit { $0.prefetchLayers = .manifest }
        let image = FakeImage(layerBytes: Array(repeating: 20_000, count: 12))
        image.put(on: mirror.fake, tag: "v1")
        mirror.fake.chance = SeededRandom(seed: 4)
        #expect(mirror.get("/v2/team/app/manifests/v1").status == 200)
        let clients = image.blobs.reversed().map { mirror.start(.get("/v2/team/app/blobs/\(digestOf($0))")) }
        mirror.wait(for: clients)
        for (client, blob) in zip(clients, image.blobs.reversed()) { #expect(client.response.body == blob) }
        mirror.settle()
        #expect(mirror.fake.requests.count == 1 + image.blobs.count)
        mirror.close()
    }
}

// A disk that is slower than the upstreams: the upstreams wait, clients wait for a bounded time, and memory stays what
// it is. Here the disk is slow because the test holds the memory; EndToEnd/SlowDiskTests has a slow disk.

import Foundation
import TestSupport
import Testing

@testable import OCI
@testable import Registry

@Suite struct BacklogTests {
    /// An image whose manifest has so many bytes of annotations.
    private static func image(_ number: Int, padding: Int) -> (bytes: [UInt8], tag: String) {
        let text =
            "{\"schemaVersion\":2,\"mediaType\":\"\(FakeImage.type)\",\"config\":"
            + FakeImage.descriptor("application/vnd.oci.image.config.v1+json", [UInt8(number)])
            + ",\"layers\":[],\"annotations\":{\"padding\":\"\(number)-\(String(repeating: "x", count: padding))\"}}"
        return (Array(text.utf8), "v\(number)")
    }

    private static func path(_ tag: String) -> String { "/v2/team/app/manifests/\(tag)" }

    /// For what must not happen: longer than it would take.
    private static let quietMilliseconds: UInt64 = 100

    @Test("a manifest is requested from the upstream once the disk has caught up") func manifestWaits() throws {
        let mirror = try MirrorKit { $0.limits.backlogBytes = 100_000 }
        let image = FakeImage()
        image.put(on: mirror.fake, tag: "v1")
        mirror.store.backlog.hold(100_000)
        let clients = [mirror.start(.get(Self.path("v1"))), mirror.start(.head(Self.path("v1")))]
        mirror.run.run(milliseconds: Self.quietMilliseconds)
        #expect(mirror.fake.requests.isEmpty && clients.allSatisfy { !$0.isDone })
        mirror.store.backlog.release(100_000)
        mirror.wait(for: clients)
        #expect(clients.allSatisfy { $0.response.status == 200 } && clients[0].response.body == image.manifest)
        mirror.settle()
        #expect(mirror.store.backlog.heldBytes == 0)
        mirror.close()
    }

    @Test("a client that waits too long for the disk gets a 503, and the manifest is cached later")
    func clientTimesOut() throws {
        let mirror = try MirrorKit {
            $0.limits.backlogBytes = 100_000
            $0.policy.answerDeadlineMilliseconds = 50
        }
        let image = FakeImage()
        image.put(on: mirror.fake, tag: "v1")
        mirror.store.backlog.hold(100_000)
        #expect(mirror.get(Self.path("v1")).status == 503)
        mirror.store.backlog.release(100_000)
        mirror.wait(until: { mirror.store.manifests[image.digest] != nil })
        #expect(mirror.get(Self.path("v1")).body == image.manifest)
        #expect(mirror.fake.requests.count == 1)
        mirror.close()
    }

    @Test("pulls beyond the limit of waiting ones are refused at once") func refused() throws {
        let mirror = try MirrorKit { $0.limits.backlogBytes = 100_000 }
        mirror.store.backlog.hold(100_000)
        let repository = RepositoryName("team/app")!  // a valid name
        let source = PullSource(host: MirrorKit.host, repository: repository, via: "1.1 test")
        var failures: [RegistryError] = []
        for number in 0..<(MemoryBudget.maximumWaitingFetches + 5) {
            mirror.puller.manifest(.tag("v\(number)"), from: source) { result, _ in
                if case .failure(let error) = result { failures.append(error) }
            }
        }
        mirror.wait(until: { failures.count == 5 })
        #expect(failures.allSatisfy { $0.status == 503 && $0.message.contains("disk is too slow") })
        mirror.run.run(milliseconds: Self.quietMilliseconds)
        #expect(failures.count == 5 && mirror.fake.requests.isEmpty)
        mirror.store.backlog.release(100_000)
        mirror.close()
    }

    @Test("manifests being fetched stay within the memory limit, whatever size they state", arguments: [false, true])
    func manifestMemory(isChunked: Bool) throws {
        // One that does not say how long it is may be as long as any.
        let limit = isChunked ? 2 * Manifest.maximumSizeBytes : 1_000_000
        let mirror = try MirrorKit { $0.limits.backlogBytes = limit }
        let images = (0..<40).map { Self.image($0, padding: 90_000) }
        for image in images {
            mirror.fake.on(Self.path(image.tag)) { _ in
                let answer = FakeAnswer.manifest(image.bytes, type: FakeImage.type, digest: nil)
                return isChunked ? answer.chunked() : answer
            }
        }
        let clients = images.map { mirror.start(.get(Self.path($0.tag))) }
        var most = 0
        mirror.wait(until: {
            most = max(most, mirror.store.backlog.heldBytes)
            return clients.allSatisfy(\.isDone)
        })
        for (client, image) in zip(clients, images) {
            #expect(client.response.status == 200 && client.response.body == image.bytes)
        }
        // A manifest that has come is never refused: its name and what callbacks take are counted on top.
        #expect(most > 90_000 && most <= limit + images.count * 4096)
        mirror.settle()
        #expect(mirror.store.backlog.heldBytes == 0)
        mirror.close()
    }

    @Test("a blob's transfer pauses while the disk has too much to write") func blobPauses() throws {
        let mirror = try MirrorKit { $0.limits.backlogBytes = 2_000_000 }
        let blob = pattern(3_000_000)
        mirror.fake.on("/v2/team/app/blobs/\(digestOf(blob))") { .blob(blob, for: $0) }
        mirror.store.backlog.hold(2_000_000)
        let client = mirror.start(.get("/v2/team/app/blobs/\(digestOf(blob))"))
        mirror.wait(until: { mirror.store.backlog.heldBytes > 2_000_000 || client.response.status == 200 })
        mirror.run.run(milliseconds: Self.quietMilliseconds)
        #expect(mirror.store.backlog.heldBytes <= 2_000_000 + 64 * 1024, "one delivery of the upstream, and no more")
        #expect(client.response.body.count < 300_000 && !client.isDone)
        mirror.store.backlog.release(2_000_000)
        mirror.wait(for: [client])
        #expect(client.isComplete && client.response.body == blob)
        mirror.settle()
        #expect(mirror.store.backlog.heldBytes == 0)
        mirror.close()
    }

    @Test("lists do not wait for the disk") func lists() throws {
        let mirror = try MirrorKit { $0.limits.backlogBytes = 100_000 }
        let tags = (0..<20_000).map { "\"v\($0)\"" }.joined(separator: ",")
        mirror.fake.on("/v2/team/app/tags/list", .json("{\"name\":\"team/app\",\"tags\":[\(tags)]}"))
        mirror.store.backlog.hold(100_000)
        #expect(mirror.get("/v2/team/app/tags/list").status == 200)
        mirror.store.backlog.release(100_000)
        mirror.close()
    }

    @Test("the write backlog is a metric that includes waiting bytes") func metric() throws {
        let mirror = try MirrorKit()
        mirror.store.backlog.hold(12_345)
        #expect(try mirror.scrape()["ociregistry_store_backlog_bytes"] == 12_345)
        mirror.store.backlog.release(12_345)
        let body = Array("{}".utf8) + [UInt8](repeating: 0x20, count: 50_000)
        mirror.store.putManifest(body, digest: digestOf(body), mediaType: .ociIndex)
        #expect(mirror.store.backlog.heldBytes >= 50_000)
        mirror.store.setTag(
            host: MirrorKit.host, repository: RepositoryName("a")!, tag: "v1", digest: digestOf(body))  // a valid name
        #expect(mirror.store.backlog.heldBytes >= 51_000)
        mirror.settle()
        #expect(mirror.store.backlog.heldBytes == 0)
        mirror.close()
    }
}

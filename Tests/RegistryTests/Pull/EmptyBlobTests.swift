// Content of no bytes: an empty layer or config. It is pulled, kept and served like any other, and is no damage.

import Foundation
import TestSupport
import Testing

@testable import Configuration
@testable import Registry

@Suite struct EmptyBlobTests {
    private static let digest = digestOf([])
    private static let target = "/v2/team/app/blobs/\(digest)"

    private static func airGapped(_ directory: TemporaryDirectory) throws -> MirrorKit {
        try MirrorKit {
            $0.imagePath = directory.path
            $0.policy = API.Policy(airGapped: true, defaultHost: MirrorKit.host)
        }
    }

    private static func expectServed(_ mirror: MirrorKit, _ location: SourceLocation = #_sourceLocation) {
        for _ in 0..<2 {
            let answer = mirror.ask(.get(target))
            #expect(answer.response.status == 200 && answer.isComplete, sourceLocation: location)
            #expect(answer.response.body.isEmpty, sourceLocation: location)
            #expect(answer.response.header("docker-content-digest") == "\(digest)", sourceLocation: location)
        }
        let head = mirror.head(target)
        #expect(head.status == 200 && head.header("content-length") == "0", sourceLocation: location)
        let part = mirror.get(target, range: "bytes=0-")
        #expect(part.status == 416 && part.header("content-range") == "bytes */0", sourceLocation: location)
    }

    @Test("the digest of the empty blob is the well-known one")
    func wellKnownDigest() {
        #expect("\(Self.digest)" == "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")
    }

    @Test(
        "an empty blob is pulled, kept across a restart and served in an air gap",
        arguments: [FakeAnswer.ok([]), FakeAnswer.ok([]).chunked(), FakeAnswer.ok([]).closeDelimited()])
    func pulledAndKept(_ answer: FakeAnswer) throws {
        let directory = try TemporaryDirectory()
        let mirror = try MirrorKit { $0.imagePath = directory.path }
        mirror.fake.on(Self.target, answer)
        let first = mirror.ask(.get(Self.target))
        #expect(first.response.status == 200 && first.response.body.isEmpty && first.isComplete)
        mirror.settle()
        Self.expectServed(mirror)
        #expect(mirror.fake.requests.count == 1)
        mirror.close()
        let later = try Self.airGapped(directory)
        later.wait(until: { later.store.isRecovered })
        #expect(later.store.blobSize(Self.digest) == .present(0))
        Self.expectServed(later)
        #expect(try Disk.names(in: later.store.layout.quarantine).isEmpty)
        #expect(!later.log.text.contains("set aside \""))
        later.close()
    }

    @Test("an image with an empty config and an empty layer counts as complete")
    func wholeImage() throws {
        let directory = try TemporaryDirectory()
        let entry = FakeImage.descriptor("application/octet-stream", [])
        let manifest = Array(
            "{\"schemaVersion\":2,\"mediaType\":\"\(FakeImage.type)\",\"config\":\(entry),\"layers\":[\(entry)]}".utf8)
        let path = "/v2/team/app/manifests/v1"
        let mirror = try MirrorKit {
            $0.imagePath = directory.path
            $0.prefetchLayers = .manifest
        }
        mirror.fake.on(path, .manifest(manifest, type: FakeImage.type, digest: "\(digestOf(manifest))"))
        mirror.fake.on(Self.target, .ok([]))
        #expect(mirror.get(path).body == manifest)
        mirror.settle()
        #expect(mirror.get(path).body == manifest)
        mirror.settle()
        #expect(mirror.fake.requests(to: Self.target).count == 1)
        mirror.close()
        // What hashes everything again finds nothing wrong.
        var report: VerifyReport?
        try StoreCheck(imagePath: directory.path).run { if case .ended(let end) = $0 { report = end } }
        #expect(report?.isSound == true && report?.progress.files == 2)
        let later = try Self.airGapped(directory)
        #expect(later.get(path).body == manifest)
        later.settle()
        Self.expectServed(later)
        #expect(later.store.sizeChecks.pending.isEmpty && later.store.damageCounts.allSatisfy { $0 == 0 })
        later.close()
    }

    @Test("a non-empty body for the empty blob's digest is refused")
    func bytesForNothing() throws {
        let mirror = try MirrorKit()
        mirror.fake.on(Self.target, .ok([1, 2, 3]))
        let answer = mirror.ask(.get(Self.target))
        #expect(!(answer.response.status == 200 && answer.isComplete))
        mirror.settle()
        #expect(mirror.inspectBlobs() == ([], 0))
        mirror.close()
    }
}

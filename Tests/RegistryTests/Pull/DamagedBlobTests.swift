// Cached blobs whose files a disk, or a person, has changed under a running server: noticed by the request that meets
// the fault, set aside, logged and counted once, and pulled again.

import Foundation
import Glibc
import TestSupport
import Testing

@testable import OCI
@testable import Registry

@Suite struct DamagedBlobTests {
    private static let repository = "/v2/team/app/blobs/"
    private static let readDamage = "ociregistry_store_damaged_files_total{by=\"read\"}"
    private static let errors = "ociregistry_http_request_duration_seconds_count{endpoint=\"blob\",verdict=\"error\"}"

    /// A mirror that has pulled one blob and has its file open.
    private struct Scene {
        let mirror: MirrorKit
        let bytes: [UInt8]
        var digest: Digest { digestOf(bytes) }
        var target: String { "\(DamagedBlobTests.repository)\(digest)" }
        var path: String { mirror.store.layout.blob(digest) }

        init(_ bytes: [UInt8], _ change: (inout MirrorKit.Options) -> Void = { _ in }) throws {
            mirror = try MirrorKit(change)
            self.bytes = bytes
            mirror.fake.on(target) { .blob(bytes, for: $0) }
            #expect(mirror.get(target).body == bytes)
            mirror.settle()
        }

        /// Lines that say that the file was set aside.
        var reports: [LogRecorder.Entry] { mirror.log.entries.filter { $0.message.hasPrefix("store: set aside") } }

        func expectSetAsideOnce(_ location: SourceLocation = #_sourceLocation) throws {
            mirror.settle()
            #expect(reports.count == 1, sourceLocation: location)
            #expect(reports.first?["digest"] == "\(digest)", sourceLocation: location)
            #expect(reports.first?.message.contains(path) == true, sourceLocation: location)
            #expect(try Disk.names(in: mirror.store.layout.quarantine).count == 1, sourceLocation: location)
            #expect(try mirror.scrape()[DamagedBlobTests.readDamage] == 1, sourceLocation: location)
        }
    }

    /// In memory by then; in one write with the head; by one sendfile; by several, beyond the first turn's.
    @Test(
        "a truncated blob is pulled again by the request that finds it",
        arguments: [5000, 40_000, 1_000_000, 6_000_000], [0, 2000])
    func truncatedBlob(_ size: Int, _ kept: Int) throws {
        let scene = try Scene(pattern(size, seed: 91))
        let mirror = scene.mirror
        #expect(truncate(scene.path, off_t(kept)) == 0)
        let answer = mirror.ask(.get(scene.target))
        #expect(answer.response.status == 200 && answer.response.body == scene.bytes && answer.isComplete)
        #expect(mirror.fake.requests(to: scene.target).count == 2)
        try scene.expectSetAsideOnce()
        #expect(try mirror.scrape()[Self.errors] == 0, "no client got an error")
        #expect(mirror.get(scene.target).body == scene.bytes)
        #expect(mirror.fake.requests(to: scene.target).count == 2, "the new copy is served from the cache")
        #expect(mirror.inspectBlobs() == ([], 1))
        mirror.close()
    }

    @Test("a range beyond the end of a truncated blob is served from a new pull")
    func rangeBehindTheEnd() throws {
        let scene = try Scene(pattern(3_000_000, seed: 92))
        #expect(truncate(scene.path, 1_000_000) == 0)
        let part = scene.mirror.get(scene.target, range: "bytes=2000000-2000099")
        #expect(part.status == 206 && part.body == Array(scene.bytes[2_000_000..<2_000_100]))
        #expect(part.header("content-range") == "bytes 2000000-2000099/3000000")
        try scene.expectSetAsideOnce()
        scene.mirror.close()
    }

    @Test("an HTTP/1.0 client gets one Connection field when a damaged blob is pulled again")
    func retryRepeatsNoFields() throws {
        let scene = try Scene(pattern(100_000, seed: 93))
        #expect(truncate(scene.path, 10) == 0)
        var request = TestClient.Request.get("\(scene.target)?ns=registry.test")
        request.version = "1.0"
        let answer = scene.mirror.ask(request)
        #expect(answer.response.status == 200 && answer.response.body == scene.bytes)
        #expect(answer.response.headers.filter { $0.name == "connection" }.count == 1)
        #expect(answer.response.headers.filter { $0.name == "ociregistry-ns" || $0.name == "oci-namespace" }.count <= 1)
        scene.mirror.close()
    }

    @Test("a body whose file is truncated while sent ends short, and counts as an error")
    func truncatedWhileSending() throws {
        let size = 48 << 20
        let scene = try Scene([UInt8](repeating: 9, count: size))
        let mirror = scene.mirror
        let slow = TestClient.ClientBehavior(readBytes: 64 * 1024, pauseMilliseconds: 1, receiveBufferBytes: 64 * 1024)
        let client = mirror.start(.get(scene.target), manner: slow)
        mirror.wait(until: { client.response.body.count > 256 * 1024 })
        #expect(truncate(scene.path, off_t(size / 2)) == 0)
        mirror.wait(for: [client])
        #expect(client.response.status == 200 && client.response.contentLength == size)
        #expect(client.response.body.count <= size / 2 && !client.isComplete && client.end == .fin)
        try scene.expectSetAsideOnce()
        let scrape = try mirror.scrape()
        #expect(scrape[Self.errors] == 1 && scrape["ociregistry_api_errors_total"] == 1)
        #expect(mirror.get(scene.target).body.count == size, "the next request pulls it again")
        #expect(mirror.fake.requests(to: scene.target).count == 2)
        mirror.close()
    }

    @Test("a small blob with flipped bits is pulled again, not kept in memory")
    func flippedSmallBlob() throws {
        let scene = try Scene(pattern(8000, seed: 94))
        let handle = try FileHandle(forUpdating: URL(filePath: scene.path))
        try handle.seek(toOffset: 4000)
        try handle.write(contentsOf: [scene.bytes[4000] ^ 1])
        try handle.close()
        #expect(scene.mirror.get(scene.target).body == scene.bytes)
        #expect(scene.reports.first?.message.contains("hash mismatch") == true)
        try scene.expectSetAsideOnce()
        scene.mirror.close()
    }

    @Test("in an air gap a damaged blob is not found instead of served short")
    func damagedInAnAirGap() throws {
        let directory = try TemporaryDirectory()
        let former = try Scene(pattern(500_000, seed: 95)) { $0.imagePath = directory.path }
        let (target, path, bytes) = (former.target, former.path, former.bytes)
        former.mirror.close()
        let mirror = try MirrorKit {
            $0.imagePath = directory.path
            $0.policy = API.Policy(airGapped: true, defaultHost: MirrorKit.host)
        }
        #expect(mirror.get(target).body == bytes)
        #expect(truncate(path, 77) == 0)
        for _ in 0..<3 {
            let answer = mirror.get(target)
            #expect(answer.status == 404 && answer.errorCode == "BLOB_UNKNOWN")
        }
        mirror.settle()
        #expect(mirror.log.entries.filter { $0.message.contains("set aside \"") }.count == 1)
        #expect(mirror.fake.requests.isEmpty)
        mirror.close()
    }

    @Test("a partial file truncated during its pull ends the pull, and the next pull is whole")
    func truncatedPartialFile() throws {
        let bytes = pattern(300_000, seed: 96)
        let target = "\(Self.repository)\(digestOf(bytes))"
        let mirror = try MirrorKit()
        mirror.fake.on(target, { _ in .ok(bytes).stall(after: 200_000) }, { .blob(bytes, for: $0) })
        let first = mirror.start(.get(target))
        mirror.wait(until: { first.response.body.count == 200_000 })
        let partial = try #require(try Disk.names(in: mirror.store.layout.partial).first)
        #expect(truncate("\(mirror.store.layout.partial)/\(partial)", 50_000) == 0)
        let second = mirror.start(.get(target))
        mirror.wait(for: [first, second])
        #expect(first.response.status == 200 && !first.isComplete && first.end == .fin)
        #expect(second.response.status == 503, "nothing had been sent")
        mirror.settle()
        #expect(mirror.log.text.contains("shorter than 200000 bytes"))
        #expect(mirror.get(target).body == bytes)
        mirror.settle()
        #expect(mirror.inspectBlobs() == ([], 1))
        mirror.close()
    }
}

// Ranges, preconditions, framing and order, on blobs that grow and on those that have stopped: no client can tell.

import TestSupport
import Testing

@testable import OCI
@testable import Registry

@Suite struct GrowingRangeTests {
    static let bytes = pattern(300_000, seed: 21)
    static let digest = digestOf(bytes)
    static let target = "/v2/team/app/blobs/\(digest)"

    /// A mirror in whose upstream the blob stands still after `count` bytes, with the pull under way.
    private func stalled(after count: Int, chunked: Bool = false) throws -> (MirrorKit, TestClient) {
        let mirror = try MirrorKit()
        let answer = chunked ? FakeAnswer.ok(Self.bytes).chunked() : .ok(Self.bytes)
        mirror.fake.on(Self.target, { _ in answer.stall(after: count) }, { .blob(Self.bytes, for: $0) })
        let first = mirror.start(.get(Self.target))
        mirror.wait(until: { first.response.body.count > 0 })
        return (mirror, first)
    }

    @Test("a range of a blob being pulled is sent as soon as its bytes have arrived") func growingRange() throws {
        let (mirror, first) = try stalled(after: 200_000)
        mirror.wait(until: { first.response.body.count == 200_000 })
        let range = mirror.ask(.get(Self.target, range: "bytes=1000-150999")).response
        #expect(range.status == 206)
        #expect(range.header("content-range") == "bytes 1000-150999/300000")
        #expect(range.body == Array(Self.bytes[1000..<151_000]))
        // One that reaches beyond waits for the rest only.
        let beyond = mirror.start(.get(Self.target, range: "bytes=199000-201000"))
        mirror.wait(until: { beyond.response.body.count == 1000 })
        #expect(!first.isDone && !beyond.isDone)
        mirror.fake.hangUp()
        mirror.wait(for: [first, beyond])
        #expect(first.response.body == Self.bytes)
        #expect(beyond.response.body == Array(Self.bytes[199_000...201_000]))
        #expect(mirror.fake.requests.map(\.rangeStart) == [nil, 200_000])
        mirror.close()
    }

    @Test("the last byte of a blob is withheld until its digest is verified") func lastByte() throws {
        let mirror = try MirrorKit()
        // All bytes, but the connection's end, which would say that this is all, does not come.
        mirror.fake.on(Self.target) { _ in
            var answer = FakeAnswer.ok(Self.bytes).chunked()
            let whole = answer.wire(isHead: false).body.count
            answer = answer.stall(after: whole - "0\r\nX-Trailer: yes\r\n\r\n".utf8.count)
            return answer
        }
        let client = mirror.start(.get(Self.target))
        mirror.wait(until: { client.response.body.count == Self.bytes.count - 1 })
        let late = mirror.start(.get(Self.target))
        mirror.wait(until: { late.response.body.count == Self.bytes.count - 1 })
        #expect(!client.isDone && !late.isDone)
        // What breaks here is resumed behind the last byte, where the upstream has nothing more.
        mirror.fake.on(Self.target) { .blob(Self.bytes, for: $0) }
        mirror.fake.hangUp()
        mirror.wait(for: [client, late])
        #expect(client.isComplete && client.response.body == Self.bytes)
        #expect(late.isComplete && late.response.body == Self.bytes)
        mirror.close()
    }

    @Test("a body of unknown length is sent chunked, and wrong content gets no last chunk") func chunked() throws {
        let mirror = try MirrorKit()
        mirror.fake.on(
            Self.target, { _ in .ok(Self.bytes).corrupted(at: 299_999).chunked() },
            { _ in .ok(Self.bytes).closeDelimited() })
        let wrong = mirror.ask(.get(Self.target))
        #expect(wrong.response.isChunked)
        #expect(wrong.response.header("content-length") == nil)
        #expect(!wrong.response.isComplete && wrong.end == .fin)
        mirror.settle()
        let right = mirror.get(Self.target)
        #expect(right.isChunked && right.isComplete)
        #expect(right.body == Self.bytes)
        mirror.settle()
        let cached = mirror.get(Self.target)
        #expect(cached.contentLength == Self.bytes.count)
        #expect(cached.body == Self.bytes)
        mirror.close()
    }

    @Test("an HTTP/1.0 client waits until the length of a chunked blob is known") func http10() throws {
        let mirror = try MirrorKit()
        mirror.fake.on(Self.target, .ok(Self.bytes).chunked())
        var request = TestClient.Request.get(Self.target)
        request.version = "1.0"
        let client = mirror.ask(request)
        #expect(client.response.contentLength == Self.bytes.count)
        #expect(client.response.body == Self.bytes)
        mirror.close()
    }

    @Test("HEAD and conditional requests for a blob being pulled are answered at once")
    func growingConditions() throws {
        let (mirror, first) = try stalled(after: 10_000)
        let head = mirror.head(Self.target)
        #expect(head.status == 200)
        #expect(head.contentLength == Self.bytes.count)
        expectConditions(mirror)
        #expect(mirror.fake.requests.count == 1)
        #expect(!first.isDone)
        mirror.close()
    }

    @Test("a cached blob answers conditions, ranges and If-Range without an upstream request")
    func cachedConditions() throws {
        let mirror = try MirrorKit()
        mirror.fake.on(Self.target) { .blob(Self.bytes, for: $0) }
        #expect(mirror.get(Self.target).body == Self.bytes)
        mirror.settle()
        expectConditions(mirror)
        let ranges = [
            ("bytes=0-9", 0..<10), ("bytes=-5", 299_995..<300_000), ("bytes=299999-400000", 299_999..<300_000),
        ]
        for (range, expected) in ranges {
            let part = mirror.get(Self.target, range: range)
            #expect(part.status == 206)
            #expect(part.body == Array(Self.bytes[expected]))
        }
        let mismatch = mirror.get(Self.target, range: "bytes=5-", [("If-Range", "\"other\"")])
        #expect(mismatch.status == 200)
        #expect(mismatch.body == Self.bytes)
        #expect(mirror.fake.requests.count == 1)
        mirror.close()
    }

    /// What needs none of the bytes, or the first few.
    private func expectConditions(_ mirror: MirrorKit) {
        let tag = "\"\(Self.digest)\""
        let unchanged = mirror.get(Self.target, [("If-None-Match", "\"x\", \(tag)")])
        #expect(unchanged.status == 304)
        #expect(unchanged.header("etag") == tag)
        let outside = mirror.get(Self.target, range: "bytes=300000-")
        #expect(outside.status == 416)
        #expect(outside.header("content-range") == "bytes */300000")
        let part = mirror.get(Self.target, range: "bytes=5-6", [("If-Range", tag)])
        #expect(part.status == 206)
        #expect(part.body == Array(Self.bytes[5...6]))
        #expect(part.header("etag") == tag)
    }

    @Test("manifests support ranges and If-None-Match") func manifestRanges() throws {
        let mirror = try MirrorKit()
        let image = FakeImage()
        image.put(on: mirror.fake, tag: "v1")
        let target = "/v2/team/app/manifests/v1"
        for _ in 0..<2 {
            let part = mirror.get(target, range: "bytes=3-")
            #expect(part.status == 206)
            #expect(part.body == Array(image.manifest[3...]))
            #expect(mirror.get(target, [("If-None-Match", "\"\(image.digest)\"")]).status == 304)
            #expect(mirror.get(target, range: "bytes=9999999-").status == 416)
        }
        mirror.close()
    }

    @Test("pipelined requests on one connection are answered in order") func pipelining() throws {
        let mirror = try MirrorKit()
        let image = FakeImage()
        image.put(on: mirror.fake, tag: "v1")
        mirror.fake.on(Self.target, { .blob(Self.bytes, for: $0).dripping(100_000, everyMilliseconds: 1) })
        let client = mirror.start(
            .get(Self.target), .get("/v2/team/app/manifests/v1"), .get(Self.target, range: "bytes=7-9"),
            .get("/v2/team/app/blobs/\(digestOf([9]))"), .head(Self.target), .get("/v2/"))
        mirror.wait(for: [client])
        #expect(client.responses.map(\.status) == [200, 200, 206, 404, 200, 200])
        #expect(client.responses[0].body == Self.bytes)
        #expect(client.responses[1].body == image.manifest)
        #expect(client.responses[2].body == Array(Self.bytes[7...9]))
        mirror.close()
    }

    @Test("empty and sha512 blobs are pulled once and cached") func otherBlobs() throws {
        let mirror = try MirrorKit()
        for (bytes, digest) in [([], digestOf([])), (Self.bytes, digestOf(Self.bytes, .sha512))] {
            let target = "/v2/team/app/blobs/\(digest)"
            mirror.fake.on(target) { $0.rangeStart == nil ? .ok(bytes) : .blob(bytes, for: $0) }
            for _ in 0..<2 {
                let response = mirror.get(target)
                #expect(response.status == 200)
                #expect(response.isComplete && response.body == bytes)
                mirror.settle()
            }
        }
        #expect(mirror.fake.requests.count == 2)
        mirror.settle()
        #expect(mirror.inspectBlobs() == ([], 2))
        mirror.close()
    }
}

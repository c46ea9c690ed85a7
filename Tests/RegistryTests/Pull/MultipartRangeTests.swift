// Requests for several ranges, as clients of partial pulls (zstd:chunked) send them.

import TestSupport
import Testing

@testable import OCI
@testable import Registry

@Suite struct MultipartRangeTests {
    static let bytes = pattern(300_000, seed: 33)
    static let digest = digestOf(bytes)
    static let target = "/v2/team/app/blobs/\(digest)"

    private struct Part: Equatable {
        let range: ClosedRange<Int>
        let total: Int
        let type: String
        let body: [UInt8]
    }

    /// Reads a multipart/byteranges body strictly (RFC 9110 §14.6): nothing before the first delimiter, nothing after
    /// the last.
    private static func parts(_ response: TestClient.Response) throws -> [Part] {
        let mark = "multipart/byteranges; boundary="
        let type = try #require(response.header("content-type"))
        #expect(type.hasPrefix(mark))
        #expect(response.header("content-range") == nil)
        #expect(response.contentLength == response.body.count)
        let delimiter = Array("--\(type.dropFirst(mark.count))".utf8)
        var rest = response.body[...]
        var parts: [Part] = []
        func take(_ expected: [UInt8]) throws {
            try #require(rest.starts(with: expected))
            rest = rest.dropFirst(expected.count)
        }
        func line() throws -> String {
            let end = try #require(rest.firstIndex(of: 0x0D))
            let text = String(decoding: rest[..<end], as: UTF8.self)
            rest = rest[end...]
            try take(Array("\r\n".utf8))
            return text
        }
        try take(delimiter)
        while try line() == "" {
            let partType = try line()
            let field = try line()
            #expect(try line() == "")
            let numbers = field.split { !$0.isNumber }.compactMap { Int($0) }
            #expect(field == "Content-Range: bytes \(numbers[0])-\(numbers[1])/\(numbers[2])")
            let body = Array(rest.prefix(numbers[1] - numbers[0] + 1))
            rest = rest.dropFirst(body.count)
            parts.append(Part(range: numbers[0]...numbers[1], total: numbers[2], type: partType, body: body))
            try take(Array("\r\n".utf8) + delimiter)
        }
        #expect(rest.isEmpty)
        return parts
    }

    private func expectParts(
        _ response: TestClient.Response, _ ranges: [ClosedRange<Int>], of bytes: [UInt8] = bytes,
        type: String = "application/octet-stream"
    ) throws {
        #expect(response.status == 206)
        let parts = try Self.parts(response)
        #expect(parts.map(\.range) == ranges)
        #expect(parts.allSatisfy { $0.total == bytes.count && $0.type == "Content-Type: \(type)" })
        #expect(parts.allSatisfy { $0.body == Array(bytes[$0.range]) })
    }

    private func cached() throws -> MirrorKit {
        let mirror = try MirrorKit()
        mirror.fake.on(Self.target) { .blob(Self.bytes, for: $0) }
        #expect(mirror.get(Self.target).body == Self.bytes)
        mirror.settle()
        return mirror
    }

    @Test("several ranges are sent as multipart/byteranges, in the order of the request") func order() throws {
        let mirror = try cached()
        let tag = "\"\(Self.digest)\""
        let response = mirror.get(Self.target, range: "bytes=299990-299999, 0-0,5-70000,1-4", [("If-Range", tag)])
        try expectParts(response, [299_990...299_999, 0...0, 5...70_000, 1...4])
        #expect(response.header("etag") == tag)
        #expect(response.header("docker-content-digest") == "\(Self.digest)")
        #expect(response.header("accept-ranges") == "bytes")
        #expect(mirror.fake.requests.count == 1)
        mirror.close()
    }

    @Test("unsatisfiable ranges of a set are left out, and a set without others is a 416") func unsatisfiable() throws {
        let mirror = try cached()
        try expectParts(mirror.get(Self.target, range: "bytes=300000-300009,7-8,-1"), [7...8, 299_999...299_999])
        try expectParts(mirror.get(Self.target, range: "bytes=300000-300009,7-8"), [7...8])
        #expect(mirror.get(Self.target, range: "bytes=300000-,400000-500000").status == 416)
        mirror.close()
    }

    @Test(
        "an invalid set, one larger than the blob and one with another If-Range are answered by the whole",
        arguments: ["bytes=0-1,x", "bytes=0-1,5-4", "bytes=0-299999,0-0", "bytes=,", "bytes=0-1;5-6"])
    func ignored(range: String) throws {
        let mirror = try cached()
        for (range, ifRange) in [(range, "\"\(Self.digest)\""), ("bytes=0-1,5-6", "\"other\"")] {
            let response = mirror.get(Self.target, range: range, [("If-Range", ifRange)])
            #expect(response.status == 200 && response.body == Self.bytes)
        }
        mirror.close()
    }

    @Test("1,024 ranges are sent, and more are a 400 that keeps the connection") func most() throws {
        let mirror = try cached()
        let ranges = (0..<1024).map { ($0 * 290)...($0 * 290 + 80) }
        func field(_ ranges: [ClosedRange<Int>]) -> String {
            "bytes=" + ranges.map { "\($0.lowerBound)-\($0.upperBound)" }.joined(separator: ",")
        }
        try expectParts(mirror.get(Self.target, range: field(ranges)), ranges)
        let client = mirror.start(.get(Self.target, range: field(ranges + [1...2])), .get("/v2/"))
        mirror.wait(for: [client])
        #expect(client.responses.map(\.status) == [400, 200])
        #expect(client.responses[0].errorCode == "UNSUPPORTED")
        mirror.close()
    }

    @Test("a head that is too large is a 400 when its Range field is the reason, and a 431 otherwise")
    func longFields() throws {
        let mirror = try cached()
        let long = Array(repeating: "1000000000-1000000001", count: 2000).joined(separator: ",")
        #expect(mirror.get(Self.target, range: "bytes=\(long)").status == 400)
        #expect(mirror.get(Self.target, [("Cookie", long)]).status == 431)
        #expect(mirror.get(Self.target, [("Accept", "a"), ("Cookie", long), ("Range", "bytes=0-1,4-5")]).status == 431)
        mirror.close()
    }

    @Test("HEAD ignores a set of ranges") func head() throws {
        let mirror = try cached()
        let response = mirror.head(Self.target, [("Range", "bytes=0-1,5-6")])
        #expect(response.status == 200 && response.contentLength == Self.bytes.count)
        mirror.close()
    }

    @Test("the ranges of a blob being pulled follow its growth") func growing() throws {
        let mirror = try MirrorKit()
        mirror.fake.on(
            Self.target, { _ in .ok(Self.bytes).stall(after: 200_000) }, { .blob(Self.bytes, for: $0) })
        let first = mirror.start(.get(Self.target))
        mirror.wait(until: { first.response.body.count == 200_000 })
        let client = mirror.start(.get(Self.target, range: "bytes=1000-1999,299999-299999,0-9"))
        mirror.wait(until: { client.response.body.count > 1000 })
        #expect(!client.isDone)
        mirror.fake.hangUp()
        mirror.wait(for: [first, client])
        try expectParts(client.response, [1000...1999, 299_999...299_999, 0...9])
        mirror.close()
    }

    @Test("a set of ranges whose content fails ends short") func failing() throws {
        let mirror = try MirrorKit()
        mirror.fake.on(Self.target) { _ in .ok(Self.bytes).corrupted(at: 10) }
        let client = mirror.ask(.get(Self.target, range: "bytes=1000-1999,299999-299999,0-9"))
        #expect(!client.response.isComplete && client.end == .fin)
        mirror.close()
    }

    @Test("manifests support several ranges") func manifest() throws {
        let mirror = try MirrorKit()
        let image = FakeImage()
        image.put(on: mirror.fake, tag: "v1")
        for _ in 0..<2 {
            let response = mirror.get("/v2/team/app/manifests/v1", range: "bytes=3-4,-2")
            let size = image.manifest.count
            try expectParts(
                response, [3...4, size - 2...size - 1], of: image.manifest, type: MediaType.ociManifest.text)
        }
        mirror.close()
    }

    @Test("random sets of ranges agree with the content, however slowly they are read") func randomSets() throws {
        let mirror = try cached()
        let seed = UInt64.random(in: 0...UInt64.max)
        var random = SeededRandom(seed: seed)
        for _ in 0..<30 {
            let count = Int.random(in: 2...40, using: &random)
            let ranges = (0..<count).map { _ in
                let first = Int.random(in: 0..<Self.bytes.count, using: &random)
                return first...min(first + Int.random(in: 0...7000, using: &random), Self.bytes.count - 1)
            }
            let field = "bytes=" + ranges.map { "\($0.lowerBound)-\($0.upperBound)" }.joined(separator: ", ")
            let manner = TestClient.ClientBehavior(
                readBytes: Int.random(in: 100...20_000, using: &random), receiveBufferBytes: 4096)
            let client = mirror.ask(.get(Self.target, range: field), manner: manner)
            try expectParts(client.response, ranges)
            if client.response.status != 206 { Issue.record("seed \(seed)") }
        }
        mirror.close()
    }
}

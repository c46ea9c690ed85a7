// What the log says of a request, and what an error answer is called by.

import Logging
import TestSupport
import Testing

@testable import Registry

@Suite struct RequestLineTests {
    static let bytes = pattern(50_000)
    static let digest = digestOf(bytes)
    static let target = "/v2/team/app/blobs/\(digest)"

    @Test("a miss logs the upstream's time, and a hit does not") func missAndHit() throws {
        let mirror = try MirrorKit()
        mirror.fake.on(Self.target) { .blob(Self.bytes, for: $0) }
        #expect(mirror.get(Self.target).status == 200)
        mirror.settle()
        #expect(mirror.get(Self.target).status == 200)
        let (miss, hit) = (mirror.log.requests[0], mirror.log.requests[1])
        for line in [miss, hit] {
            #expect(line.message == "GET \(Self.target)" && line.level == .info)
            #expect(line["status"] == "200" && line["bytes"] == "50000")
            #expect(line["ms"].flatMap { Int($0) } != nil)
            #expect(line["client"]?.hasPrefix("127.0.0.1:") == true)
            // Numbers, so that JSON has them as such.
            for key in ["status", "bytes", "ms"] {
                let isNumber = if case .stringConvertible? = line.metadata[key] { true } else { false }
                #expect(isNumber, "\(key)")
            }
        }
        #expect(miss["cache"] == "miss" && hit["cache"] == "hit")
        #expect(miss["upstream_ms"].flatMap { Int($0) } != nil)
        #expect(hit["upstream_ms"] == nil)
        #expect(miss["id"] != hit["id"] && miss["id"]?.isEmpty == false)
        mirror.close()
    }

    @Test("every request that waited for an upstream logs upstream_ms") func upstreamTime() throws {
        let mirror = try MirrorKit()
        let image = FakeImage()
        image.put(on: mirror.fake, tag: "v1")
        mirror.fake.on("/v2/team/app/tags/list", .json("{\"name\":\"team/app\",\"tags\":[\"v1\"]}"))
        mirror.fake.on("/v2/team/app/referrers/\(image.digest)", .status(404))
        _ = mirror.head("/v2/team/app/manifests/v1")
        _ = mirror.get("/v2/team/app/manifests/v1")
        _ = mirror.get("/v2/team/app/tags/list")
        _ = mirror.get("/v2/team/app/referrers/\(image.digest)")
        mirror.settle()
        #expect(mirror.log.requests.count == 4)
        for line in mirror.log.requests { #expect(line["upstream_ms"] != nil, "\(line.message)") }
        _ = mirror.get("/v2/team/app/manifests/v1")
        _ = mirror.get("/v2/")
        _ = mirror.get("/v2/team/app/manifests/not@tag")
        for line in mirror.log.requests.dropFirst(4) { #expect(line["upstream_ms"] == nil, "\(line.message)") }
        mirror.close()
    }

    @Test("upstream_ms includes the upstream's delay") func upstreamDelay() throws {
        let mirror = try MirrorKit()
        mirror.fake.on(Self.target) { request in
            var answer = FakeAnswer.blob(Self.bytes, for: request)
            answer.delayMilliseconds = 150
            return answer
        }
        _ = mirror.get(Self.target)
        // At least what the upstream waited; the loop's clock and the upstream's timer count whole milliseconds.
        #expect(mirror.log.requests[0]["upstream_ms"].flatMap { Int($0) } ?? 0 >= 149)
        mirror.close()
    }

    @Test("an error response has the request id that is logged, given or generated") func errorID() throws {
        let mirror = try MirrorKit()
        for (target, status) in [
            ("/v2/team/app/blobs/nodigest", 400), ("/nowhere", 404), ("/v2/team/app/blobs/\(Self.digest)", 404),
            ("/v2/team/app/manifests/none", 404),
        ] {
            let given = mirror.get(target, [("X-Request-Id", "quote-me.1")])
            #expect(given.status == status, "\(target)")
            #expect(given.header("x-request-id") == "quote-me.1", "\(target)")
            #expect(mirror.log.requests.last?["id"] == "quote-me.1", "\(target)")
            let made = mirror.get(target).header("x-request-id")
            #expect(made?.isEmpty == false && made == mirror.log.requests.last?["id"], "\(target)")
        }
        var post = TestClient.Request.get("/v2/team/app/blobs/uploads/", [("x-request-id", "p")])
        post.method = "POST"
        #expect(mirror.ask(post).response.header("x-request-id") == "p")
        // What is no answer to a request has an id of its own.
        let nonsense = mirror.start()
        nonsense.sendRaw(Array("nonsense\r\n\r\n".utf8))
        mirror.wait(until: { nonsense.end != nil })
        let refused = try #require(mirror.log.entries.last { $0.message == "refused" })
        #expect(nonsense.response.header("x-request-id") == refused["id"] && refused["status"] == "400")
        mirror.close()
    }

    @Test("a successful response has no X-Request-Id, and its id is logged") func successWithoutID() throws {
        let mirror = try MirrorKit()
        mirror.fake.on(Self.target) { .blob(Self.bytes, for: $0) }
        for _ in 0..<2 {
            #expect(mirror.get(Self.target, [("X-Request-Id", "mine")]).header("x-request-id") == nil)
            mirror.settle()
        }
        #expect(mirror.log.requests.map { $0["id"] } == ["mine", "mine"])
        let range = mirror.get(Self.target, range: "bytes=99999-", [("X-Request-Id", "mine")])
        #expect(range.status == 416 && range.header("x-request-id") == "mine")
        mirror.close()
    }

    @Test(
        "an invalid X-Request-Id is replaced by a generated one",
        arguments: [
            "", "two words", "quo\"te", "back\\slash", "tab\tbed", "größe", String(repeating: "x", count: 65), "\u{1}",
        ])
    func invalidIDs(_ id: String) throws {
        let mirror = try MirrorKit()
        let answer = mirror.get("/nowhere", [("X-Request-Id", id)])
        let used = try #require(answer.header("x-request-id"))
        #expect(used != id && used.utf8.allSatisfy { $0 > 0x20 && $0 < 0x7F })
        mirror.close()
    }

    @Test("a request id of maximum length and the first of several are used") func acceptedIDs() throws {
        let mirror = try MirrorKit()
        let longest = String(repeating: "~", count: RequestID.maximumBytes)
        #expect(mirror.get("/nowhere", [("X-Request-Id", longest)]).header("x-request-id") == longest)
        let two = mirror.get("/nowhere", [("X-Request-Id", "one"), ("X-Request-Id", "two")])
        #expect(two.header("x-request-id") == "one")
        mirror.close()
    }

    @Test("pipelined requests keep their own ids") func pipelinedIDs() throws {
        let mirror = try MirrorKit()
        let client = mirror.start(
            .get("/v2/team/app/manifests/a", [("X-Request-Id", "a")]), .get("/nowhere"),
            .get("/v2/team/app/manifests/c", [("X-Request-Id", "c")]))
        mirror.wait(for: [client])
        let ids = client.responses.map { $0.header("x-request-id") }
        #expect(ids[0] == "a" && ids[2] == "c" && ids[1]?.isEmpty == false)
        mirror.close()
    }

    @Test("a failed pull logs the id of the request that began it") func failedPull() throws {
        let mirror = try MirrorKit()
        mirror.fake.on(Self.target, .status(404))
        #expect(mirror.get(Self.target, [("X-Request-Id", "began-it")]).status == 404)
        let failed = try #require(mirror.log.entries.first { $0.message == "blob pull failed" })
        #expect(failed["id"] == "began-it")
        mirror.close()
    }

    @Test("generated ids are a prefix with a counter") func generatedIDs() {
        var (one, other) = (RequestIDSource(prefix: 0xAB), RequestIDSource())
        #expect(one.next() == "00000000000000ab-1")
        #expect(one.next() == "00000000000000ab-2")
        #expect(other.next().utf8.count == 18)
    }
}

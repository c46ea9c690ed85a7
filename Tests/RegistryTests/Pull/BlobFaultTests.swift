// What upstreams do wrong with blobs, each fault seen by a first client, a joiner, a late reader and a Range reader.

import TestSupport
import Testing

@testable import Registry

/// One way of an upstream to fail.
struct BlobFault: CustomTestStringConvertible, Sendable {
    /// - Parameter number: which request for the blob it is, from 0.
    typealias Answer = @Sendable (_ bytes: [UInt8], _ request: FakeRequest, _ number: Int) -> FakeAnswer

    let testDescription: String
    let answer: Answer

    init(_ name: String, _ answer: @escaping Answer) {
        testDescription = name
        self.answer = answer
    }

    /// The fault first, and right answers from then on.
    static func once(_ name: String, _ answer: @escaping @Sendable ([UInt8]) -> FakeAnswer) -> BlobFault {
        BlobFault(name) { bytes, request, number in number == 0 ? answer(bytes) : .blob(bytes, for: request) }
    }

    /// A cut at 60 %, then something else, then right answers.
    static func cutThen(_ name: String, _ answer: @escaping Answer) -> BlobFault {
        BlobFault("cut, then \(name)") { bytes, request, number in
            switch number {
            case 0: .ok(bytes).cut(after: bytes.count * 6 / 10)
            case 1: answer(bytes, request, number)
            default: .blob(bytes, for: request)
            }
        }
    }

    /// A cut at 60 %, then something else for ever.
    static func cutThenAlways(_ name: String, _ answer: @escaping Answer) -> BlobFault {
        BlobFault("cut, then always \(name)") { bytes, request, number in
            number == 0 ? .ok(bytes).cut(after: bytes.count * 6 / 10) : answer(bytes, request, number)
        }
    }
}

@Suite struct BlobFaultTests {
    static let size = 300_000
    static let bytes = pattern(size)
    static let digest = digestOf(bytes)
    static let target = "/v2/team/app/blobs/\(digest)"

    // MARK: Faults that a pull survives

    static let passing: [BlobFault] = [
        .once("cut") { .ok($0).cut(after: $0.count * 6 / 10) },
        .once("cut before the first byte") { .ok($0).cut(after: 0) },
        .once("cut before the last byte") { .ok($0).cut(after: $0.count - 1) },
        .once("reset") { .ok($0).reset(after: $0.count * 6 / 10) },
        .once("stall") { .ok($0).stall(after: $0.count * 6 / 10) },
        .once("hang up at once") { _ in .hangUp },
        .once("chunked and cut") { .ok($0).chunked().cut(after: $0.count * 6 / 10) },
        .once("drip") { .ok($0).dripping(30_000, everyMilliseconds: 2) },
        .once("chunked") { .ok($0).chunked() },
        .once("close-delimited") { .ok($0).closeDelimited() },
        .cutThen("500") { _, _, _ in .status(500) },
        .cutThen("no connection") { _, _, _ in .hangUp },
        .cutThen("the whole (200)") { bytes, _, _ in .ok(bytes) },
        .cutThen("the whole, cut again") { bytes, _, _ in .ok(bytes).cut(after: bytes.count * 8 / 10) },
        .cutThen("a shorter cut of the whole") { bytes, _, _ in .ok(bytes).cut(after: bytes.count / 10) },
        .cutThen("another range") { bytes, request, _ in
            let start = (request.rangeStart ?? 0) + 7
            var answer = FakeAnswer.ok(Array(bytes[start...]))
            answer.status = 206
            return answer.adding("Content-Range", "bytes \(start)-\(bytes.count - 1)/\(bytes.count)")
        },
        .cutThen("206 without Content-Range") { bytes, request, _ in
            var answer = FakeAnswer.ok(Array(bytes[(request.rangeStart ?? 0)...]))
            answer.status = 206
            return answer
        },
        .cutThen("416") { bytes, _, _ in .status(416, [("Content-Range", "bytes */\(bytes.count)")]) },
        BlobFault("cut every few bytes") { bytes, request, _ in
            .blob(bytes, for: request).cut(after: bytes.count / 11)
        },
    ]

    @Test("every reader gets the whole blob after a fault that passes", arguments: passing, [UInt64(1), 2])
    func passingFaults(_ fault: BlobFault, _ seed: UInt64) throws {
        let mirror = try MirrorKit { $0.noProgressMilliseconds = 400 }
        mirror.fake.chance = SeededRandom(seed: seed)
        play(fault, on: mirror)
        let audience = ConcurrentReaders(mirror, Self.target, Self.bytes)
        mirror.wait(until: { audience.isDone })
        audience.expectEveryoneIsServed("seed \(seed)")
        mirror.settle()
        let asked = mirror.fake.requests.count
        expectHealed(mirror)
        #expect(mirror.fake.requests.count == asked, "it is in the cache")
        mirror.close()
    }

    @Test("a broken transfer is resumed at its offset with one request") func resume() throws {
        let mirror = try MirrorKit()
        play(Self.passing[0], on: mirror)
        let audience = ConcurrentReaders(mirror, Self.target, Self.bytes)
        mirror.wait(until: { audience.isDone })
        #expect(mirror.fake.requests.map { $0.header("range") } == [nil, "bytes=\(Self.size * 6 / 10)-"])
        mirror.close()
    }

    // MARK: Faults that end a pull

    static let lasting: [BlobFault] = [
        .cutThenAlways("cut at once") { bytes, request, _ in .blob(bytes, for: request).cut(after: 0) },
        .cutThenAlways("reset at once") { bytes, request, _ in .blob(bytes, for: request).reset(after: 0) },
        .cutThenAlways("silence") { _, _, _ in .silent },
        .cutThenAlways("500") { _, _, _ in .status(500) },
        .cutThenAlways("404") { _, _, _ in .status(404) },
        .cutThenAlways("403") { _, _, _ in .status(403) },
        .cutThenAlways("another total") { bytes, request, _ in
            let start = request.rangeStart ?? 0
            var answer = FakeAnswer.ok(Array(bytes[start...]) + [1, 2, 3])
            answer.status = 206
            return answer.adding("Content-Range", "bytes \(start)-\(bytes.count + 2)/\(bytes.count + 3)")
        },
        .cutThenAlways("a range without end") { bytes, request, _ in
            let start = request.rangeStart ?? 0
            var answer = FakeAnswer.ok(Array(bytes[start...]) + bytes).chunked()
            answer.status = 206
            return answer.adding("Content-Range", "bytes \(start)-\(bytes.count - 1)/\(bytes.count)")
        },
        .cutThenAlways("another length") { bytes, _, _ in .ok(bytes + [1]) },
        .cutThenAlways("a shorter whole") { bytes, _, _ in .ok(Array(bytes[..<1000])) },
        BlobFault("stall") { bytes, request, _ in
            .blob(bytes, for: request).stall(after: request.rangeStart == nil ? 9000 : 0)
        },
        BlobFault("wrong bytes") { bytes, _, _ in .ok(pattern(bytes.count, seed: 9)) },
        BlobFault("first byte wrong") { bytes, _, _ in .ok(bytes).corrupted(at: 0) },
        BlobFault("last byte wrong") { bytes, _, _ in .ok(bytes).corrupted(at: bytes.count - 1) },
        BlobFault("too short") { bytes, _, _ in .ok(Array(bytes.dropLast())) },
        BlobFault("too long") { bytes, _, _ in .ok(bytes + [0]) },
        BlobFault("empty") { _, _, _ in .ok([]) },
        BlobFault("empty and chunked") { _, _, _ in .ok([]).chunked() },
        BlobFault("wrong bytes, chunked") { bytes, _, _ in .ok(bytes).corrupted(at: 5).chunked() },
        BlobFault("wrong bytes, close-delimited") { bytes, _, _ in .ok(bytes).corrupted(at: 5).closeDelimited() },
        BlobFault("close-delimited and short") { bytes, _, _ in .ok(Array(bytes[..<200_000])).closeDelimited() },
        BlobFault("an error page with status 200") { _, _, _ in
            .ok(Array("<html>sorry</html>".utf8), type: "text/html")
        },
        BlobFault("500") { _, _, _ in .status(500) },
        BlobFault("404") { _, _, _ in .status(404) },
        BlobFault("401 without a challenge") { _, _, _ in .status(401) },
        BlobFault("418") { _, _, _ in .status(418) },
        BlobFault("204") { _, _, _ in .status(204) },
        BlobFault("206 unasked") { bytes, _, _ in
            var answer = FakeAnswer.ok(Array(bytes[..<1000]))
            answer.status = 206
            return answer.adding("Content-Range", "bytes 0-999/\(bytes.count)")
        },
        BlobFault("not HTTP") { _, _, _ in .raw("SSH-2.0-OpenSSH_9\r\n") },
        BlobFault("two lengths") { _, _, _ in
            .raw("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!")
        },
        BlobFault("redirect for ever") { _, request, _ in .redirect(to: request.path) },
        BlobFault("redirect to a file") { _, _, _ in .redirect(to: "file:///etc/passwd") },
    ]

    @Test(
        "no reader gets a complete body after a lasting fault, and the next pull succeeds",
        arguments: lasting, [UInt64(1), 2])
    func lastingFaults(_ fault: BlobFault, _ seed: UInt64) throws {
        let mirror = try MirrorKit { $0.noProgressMilliseconds = 120 }
        mirror.fake.chance = SeededRandom(seed: seed)
        play(fault, on: mirror)
        // Another client's pull of another blob goes on meanwhile.
        let other = pattern(100_000, seed: 77)
        let otherTarget = "/v2/team/other/blobs/\(digestOf(other))"
        mirror.fake.on(otherTarget) { .blob(other, for: $0).dripping(5000, everyMilliseconds: 2) }
        let bystander = mirror.start(.get(otherTarget))
        let audience = ConcurrentReaders(mirror, Self.target, Self.bytes)
        mirror.wait(until: { audience.isDone && bystander.isDone })
        audience.expectNobodyIsServed("seed \(seed)")
        #expect(bystander.isComplete && bystander.response.body == other)
        mirror.settle()
        let blobs = mirror.inspectBlobs()
        #expect(blobs.wrong == [])
        #expect(blobs.count == 1, "only the other blob")

        mirror.fake.on(Self.target) { .blob(Self.bytes, for: $0) }
        expectHealed(mirror)
        mirror.settle()
        expectHealed(mirror)
        #expect(mirror.inspectBlobs().wrong == [])
        mirror.close()
    }

    /// Content put together from a lying and an honest transfer is thrown away, and asked for once more from zero.
    @Test("wrong content assembled from two transfers is discarded and pulled again from zero")
    func mixedTransfers() throws {
        let mirror = try MirrorKit()
        mirror.fake.chance = SeededRandom(seed: 5)
        mirror.fake.on(
            Self.target, { _ in .ok(Self.bytes).corrupted(at: 10).cut(after: Self.size * 6 / 10) },
            { .blob(Self.bytes, for: $0) })
        let audience = ConcurrentReaders(mirror, Self.target, Self.bytes)
        mirror.wait(until: { audience.isDone })
        audience.expectNobodyIsFooled()
        #expect(audience.first.end == .fin)
        mirror.settle()
        #expect(mirror.fake.requests.map { $0.rangeStart } == [nil, Self.size * 6 / 10, nil])
        expectHealed(mirror)
        #expect(mirror.fake.requests.count == 3, "the pull itself has healed")
        mirror.close()
    }

    @Test("bytes received before a failure are kept, and the next pull resumes behind them") func keptPartial() throws {
        let mirror = try MirrorKit()
        let client = startAndCut(mirror)
        mirror.wait(for: [client])
        #expect(client.end == .fin)
        #expect(client.response.contentLength == Self.size)
        mirror.settle()
        let asked = mirror.fake.requests.count
        mirror.fake.on(Self.target) { .blob(Self.bytes, for: $0) }
        expectHealed(mirror)
        #expect(mirror.fake.requests.dropFirst(asked).map { $0.rangeStart } == [Self.size * 6 / 10])
        mirror.close()
    }

    /// Input that we have not read makes a plain close a reset; clients resume after FIN only.
    @Test("a short body ends in FIN, not a reset, when the client's input is unread") func unreadInput() throws {
        let mirror = try MirrorKit()
        let client = startAndCut(mirror) { client in
            for _ in 0..<50 { client.send(.get("/v2/")) }
            client.sendRaw([UInt8](repeating: 0x61, count: 200_000))
        }
        mirror.wait(for: [client])
        #expect(client.end == .fin)
        #expect(client.responses.count == 1)
        #expect(client.response.isComplete == false)
        mirror.close()
    }

    // MARK: Statuses

    static let refusals: [(FakeAnswer, Int, String)] = [
        (.status(404), 404, "BLOB_UNKNOWN"), (.status(410), 404, "BLOB_UNKNOWN"), (.status(401), 403, "DENIED"),
        (.status(403), 403, "DENIED"), (.status(500), 503, "UNAVAILABLE"), (.status(503), 503, "UNAVAILABLE"),
        (.status(429, [("Retry-After", "17")]), 429, "TOOMANYREQUESTS"), (.status(418), 502, "UNKNOWN"),
        (.hangUp, 503, "UNAVAILABLE"), (.reset, 503, "UNAVAILABLE"), (.redirect(to: "ftp://x/y"), 403, "DENIED"),
    ]

    @Test("upstream errors for a blob are translated to a status and error code", arguments: refusals.indices)
    func upstreamErrors(_ index: Int) throws {
        let (answer, status, code) = Self.refusals[index]
        let mirror = try MirrorKit()
        mirror.fake.on(Self.target, answer)
        let response = mirror.get(Self.target)
        #expect(response.status == status)
        #expect(response.errorCode == code)
        mirror.close()
    }

    @Test("a silent upstream is a 503 at the deadline, and the pull continues") func silentUpstream() throws {
        let mirror = try MirrorKit { $0.policy.answerDeadlineMilliseconds = 60 }
        mirror.fake.on(Self.target, .silent)
        let audience = ConcurrentReaders(mirror, Self.target, Self.bytes)
        mirror.wait(until: { audience.isDone })
        audience.expectNobodyIsServed()
        for reader in audience.everyone { #expect(reader.response.status == 503) }
        #expect(mirror.fake.requests.count == 1)
        #expect(mirror.puller.blobsInFlight == 1, "the pull goes on for those who come back")
        mirror.close()
    }

    @Test("an unreachable upstream is a 503") func unreachable() throws {
        let mirror = try MirrorKit()
        mirror.fake.stopListening()
        let response = mirror.get(Self.target)
        #expect(response.status == 503)
        #expect(response.errorCode == "UNAVAILABLE")
        mirror.close()
    }

    /// More was promised than there is: the first readers were, and go short; what came is the blob all the same.
    @Test("a blob shorter than its Content-Length ends short for readers and is cached whole")
    func overstatedLength() throws {
        let mirror = try MirrorKit()
        mirror.fake.on(Self.target) { request in
            request.rangeStart == nil
                ? .ok(Self.bytes).claiming(length: Self.size + 1000).closing() : .blob(Self.bytes, for: request)
        }
        let audience = ConcurrentReaders(mirror, Self.target, Self.bytes)
        mirror.wait(until: { audience.isDone })
        audience.expectNobodyIsFooled()
        mirror.settle()
        expectHealed(mirror)
        // Readers have it all before the disk has its final name.
        mirror.settle()
        #expect(mirror.inspectBlobs() == ([], 1))
        mirror.close()
    }

    // MARK: Plumbing

    /// A client that has had part of the blob when its upstream breaks off for good.
    private func startAndCut(_ mirror: MirrorKit, before: (TestClient) -> Void = { _ in }) -> TestClient {
        mirror.fake.on(Self.target) { .blob(Self.bytes, for: $0).stall(after: Self.size * 6 / 10) }
        let client = mirror.start(.get(Self.target))
        mirror.wait(until: { client.response.body.count == Self.size * 6 / 10 })
        before(client)
        mirror.fake.on(Self.target) { .blob(Self.bytes, for: $0).cut(after: 0) }
        mirror.fake.hangUp()
        return client
    }

    private func play(_ fault: BlobFault, on mirror: MirrorKit) {
        var number = 0
        mirror.fake.on(Self.target) { request in
            defer { number += 1 }
            return fault.answer(Self.bytes, request, number)
        }
    }

    private func expectHealed(_ mirror: MirrorKit, _ location: SourceLocation = #_sourceLocation) {
        let healed = mirror.get(Self.target)
        #expect(healed.status == 200 && healed.isComplete, sourceLocation: location)
        #expect(healed.body == Self.bytes, sourceLocation: location)
    }
}

// Upstreams that do anything, clients that do anything, on real sockets, from one seed. What must hold:
//
// - a complete body has the right bytes, and a wrong one is never complete;
// - every connection ends by FIN, or stays usable;
// - in the end no pull is alive, and every file under blobs/ hashes to its name;
// - once the upstream is well, a clean pull succeeds.
//
// The kernel and the thread pool add chance of their own, so a seed repeats the script, and nearly always the order.

import Foundation
import TestSupport
import Testing

@testable import Configuration
@testable import OCI
@testable import Registry

/// One play: a script for the upstream, a cast of clients, and the check of what came of it.
final class PullSimulation {
    /// A few blobs, small enough for hundreds of plays and large enough for several pieces.
    private struct Content {
        let bytes: [UInt8]
        let target: String
    }

    private let seed: UInt64
    private var random: SeededRandom
    private let mirror: MirrorKit
    private var contents: [Content] = []
    private var clients: [(client: TestClient, content: Int)] = []
    private var starts: [Registry.Timer] = []
    /// Whether distant ranges are requested ahead, and where a range is distant.
    private let readsAhead: Bool
    private static let distanceBytes = 20_000
    private var pending = 0

    init(seed: UInt64) throws {
        self.seed = seed
        var random = SeededRandom(seed: seed)
        let isPrefetch = Int.random(in: 0..<4, using: &random) == 0
        let readsAhead = Int.random(in: 0..<2, using: &random) == 0
        self.readsAhead = readsAhead
        mirror = try MirrorKit {
            // Above the longest pause of any script, so that silence is told from slowness.
            $0.noProgressMilliseconds = 120
            $0.policy.answerDeadlineMilliseconds = 150
            $0.prefetchLayers = isPrefetch ? .manifest : .never
            $0.aheadLimits = readsAhead ? Self.aheadLimits : nil
        }
        self.random = random
        mirror.fake.chance = SeededRandom(seed: seed &+ 1)
    }

    private static var aheadLimits: AheadLimits {
        var limits = AheadLimits()
        limits.distanceBytes = Int64(distanceBytes)
        limits.longestBytes = 60_000
        limits.shortestBytes = 2000
        return limits
    }

    func play() {
        for _ in 0..<chance(1, 2) { addContent() }
        // Sometimes there are many at once.
        for _ in 0..<(oneIn(40) ? 100 : chance(2, 7)) { addClient() }
        mirror.wait(until: { [self] in pending == 0 && clients.allSatisfy { $0.client.isDone } })
        mirror.settle()
        check()
        heal()
        for start in starts { start.close() }
        mirror.close()
    }

    private func chance(_ least: Int, _ most: Int) -> Int { Int.random(in: least...most, using: &random) }

    private func oneIn(_ count: Int) -> Bool { chance(1, count) == 1 }

    // MARK: The upstream

    private func addContent() {
        let size = [0, 1, 2, 1000, 65_536, 70_001, 200_000, 300_000][chance(0, 7)]
        let bytes = pattern(size, seed: seed &* 31 &+ UInt64(contents.count))
        let digest = digestOf(bytes, oneIn(5) ? .sha512 : .sha256)
        let target = "/v2/team/app/blobs/\(digest)"
        contents.append(Content(bytes: bytes, target: target))
        // From the second or third question on it is mostly well, so that resumption is seen and not only defeat.
        var script: [(FakeRequest) -> FakeAnswer] = (0..<chance(1, 3)).map { _ in misbehaviour(bytes) }
        if oneIn(3) { script.append(misbehaviour(bytes)) } else { script.append({ .blob(bytes, for: $0) }) }
        mirror.fake.on(target, inOrder: script)
    }

    private func misbehaviour(_ bytes: [UInt8]) -> (FakeRequest) -> FakeAnswer {
        let place = bytes.isEmpty ? 0 : chance(0, bytes.count - 1)
        let shape = chance(0, 2)
        let isSlow = oneIn(6)
        let kind = chance(0, 16)
        return { request in
            var answer = Self.bend(kind, .blob(bytes, for: request), bytes, request, place)
            if answer.status == 200, shape == 1 { answer = answer.chunked() }
            if answer.status == 200, shape == 2, answer.fault == nil { answer = answer.closeDelimited() }
            if isSlow { answer = answer.dripping(max(1, bytes.count / 8), everyMilliseconds: 3) }
            return answer
        }
    }

    private static func bend(
        _ kind: Int, _ right: FakeAnswer, _ bytes: [UInt8], _ request: FakeRequest, _ place: Int
    ) -> FakeAnswer {
        switch kind {
        case 0, 1, 2: right.cut(after: place)
        case 3: right.reset(after: place)
        case 4: right.stall(after: place)
        case 5: right.body.isEmpty ? right : right.corrupted(at: place % right.body.count)
        case 6: right.body.isEmpty ? right : right.corrupted(at: place % right.body.count).cut(after: place)
        case 7: .status([404, 403, 500, 503, 418, 204, 401][place % 7])
        case 8: [.hangUp, .reset, .silent][place % 3]
        case 9: .ok(Array(bytes.prefix(place)))
        case 10: .ok(bytes + [1, 2, 3])
        case 11: .ok(bytes)
        case 12: right.claiming(length: right.body.count + 100).closing()
        case 13: shifted(bytes, request)
        case 14: right.delayed(milliseconds: UInt64(place % 40))
        case 15: otherTotal(right)
        default: right
        }
    }

    /// A 206 for another place than the one asked for.
    private static func shifted(_ bytes: [UInt8], _ request: FakeRequest) -> FakeAnswer {
        guard let start = request.rangeStart, start > 0, start < bytes.count else { return .ok(bytes) }
        var answer = FakeAnswer.ok(Array(bytes[(start - 1)...]))
        answer.status = 206
        return answer.adding("Content-Range", "bytes \(start - 1)-\(bytes.count - 1)/\(bytes.count)")
    }

    /// A 206 that states another size of the whole.
    private static func otherTotal(_ right: FakeAnswer) -> FakeAnswer {
        guard let range = right.headers.first(where: { $0.0 == "Content-Range" })?.1 else { return right }
        var answer = right
        answer.headers.removeAll { $0.0 == "Content-Range" }
        return answer.adding("Content-Range", range + "0")
    }

    // MARK: The clients

    private func addClient() {
        let content = chance(0, contents.count - 1)
        let size = contents[content].bytes.count
        var manner = TestClient.ClientBehavior()
        if oneIn(4) { manner = slow(manner) }
        if oneIn(5) {
            manner.leavesAfterBodyBytes = chance(0, max(1, size))
            manner.leavesByReset = oneIn(2)
        }
        manner.keepsOpen = oneIn(3)
        let requests = (0..<(oneIn(4) ? 3 : 1)).map { _ in request(content, size) }
        let timer = Registry.Timer(on: mirror.run.loop) { [self] in
            pending -= 1
            let client = mirror.start(requests[0], manner: manner)
            for request in requests.dropFirst() { client.send(request) }
            clients.append((client, content))
        }
        pending += 1
        starts.append(timer)
        timer.start(afterMilliseconds: UInt64(oneIn(2) ? 0 : chance(0, 30)))
    }

    private func slow(_ manner: TestClient.ClientBehavior) -> TestClient.ClientBehavior {
        var slow = manner
        slow.readBytes = chance(4_000, 60_000)
        slow.pauseMilliseconds = UInt64(chance(0, 3))
        slow.receiveBufferBytes = 8192
        return slow
    }

    private func request(_ content: Int, _ size: Int) -> TestClient.Request {
        let target = contents[content].target
        var request = TestClient.Request.get(target)
        switch chance(0, 7) {
        case 0: request = .head(target)
        // Beyond the last byte of any of them: the last byte is what is withheld.
        case 1, 2: request = .get(target, range: "bytes=\(chance(0, size))-")
        case 3: request = .get(target, range: "bytes=-\(chance(1, size + 1))")
        case 4 where readsAhead:
            let first = chance(0, size)
            request = .get(target, range: "bytes=\(first)-\(first + chance(0, 70_000))")
        default: break
        }
        if oneIn(12) { request.version = "1.0" }
        if oneIn(6) { request.headers.append(("Connection", "close")) }
        return request
    }

    // MARK: What must hold

    private func check() {
        for (client, content) in clients where !hasDistantRange(client) {
            ConcurrentReaders.expectHonest(client, contents[content].bytes, "seed \(seed), client \(client.number)")
        }
        checkOpenConnections()
        #expect(mirror.inspectBlobs().wrong == [], "seed \(seed)")
        #expect(mirror.puller.blobsInFlight == 0, "seed \(seed)")
    }

    /// Distant ranges are sent before the digest is verified, so an upstream that lies is believed.
    private func hasDistantRange(_ client: TestClient) -> Bool {
        readsAhead
            && client.responses.contains { response in
                let range = response.header("content-range")?.dropFirst("bytes ".count).split(separator: "-")
                return range?.first.flatMap { Int($0) } ?? 0 > Self.distanceBytes
            }
    }

    /// A connection that was kept, and need not have been closed, answers again.
    private func checkOpenConnections() {
        let kept = clients.map(\.client).filter { client in
            client.manner.keepsOpen && client.end == nil
                && client.requests.allSatisfy { $0.version == "1.1" && $0.headers.allSatisfy { $0.0 != "Connection" } }
        }
        for client in kept { client.send(.get("/v2/")) }
        mirror.wait(for: kept)
        for client in kept {
            let isUsable = client.isComplete && client.responses.last?.status == 200
            #expect(isUsable, "seed \(seed), client \(client.number): \(ConcurrentReaders.story(client))")
        }
    }

    /// With an upstream that is well again, everything can be had, and is kept.
    private func heal() {
        for content in contents { mirror.fake.on(content.target) { .blob(content.bytes, for: $0) } }
        for _ in 0..<2 {
            for content in contents {
                let response = cleanPull(content.target)
                let isRight = response.isComplete && response.status == 200 && response.body == content.bytes
                #expect(isRight, "seed \(seed): a clean pull gave \(response.status), \(response.body.count) bytes")
            }
            mirror.settle()
        }
        let blobs = mirror.inspectBlobs()
        #expect(blobs.wrong == [], "seed \(seed)")
        #expect(blobs.count == Set(contents.map(\.target)).count, "seed \(seed)")
    }
}

extension PullSimulation {
    /// A busy machine can make our own short deadlines pass: such an answer, and no other, is asked for again.
    private func cleanPull(_ target: String) -> TestClient.Response {
        for _ in 0..<5 {
            let response = mirror.get(target)
            if response.status != 503, response.isComplete { return response }
            mirror.settle()
        }
        return mirror.get(target)
    }
}

@Suite struct PullSimulationTests {
    /// Plays of one run. `SIMULATION_FIRST_SEED` begins elsewhere and `SIMULATION_PLAYS` makes it longer.
    static let plays = UInt64(ProcessInfo.processInfo.environment["SIMULATION_PLAYS"] ?? "") ?? 320
    static let firstSeed = UInt64(ProcessInfo.processInfo.environment["SIMULATION_FIRST_SEED"] ?? "") ?? 1

    /// In shares, so that the test runner has something to run side by side.
    @Test("random faults never yield a wrong complete body", arguments: 0..<UInt64(4))
    func randomFaults(_ share: UInt64) throws {
        for number in stride(from: share, to: Self.plays, by: 4) {
            try PullSimulation(seed: Self.firstSeed &+ number).play()
        }
    }
}

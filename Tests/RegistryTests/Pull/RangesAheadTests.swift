// Ranges far ahead of a pull, as clients of lazy and partial pulls request them.

import TestSupport
import Testing

@testable import OCI
@testable import Registry

@Suite struct RangesAheadTests {
    static let bytes = pattern(300_000, seed: 41)
    static let digest = digestOf(bytes)
    static let target = "/v2/team/app/blobs/\(digest)"

    private static var limits: AheadLimits {
        var limits = AheadLimits()
        limits.distanceBytes = 10_000
        limits.longestBytes = 50_000
        limits.shortestBytes = 1000
        return limits
    }

    /// A mirror whose upstream stands still after `count` bytes of the whole blob, with the pull under way. Requests
    /// with a Range get `ranges`.
    private func stalled(
        after count: Int = 20_000, limits: AheadLimits? = limits,
        ranges: @escaping (FakeRequest) -> FakeAnswer = { .blob(Self.bytes, for: $0) }
    ) throws -> (MirrorKit, TestClient) {
        let mirror = try MirrorKit { $0.aheadLimits = limits }
        mirror.fake.on(Self.target) { $0.rangeStart == nil ? .ok(Self.bytes).stall(after: count) : ranges($0) }
        let first = mirror.start(.get(Self.target))
        mirror.wait(until: { first.response.body.count == count })
        return (mirror, first)
    }

    /// The Range fields of the upstream's requests after the first.
    private func ranges(_ mirror: MirrorKit) -> [String] {
        mirror.fake.requests.dropFirst().map { $0.header("range") ?? "none" }
    }

    /// Lets the stalled pull resume, and checks its end.
    private func expectWhole(_ mirror: MirrorKit, _ first: TestClient) {
        mirror.fake.hangUp()
        mirror.wait(for: [first])
        #expect(first.isComplete && first.response.body == Self.bytes)
        mirror.settle()
        #expect(mirror.inspectBlobs() == ([], 1))
        #expect(mirror.get(Self.target).body == Self.bytes)
    }

    @Test("a distant range is requested at once, and the pull fills the gaps around it") func distantRange() throws {
        let (mirror, first) = try stalled()
        let range = mirror.ask(.get(Self.target, range: "bytes=200000-209999")).response
        #expect(range.status == 206 && range.header("content-range") == "bytes 200000-209999/300000")
        #expect(range.body == Array(Self.bytes[200_000..<210_000]))
        #expect(!first.isDone)
        expectWhole(mirror, first)
        #expect(ranges(mirror) == ["bytes=200000-209999", "bytes=20000-199999", "bytes=210000-"])
        #expect(mirror.metrics.pulls.aheadSucceeded == 1 && mirror.metrics.pulls.aheadBytes == 10_000)
        #expect(mirror.metrics.pulls.resumed == 1)
        mirror.close()
    }

    @Test("a suffix range is sent with its last byte, and the pull ends before it") func suffix() throws {
        let (mirror, first) = try stalled()
        #expect(mirror.get(Self.target, range: "bytes=-5000").body == Self.bytes.suffix(5000))
        // What is there already is not requested again.
        #expect(mirror.get(Self.target, range: "bytes=299000-299999").body == Self.bytes.suffix(1000))
        expectWhole(mirror, first)
        #expect(ranges(mirror) == ["bytes=295000-299999", "bytes=20000-294999"])
        mirror.close()
    }

    @Test("a short range is requested with what follows it") func shortest() throws {
        let (mirror, first) = try stalled()
        #expect(mirror.get(Self.target, range: "bytes=250000-250001").body == Array(Self.bytes[250_000...250_001]))
        #expect(mirror.get(Self.target, range: "bytes=250002-250500").body == Array(Self.bytes[250_002...250_500]))
        expectWhole(mirror, first)
        #expect(ranges(mirror).first == "bytes=250000-250999")
        mirror.close()
    }

    @Test("a near range, an open-ended one and the whole wait for the pull") func waiting() throws {
        let (mirror, first) = try stalled()
        let others = ["bytes=25000-26000", "bytes=200000-", nil].map {
            mirror.start(.get(Self.target, range: $0))
        }
        mirror.wait(until: { others[2].response.body.count == 20_000 })
        #expect(mirror.fake.requests.count == 1 && others.allSatisfy { !$0.isDone })
        expectWhole(mirror, first)
        mirror.wait(for: others)
        #expect(others[1].response.body == Self.bytes.suffix(100_000))
        #expect(ranges(mirror) == ["bytes=20000-"])
        mirror.close()
    }

    @Test("a range that begins near the pull follows it to its end, through spans that others requested")
    func nearBegin() throws {
        var isFirst = true
        let (mirror, first) = try stalled { request in
            defer { isFirst = false }
            let right = FakeAnswer.blob(Self.bytes, for: request)
            return isFirst ? right.corrupted(at: right.body.count - 1) : right
        }
        // The last bytes of the blob are wrong, and have been sent to a client that asked for them.
        #expect(mirror.get(Self.target, range: "bytes=-5000").body.count == 5000)
        let whole = mirror.start(.get(Self.target, range: "bytes=0-299999"))
        mirror.fake.hangUp()
        mirror.wait(for: [whole, first])
        #expect(!whole.isComplete && !first.isComplete)
        mirror.settle()
        #expect(mirror.inspectBlobs() == ([], 1))
        mirror.close()
    }

    @Test("without rangesAhead every range waits for the pull") func off() throws {
        let (mirror, first) = try stalled(limits: nil)
        let client = mirror.start(.get(Self.target, range: "bytes=200000-209999"))
        expectWhole(mirror, first)
        mirror.wait(for: [client])
        #expect(client.response.body == Array(Self.bytes[200_000..<210_000]))
        #expect(ranges(mirror) == ["bytes=20000-"])
        mirror.close()
    }

    @Test("a long range is requested in parts") func longRange() throws {
        let (mirror, first) = try stalled()
        #expect(mirror.get(Self.target, range: "bytes=100000-219999").body == Array(Self.bytes[100_000..<220_000]))
        expectWhole(mirror, first)
        #expect(
            ranges(mirror) == [
                "bytes=100000-149999", "bytes=150000-199999", "bytes=200000-219999", "bytes=20000-99999",
                "bytes=220000-",
            ])
        mirror.close()
    }

    @Test("near ranges of one request are requested as one") func severalRanges() throws {
        let (mirror, first) = try stalled()
        let response = mirror.get(Self.target, range: "bytes=100000-100999,120000-120999,130000-130999")
        #expect(response.status == 206 && response.body.count > 3000)
        expectWhole(mirror, first)
        #expect(ranges(mirror).first == "bytes=100000-130999")
        mirror.close()
    }

    @Test(
        "readers wait for the pull when the upstream does not answer the range as asked",
        arguments: ["whole", "total", "place", "length", "encoded", "refused", "416"])
    func wrongAnswers(_ kind: String) throws {
        var isFirst = true
        let (mirror, first) = try stalled { request in
            defer { isFirst = false }
            guard isFirst else { return .blob(Self.bytes, for: request) }
            let right = FakeAnswer.blob(Self.bytes, for: request)
            func claiming(_ range: String) -> FakeAnswer {
                var answer = right
                answer.headers = right.headers.filter { $0.0 != "Content-Range" }
                return answer.adding("Content-Range", "bytes \(range)")
            }
            return switch kind {
            case "whole": .ok(Self.bytes)
            case "total": claiming("200000-209999/300001")
            case "place": claiming("199999-209998/300000")
            case "length": claiming("200000-209998/300000")
            case "encoded": right.adding("Content-Encoding", "gzip")
            case "refused": .status(403)
            default: .status(416)
            }
        }
        let client = mirror.start(.get(Self.target, range: "bytes=200000-209999"))
        mirror.wait(until: { mirror.metrics.pulls.aheadFailed == 1 })
        #expect(!client.isDone)
        // It is not asked again.
        let other = mirror.start(.get(Self.target, range: "bytes=250000-259999"))
        expectWhole(mirror, first)
        mirror.wait(for: [client, other])
        #expect(client.response.body == Array(Self.bytes[200_000..<210_000]))
        #expect(other.response.body == Array(Self.bytes[250_000..<260_000]))
        #expect(mirror.fake.requests.count == 3)
        mirror.close()
    }

    @Test("a request ahead that breaks is continued where it broke") func broken() throws {
        var isFirst = true
        let (mirror, first) = try stalled { request in
            defer { isFirst = false }
            let right = FakeAnswer.blob(Self.bytes, for: request)
            return isFirst ? right.cut(after: 4000) : right
        }
        #expect(mirror.get(Self.target, range: "bytes=200000-209999").body == Array(Self.bytes[200_000..<210_000]))
        expectWhole(mirror, first)
        #expect(ranges(mirror).prefix(2) == ["bytes=200000-209999", "bytes=204000-209999"])
        #expect(mirror.metrics.pulls.aheadFailed == 1)
        mirror.close()
    }

    @Test("wrong bytes ahead are never a part of a whole body, and are pulled anew") func wrongBytes() throws {
        var isFirst = true
        let (mirror, first) = try stalled { request in
            defer { isFirst = false }
            let right = FakeAnswer.blob(Self.bytes, for: request)
            return isFirst ? right.corrupted(at: 10) : right
        }
        // The client gets them, as docs/security.md says.
        #expect(mirror.get(Self.target, range: "bytes=200000-209999").body.count == 10_000)
        mirror.fake.hangUp()
        mirror.fake.on(Self.target) { .blob(Self.bytes, for: $0) }
        mirror.wait(for: [first])
        #expect(!first.isComplete && first.end == .fin)
        mirror.settle()
        #expect(mirror.inspectBlobs() == ([], 1))
        #expect(mirror.get(Self.target).body == Self.bytes)
        #expect(
            mirror.metrics.pulls.verificationFailures == [0, 1] || mirror.metrics.pulls.verificationFailures == [1, 0])
        mirror.close()
    }

    @Test("four requests ahead run for one blob, and further readers wait") func limits() throws {
        var isHeld = true
        let (mirror, first) = try stalled { request in
            let right = FakeAnswer.blob(Self.bytes, for: request)
            return isHeld ? right.stall(after: 100) : right
        }
        let clients = (0..<6).map { number in
            mirror.start(.get(Self.target, range: "bytes=\(100_000 + number * 20_000)-\(101_999 + number * 20_000)"))
        }
        mirror.wait(until: { clients.filter { $0.response.body.count == 100 }.count == 4 })
        #expect(mirror.fake.requests.count == 5)
        isHeld = false
        mirror.fake.hangUp()
        mirror.wait(for: clients + [first])
        for (number, client) in clients.enumerated() {
            #expect(
                client.response.body
                    == Array(Self.bytes[(100_000 + number * 20_000)...][..<(102_000 + number * 20_000)]))
        }
        #expect(first.response.body == Self.bytes)
        mirror.close()
    }

    @Test("a pull that catches up with a running request waits for its end") func catchingUp() throws {
        let mirror = try MirrorKit { $0.aheadLimits = Self.limits }
        mirror.fake.on(Self.target) { request in
            let right = FakeAnswer.blob(Self.bytes, for: request)
            return switch request.rangeStart {
            case nil: right.dripping(10_000, everyMilliseconds: 1)
            case 200_000: right.dripping(500, everyMilliseconds: 2)
            default: right
            }
        }
        let first = mirror.start(.get(Self.target))
        mirror.wait(until: { first.response.body.count > 0 })
        let client = mirror.start(.get(Self.target, range: "bytes=200000-239999"))
        mirror.wait(for: [client, first])
        #expect(client.response.body == Array(Self.bytes[200_000..<240_000]))
        #expect(first.isComplete && first.response.body == Self.bytes)
        #expect(ranges(mirror) == ["bytes=200000-239999", "bytes=240000-"])
        mirror.settle()
        #expect(mirror.inspectBlobs() == ([], 1))
        mirror.close()
    }

    @Test("a pull that ends ends its requests ahead, and the next one begins with what was pulled in order")
    func failedPull() throws {
        let (mirror, first) = try stalled { request in
            request.rangeStart == 200_000 ? .blob(Self.bytes, for: request).stall(after: 3000) : .status(404)
        }
        let client = mirror.start(.get(Self.target, range: "bytes=200000-239999"))
        mirror.wait(until: { client.response.body.count == 3000 })
        mirror.fake.on(Self.target) { _ in .status(404) }
        mirror.fake.hangUp()
        mirror.wait(for: [first, client])
        #expect(!first.isComplete && !client.isComplete)
        mirror.settle()
        mirror.fake.on(Self.target) { .blob(Self.bytes, for: $0) }
        #expect(mirror.get(Self.target).body == Self.bytes)
        #expect(mirror.fake.requests.last?.rangeStart == 20_000)
        mirror.settle()
        #expect(mirror.inspectBlobs() == ([], 1))
        mirror.close()
    }
}

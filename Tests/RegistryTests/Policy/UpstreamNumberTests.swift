// The numbers in an upstream's answers: lengths, ranges, times and lives of tokens, at the ends of what fits.

import TestSupport
import Testing

@testable import OCI
@testable import Registry

@Suite struct UpstreamNumberTests {
    private static let host = RegistryHost.dockerHub

    private static func head(_ status: Int, _ fields: (String, String)...) throws -> UpstreamHead? {
        var all = UpstreamFields()
        for (name, value) in fields { all.append(name: name, value: value) }
        return UpstreamHead(status: status, fields: all, isHead: false, url: try #require(UpstreamURL("http://a/")))
    }

    @Test("a Content-Length is a valid size, or the response is refused", arguments: Extremes.texts)
    func contentLengths(_ text: String) throws {
        let head = try Self.head(200, ("Content-Length", text))
        switch ContentSize.read(text.trimmed) {
        case .bytes(let bytes): #expect(head?.contentLength == bytes && head?.refusedSize == nil)
        case .tooLarge:
            let head = try #require(head)
            #expect(head.contentLength == nil && !head.isCloseDelimited)
            let error = try #require(UpstreamAnswer.error(for: head, kind: .blob, host: Self.host))
            #expect(error.status == 502 && error.code == .sizeInvalid && error.retryAfterSeconds == nil)
            #expect(error.message.contains("docker.io") && error.message.contains("Content-Length"))
            #expect(error.message.contains(text.prefix(80)) && error.message.utf8.count < 250)
        case .malformed:
            // No field at all is what an empty list of lengths means.
            #expect(text.trimmed.isEmpty || text == "5," ? head?.contentLength != 0 : head == nil, "\(text)")
        }
    }

    @Test("the length of a chunked body is that of its chunks, whatever Content-Length states")
    func chunkedBodies() throws {
        let head = try #require(
            try Self.head(200, ("Content-Length", "9223372036854775807"), ("Transfer-Encoding", "chunked")))
        #expect(head.contentLength == nil && head.refusedSize == nil)
        #expect(UpstreamAnswer.error(for: head, kind: .blob, host: Self.host) == nil)
    }

    @Test("a Content-Range is a valid size range, or refused, or ignored as malformed")
    func contentRanges() throws {
        for first in Extremes.texts {
            for last in Extremes.texts {
                for total in Extremes.texts + ["*"] {
                    guard let head = try Self.head(206, ("Content-Range", "bytes \(first)-\(last)/\(total)")) else {
                        Issue.record("no head: \(first)-\(last)/\(total)")
                        continue
                    }
                    if let range = head.contentRange {
                        #expect(range.first >= 0 && range.first <= range.last && range.last <= ContentSize.maximum)
                        #expect(range.total.map { $0 > range.last && $0 <= ContentSize.maximum } ?? (total == "*"))
                    }
                    let isTooLarge = [first, last, total].contains { ContentSize.read($0) == .tooLarge }
                    if isTooLarge { #expect(head.refusedSize != nil) }
                }
            }
        }
        #expect(try Self.head(416, ("Content-Range", "bytes */99999999999999999999"))?.refusedSize != nil)
        #expect(try Self.head(416, ("Content-Range", "bytes */10"))?.refusedSize == nil)
        // Of an answer that is whole the field says nothing.
        #expect(try Self.head(200, ("Content-Range", "bytes 0-1/99999999999999999999"))?.refusedSize == nil)
    }

    @Test("an error response counts by its status, whatever the size of its body")
    func errors() throws {
        for (status, expected) in [(404, 404), (401, 403), (500, 503), (429, 429)] {
            let head = try #require(try Self.head(status, ("Content-Length", "9223372036854775807")))
            #expect(UpstreamAnswer.error(for: head, kind: .blob, host: Self.host)?.status == expected)
        }
    }

    @Test("Retry-After is a bounded number of seconds or nothing", arguments: Extremes.texts)
    func retryAfter(_ text: String) throws {
        let seconds = RetryAfter.seconds(text, unixSeconds: 1_700_000_000)
        let number = OutsideNumber.decimal(text.trimmed, clampedTo: 0...Int(Int32.max))
        #expect(seconds == number, "\(text)")
        var memory = RateLimitMemory()
        let repository = UpstreamRepository(host: Self.host, repository: try #require(RepositoryName("team/app")))
        for now: UInt64 in [0, 1_000_000] {
            _ = memory.refused(repository, retryAfterSeconds: seconds, askedMilliseconds: now, now: now)
        }
        let left = try #require(memory.secondsLeft(now: 1_000_000)[Self.host])
        #expect((1...RateLimitMemory.maximumNamedSeconds).contains(left))
    }

    @Test(
        "dates outside their ranges are ignored",
        arguments: [
            "Sun, 06 Nov 99999999999999999999 08:49:37 GMT", "Sun, 06 Nov 9223372036854775807 08:49:37 GMT",
            "Sun, 99999999999999999999 Nov 1994 08:49:37 GMT", "Sun, 06 Nov 1994 99999999999999999999:49:37 GMT",
            "Sun, 32 Nov 1994 08:49:37 GMT", "Sun, 06 Nov 1994 08:60:37 GMT", "Sun, 06 Nov 1969 08:49:37 GMT",
        ])
    func dates(_ text: String) {
        #expect(RetryAfter.date(text) == nil)
    }

    @Test("a Retry-After date is never a negative delay, whatever the time is")
    func farDates() {
        for now in Extremes.numbers {
            #expect(RetryAfter.seconds("Fri, 31 Dec 9999 23:59:60 GMT", unixSeconds: now) ?? -1 >= 0)
        }
    }

    @Test("a token lives from a minute to a day, whatever the value of expires_in", arguments: Extremes.json)
    func tokenLifetimes(_ life: String) throws {
        let reply = try TokenReply.decode(Array("{\"token\":\"t\",\"expires_in\":\(life)}".utf8))
        #expect((60...86_400).contains(reply.expiresInSeconds), "\(life)")
        var cache = TokenCache()
        let key = TokenCache.Key(realm: "r", service: nil, scope: "s", identity: "")
        for now: UInt64 in [0, 5, .max - 1, .max] { cache.insert(reply, for: key, now: now) }
        #expect(cache.count == 1)
    }

    @Test("a pull ends whatever sizes are reported to it, in any order")
    func pullMachine() {
        let numbers = Extremes.numbers.filter { $0 >= 0 }
        let seed = UInt64.random(in: 0...UInt64.max)
        var random = SeededRandom(seed: seed)
        func number() -> Int64 { numbers.randomElement(using: &random) ?? 0 }
        func maybe() -> Int64? { Bool.random(using: &random) ? number() : nil }
        for _ in 0..<3000 {
            var machine = PullMachine(firstBackOffMilliseconds: random.next())
            var steps = 0
            while !machine.isOver, steps < 200 {
                steps += 1
                let event: PullMachine.Event =
                    switch random.next() % 10 {
                    case 0, 1: .opened(offset: number())
                    case 2, 3, 4:
                        .answered(
                            .init(
                                status: [200, 206, 416, 500].randomElement(using: &random) ?? 200,
                                contentLength: maybe(), rangeFirst: maybe(), rangeTotal: maybe()))
                    case 5: .reserved
                    case 6: .bodyEnded(total: number())
                    case 7: .broke(.unavailable("seed \(seed)"), received: number())
                    case 8: .backOffElapsed
                    default: .verified(Bool.random(using: &random))
                    }
                for action in machine.handle(event) {
                    if case .request(let offset) = action { #expect(offset >= 0, "seed \(seed)") }
                }
            }
        }
    }
}

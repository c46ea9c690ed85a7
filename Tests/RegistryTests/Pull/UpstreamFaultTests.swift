// Upstreams that break off, stall, throttle or send no HTTP, as the client sees them over real sockets.

import TestSupport
import Testing

@testable import OCI
@testable import Registry

@Suite struct UpstreamFaultTests {
    @Test("a body cut short is a broken transfer without retry") func cutBody() throws {
        let kit = try UpstreamKit()
        kit.fake.on(UpstreamKit.path, .ok(pattern(100_000)).cut(after: 60_000))
        let record = kit.ask()
        #expect(record.failureKind == .broken)
        #expect(record.body == Array(pattern(100_000)[..<60_000]))
        #expect(kit.fake.requests.count == 1)
        kit.run.close()
    }

    @Test("a reset body and a cut chunked body are broken transfers") func resetBody() throws {
        let kit = try UpstreamKit()
        let body = pattern(100_000)
        kit.fake.on(UpstreamKit.path, [.ok(body).reset(after: 50_000), .ok(body).chunked().cut(after: 50_000)])
        for _ in 0..<2 { #expect(kit.ask().failureKind == .broken) }
        kit.run.close()
    }

    @Test("a connection that ends before a response is retried once") func hangUp() throws {
        let kit = try UpstreamKit()
        kit.fake.on(UpstreamKit.path, [.hangUp, .ok([7])])
        #expect(kit.ask().body == [7])
        #expect(kit.fake.requests.count == 2)
        kit.fake.on(UpstreamKit.path, .reset)
        #expect(kit.ask().failureKind == .broken)
        kit.run.close()
    }

    @Test("a reused connection that ends is replaced by a new one") func deadReused() throws {
        let kit = try UpstreamKit()
        kit.fake.on(UpstreamKit.path, [.ok([1]), .hangUp, .ok([2])])
        #expect(kit.ask().body == [1])
        #expect(kit.ask().body == [2])
        kit.run.close()
    }

    @Test("an upstream without a listener is unreachable") func noListener() throws {
        let kit = try UpstreamKit()
        kit.fake.stopListening()
        let record = kit.ask()
        #expect(record.failureKind == .unreachable)
        #expect(record.failure?.registryError(host: UpstreamKit.host).status == 503)
        kit.run.close()
    }

    @Test("a silent upstream and a stalled body time out without progress") func noProgress() throws {
        let kit = try UpstreamKit(noProgressMilliseconds: 150)
        kit.fake.on(UpstreamKit.path, [.silent, .ok(pattern(1000)).stall(after: 500)])
        let silent = kit.ask()
        #expect(silent.failureKind == .timedOut)
        #expect(silent.head == nil)
        let stalled = kit.ask()
        #expect(stalled.failureKind == .timedOut)
        #expect(stalled.body.count == 500)
        #expect(kit.fake.requests.count == 2)
        kit.run.close()
    }

    @Test("a slow body and a paused reader do not time out") func slowBody() throws {
        let kit = try UpstreamKit(noProgressMilliseconds: 200)
        kit.fake.on(UpstreamKit.path, .ok(pattern(40)).dripping(1, everyMilliseconds: 20))
        #expect(kit.ask().body.count == 40)

        kit.fake.on(UpstreamKit.path, .ok(pattern(1000)))
        let record = ExchangeRecord()
        record.onEnd = { kit.run.finish() }
        record.onBytes = { exchange, _ in
            let timer = Timer(on: kit.run.loop) { exchange.resume() }
            timer.start(afterMilliseconds: 600)
            kit.run.atClose { timer.close() }
            return false
        }
        kit.fake.on(UpstreamKit.path, .ok(pattern(60_000)))
        _ = kit.start(record: record)
        kit.run.run()
        #expect(record.failure == nil)
        #expect(record.body.count == 60_000)
        kit.run.close()
    }

    @Test("a response that is not valid HTTP is a broken transfer") func notHTTP() throws {
        let kit = try UpstreamKit()
        let contradiction = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!"
        let huge =
            "HTTP/1.1 200 OK\r\n" + String(repeating: "X-Y: \(String(repeating: "z", count: 1000))\r\n", count: 100)
        for text in ["SSH-2.0-OpenSSH_9\r\n", contradiction, huge + "\r\n"] {
            kit.fake.on(UpstreamKit.path, .raw(text))
            let record = kit.ask()
            #expect(record.failureKind == .broken && record.head == nil, "\(text.prefix(40))")
        }
        kit.run.close()
    }

    @Test("a 429 with Retry-After pauses later requests") func rateLimit() throws {
        let kit = try UpstreamKit()
        kit.fake.answer = { _ in .status(429, [("Retry-After", "30")]) }
        let first = kit.ask()
        #expect(first.head?.status == 429)
        let seconds = try #require(first.head?.retryAfterSeconds)
        #expect((29...30).contains(seconds))
        for _ in 0..<5 {
            let error = try #require(kit.ask(kind: .manifest).refusal)
            #expect(error.status == 429)
            #expect(error.retryAfterSeconds.map { (1...30).contains($0) } == true)
        }
        #expect(kit.fake.requests.count == 1)
        kit.run.close()
    }
}

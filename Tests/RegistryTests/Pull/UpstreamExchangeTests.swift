// The client against a fake upstream over real sockets: bodies, heads, pausing and cancelling.

import TestSupport
import Testing

@testable import OCI
@testable import Registry

@Suite struct UpstreamExchangeTests {
    @Test("a body of any size arrives whole", arguments: [0, 1, 16_384, 1_000_003]) func body(size: Int) throws {
        let kit = try UpstreamKit()
        let body = pattern(size)
        kit.fake.on(UpstreamKit.path, .ok(body))
        let record = kit.ask()
        #expect(record.failure == nil)
        #expect(record.head?.status == 200)
        #expect(record.head?.contentLength == Int64(size))
        #expect(record.head?.isCloseDelimited == false)
        #expect(record.body == body)
        #expect(record.faults == [])
        kit.run.close()
    }

    @Test("a body arrives whole in random pieces with random pauses", arguments: 0..<20 as Range<UInt64>)
    func pieces(seed: UInt64) throws {
        let kit = try UpstreamKit()
        let body = pattern(200_000, seed: seed)
        kit.fake.chance = SeededRandom(seed: seed)
        var random = SeededRandom(seed: seed &+ 1)
        kit.fake.on(UpstreamKit.path, seed % 2 == 0 ? .ok(body) : .ok(body).chunked())
        let record = ExchangeRecord()
        record.onEnd = { kit.run.finish() }
        // Pauses at random places, resumes at once or after a while.
        record.onBytes = { exchange, _ in
            switch Int.random(in: 0..<4, using: &random) {
            case 0:
                kit.run.loop.deferred.enqueue { exchange.resume() }
                return false
            case 1:
                let timer = Timer(on: kit.run.loop) { exchange.resume() }
                timer.start(afterMilliseconds: UInt64.random(in: 0..<4, using: &random))
                kit.run.atClose { timer.close() }
                return false
            default: return true
            }
        }
        _ = kit.start(record: record)
        kit.run.run()
        #expect(record.failure == nil)
        #expect(record.body == body, "seed \(seed)")
        #expect(record.faults == [])
        kit.run.close()
    }

    @Test("a chunked body has no length, and a close-delimited body is marked as such") func framing() throws {
        let kit = try UpstreamKit()
        let body = pattern(50_000)
        kit.fake.on(UpstreamKit.path, [.ok(body).chunked(), .ok(body).closeDelimited()])
        let chunked = kit.ask()
        #expect(chunked.head?.contentLength == nil)
        #expect(chunked.head?.isCloseDelimited == false)
        #expect(chunked.body == body)
        let closed = kit.ask()
        #expect(closed.head?.isCloseDelimited == true)
        #expect(closed.body == body)
        #expect(closed.failure == nil)
        kit.run.close()
    }

    @Test("a HEAD response has its length and no body") func head() throws {
        let kit = try UpstreamKit()
        kit.fake.on(UpstreamKit.path, FakeAnswer.ok(pattern(1000)).adding("Docker-Content-Digest", "sha256:abc"))
        let record = kit.ask(method: .head)
        #expect(kit.fake.requests.map(\.method) == ["HEAD"])
        #expect(record.failure == nil)
        #expect(record.head?.contentLength == 1000)
        #expect(record.head?.isCloseDelimited == false)
        #expect(record.head?.dockerContentDigest == "sha256:abc")
        #expect(record.body.isEmpty)
        kit.run.close()
    }

    @Test("an upstream request has the expected header fields and query") func requestFields() throws {
        let kit = try UpstreamKit()
        kit.fake.on(UpstreamKit.path, .ok([1]))
        _ = kit.ask(change: {
            $0.accept = ["a/b", "c/d"]
            $0.rangeStart = 17
            $0.via = "1.1 me"
            $0.query = "n=1"
        })
        let request = try #require(kit.fake.requests.first)
        #expect(request.headers("accept") == ["a/b, c/d"])
        #expect(request.header("range") == "bytes=17-")
        #expect(request.header("via") == "1.1 me")
        #expect(request.headers("accept-encoding") == ["identity"])
        #expect(request.header("user-agent") == "test/1")
        #expect(request.header("host") == kit.fake.authority)
        #expect(request.header("authorization") == nil)
        #expect(request.query == "n=1&ns=registry.test")
        kit.run.close()
    }

    @Test("requests reuse one connection") func reuse() throws {
        let kit = try UpstreamKit()
        kit.fake.on(UpstreamKit.path, [.ok([1]), .status(404, body: "no"), .ok([2])])
        #expect(kit.ask().body == [1])
        let missing = kit.ask()
        #expect(missing.head?.status == 404)
        #expect(missing.body.isEmpty)
        #expect(missing.failure == nil)
        #expect(kit.ask().body == [2])
        #expect(kit.fake.connectionCount == 1)
        kit.run.close()
    }

    @Test("interim responses are skipped") func interimResponses() throws {
        let kit = try UpstreamKit()
        let text = "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
        kit.fake.on(UpstreamKit.path, .raw(text))
        let record = kit.ask()
        #expect(record.head?.status == 200)
        #expect(record.head?.fields.first("link") == nil)
        #expect(record.body == Array("ok".utf8))
        kit.run.close()
    }

    @Test("a cancelled exchange ends without further callbacks") func cancel() throws {
        let kit = try UpstreamKit()
        kit.fake.on(UpstreamKit.path, .ok(pattern(5_000_000)))
        var started: [(record: ExchangeRecord, exchange: UpstreamExchange)] = []
        // At once, on the head, and amid the body.
        started.append(kit.start())
        started[0].exchange.cancel()
        let onHead = ExchangeRecord()
        onHead.onHead = { $0.cancel() }
        started.append(kit.start(record: onHead))
        let onBytes = ExchangeRecord()
        onBytes.onBytes = { exchange, _ in
            exchange.cancel()
            exchange.resume()
            return true
        }
        started.append(kit.start(record: onBytes))
        kit.run.run(milliseconds: 300)
        for (record, _) in started {
            #expect(!record.isEnded)
            #expect(record.faults == [])
        }
        #expect(started[1].record.body.isEmpty)
        #expect(kit.fake.openConnectionCount == 0)
        kit.run.close()
    }

    @Test("closing the client fails every running and later exchange") func closing() throws {
        let kit = try UpstreamKit()
        kit.fake.on(UpstreamKit.path, .silent)
        kit.fake.on("/v2/a/blobs/y", .ok(pattern(3_000_000)).paced(bytesPerSecond: 10_000))
        let records = [kit.start().record, kit.start("/v2/a/blobs/y").record, kit.start().record]
        kit.run.run(milliseconds: 100)
        kit.client.close()
        kit.run.run(milliseconds: 50)
        for record in records {
            #expect(record.failure == UpstreamServices.stopping)
            #expect(record.faults == [])
        }
        #expect(kit.ask().failure == UpstreamServices.stopping)
        kit.run.close()
    }

    @Test("a hundred concurrent exchanges each get their own body") func concurrent() throws {
        let kit = try UpstreamKit()
        kit.fake.chance = SeededRandom(seed: 7)
        kit.fake.answer = { .ok(pattern(30_000, seed: UInt64($0.path.split(separator: "/").last ?? "0") ?? 0)) }
        let records = kit.askAll((0..<100).map { "/v2/a/blobs/\($0)" })
        for (number, record) in records.enumerated() {
            #expect(record.failure == nil)
            #expect(record.body == pattern(30_000, seed: UInt64(number)))
        }
        kit.run.close()
    }
}

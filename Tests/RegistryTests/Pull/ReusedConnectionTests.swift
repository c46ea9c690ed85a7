// Connections that were used before and are dead in one of the ways that are seen: dropped silently, closed as the
// request arrives, or with bytes on them that answer nothing.

import TestSupport
import Testing

@testable import Registry

@Suite struct ReusedConnectionTests {
    private static let path = "/v2/a/blobs/x"

    private static func limits(silenceMilliseconds: UInt64 = 60) -> ConnectLimits {
        var limits = ConnectLimits()
        limits.reusedSilenceMilliseconds = silenceMilliseconds
        return limits
    }

    /// Answers what came on connection 0 first, and later requests on it by `later`; all others by their path.
    private static func answer(
        _ fake: FakeUpstream, later: FakeAnswer, others: FakeAnswer = .ok(Array("new".utf8))
    ) {
        var onFirst = 0
        fake.answer = { request in
            guard request.connection == 0 else { return others }
            onFirst += 1
            return onFirst == 1 ? .ok(Array("first".utf8)) : later
        }
    }

    @Test(
        "a silently dropped connection is replaced by a new one with the same request",
        arguments: [UpstreamRequest.Method.get, .head])
    func silentConnection(method: UpstreamRequest.Method) throws {
        let kit = try UpstreamKit(limits: Self.limits())
        Self.answer(kit.fake, later: .silent)
        #expect(kit.ask().body == Array("first".utf8))
        let second = kit.ask(method: method, change: { $0.rangeStart = 17 })
        #expect(second.failure == nil && second.head?.status == 200)
        #expect(second.body == (method == .get ? Array("new".utf8) : []))
        #expect(second.faults == [])
        #expect(kit.fake.requests.map(\.connection) == [0, 0, 1])
        #expect(kit.fake.requests.dropFirst().map { $0.header("range") } == ["bytes=17-", "bytes=17-"])
        // The dead one is closed, the new one is used again.
        #expect(kit.ask().body == Array("new".utf8))
        #expect(kit.fake.requests.last?.connection == 1)
        #expect(kit.fake.openConnectionCount == 1)
        #expect(kit.client.connectReading.reconnects == 1)
        kit.run.close()
    }

    @Test("every client that waits for the same manifest gets the new connection's response")
    func joinedRequests() throws {
        let mirror = try MirrorKit { $0.connectLimits = Self.limits() }
        let image = FakeImage()
        var onFirst = 0
        mirror.fake.answer = { request in
            if request.connection == 0 { onFirst += 1 }
            return request.connection == 0 && onFirst > 1 ? .silent : image.answer
        }
        #expect(mirror.get("/v2/team/one/manifests/v1").status == 200)
        let clients = (0..<5).map { _ in mirror.start(.get("/v2/team/two/manifests/v1")) }
        mirror.wait(for: clients)
        for client in clients { #expect(client.response.body == image.manifest) }
        #expect(mirror.fake.requests.map(\.connection) == [0, 0, 1])
        mirror.close()
    }

    @Test("a slow response on a reused connection counts when it comes first")
    func slowConnection() throws {
        let kit = try UpstreamKit(limits: Self.limits())
        Self.answer(kit.fake, later: .ok(Array("slow".utf8)).delayed(milliseconds: 300), others: .silent)
        _ = kit.ask()
        let second = kit.ask()
        #expect(second.body == Array("slow".utf8) && second.failure == nil && second.faults == [])
        #expect(kit.fake.requests.map(\.connection) == [0, 0, 1])
        kit.run.run(milliseconds: 50)
        #expect(kit.fake.openConnectionCount == 1)
        kit.run.close()
    }

    @Test("a slow body behind its head is not requested twice")
    func slowBody() throws {
        let kit = try UpstreamKit(limits: Self.limits())
        let slow = FakeAnswer.ok(Array(repeating: 7, count: 20)).dripping(1, everyMilliseconds: 10)
        Self.answer(kit.fake, later: slow)
        _ = kit.ask()
        #expect(kit.ask().body.count == 20)
        #expect(kit.fake.requests.count == 2)
        kit.run.close()
    }

    @Test("a silent new connection is not replaced by another")
    func silentNewConnection() throws {
        let kit = try UpstreamKit(noProgressMilliseconds: 400, limits: Self.limits())
        kit.fake.on(Self.path, .silent)
        guard case .timedOut = kit.ask().failure else {
            Issue.record("not timed out")
            return
        }
        #expect(kit.fake.requests.count == 1)
        kit.run.close()
    }

    @Test("after a silent connection, others idle at that time are not reused")
    func idleConnections() throws {
        let run = try LoopRun()
        let multi = try #require(CurlMulti(on: run.loop))
        let (url, other) = (
            try #require(UpstreamURL("https://a.test/v2/")), try #require(UpstreamURL("https://b.test/v2/"))
        )
        #expect(multi.maximumIdleSeconds(for: url) == 30)
        multi.suspectIdleConnections(to: url)
        #expect(multi.maximumIdleSeconds(for: url) == 1)
        #expect(multi.maximumIdleSeconds(for: other) == 30)
        multi.close()
        run.close()
    }

    @Test("a connection that ends as the request arrives is replaced", arguments: [true, false])
    func closedConnection(byReset: Bool) throws {
        let kit = try UpstreamKit(limits: Self.limits(silenceMilliseconds: 10_000))
        Self.answer(kit.fake, later: byReset ? .reset : .hangUp)
        _ = kit.ask()
        let second = kit.ask()
        #expect(second.body == Array("new".utf8) && second.failure == nil)
        #expect(kit.fake.requests.map(\.connection) == [0, 0, 1])
        kit.run.close()
    }

    @Test(
        "bytes that arrive before a request end the connection, not the request",
        arguments: [
            "HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwrong", "?",
        ])
    func earlyBytes(bytes: String) throws {
        let kit = try UpstreamKit(limits: Self.limits(silenceMilliseconds: 10_000))
        Self.answer(kit.fake, later: .ok(Array("late".utf8)))
        #expect(kit.ask().body == Array("first".utf8))
        kit.fake.push(bytes, onConnection: 0)
        #expect(kit.ask().body == Array("new".utf8))
        // No request was sent where its answer could be confused with earlier bytes.
        #expect(kit.fake.requests.map(\.connection) == [0, 1])
        #expect(kit.ask().body == Array("new".utf8))
        #expect(kit.fake.connectionCount == 2)
        kit.run.close()
    }

    @Test("a 408 on a reused connection is retried on a new one, where it is the response")
    func requestTimeout() throws {
        let kit = try UpstreamKit(limits: Self.limits(silenceMilliseconds: 10_000))
        Self.answer(kit.fake, later: FakeAnswer.status(408).closing())
        _ = kit.ask()
        #expect(kit.ask().body == Array("new".utf8))
        #expect(kit.fake.requests.map(\.connection) == [0, 0, 1])
        kit.fake.answer = { _ in FakeAnswer.status(408).closing() }
        #expect(kit.ask().head?.status == 408)
        #expect(kit.fake.requests.map(\.connection) == [0, 0, 1, 1, 2])
        kit.run.close()
    }

    @Test("a token request on a dead connection is sent again on a new one")
    func tokenRequest() throws {
        let kit = try UpstreamKit(limits: Self.limits())
        var tokens = 0
        kit.fake.answer = { [unowned fake = kit.fake] request in
            if request.path == "/token" {
                tokens += 1
                // The second is for another repository, on the connection that the first came on.
                return tokens == 2 ? .silent : .token("t\(tokens)")
            }
            return request.header("authorization") == nil
                ? .challenge(realm: "\(fake.url)/token") : .ok(Array("content".utf8))
        }
        #expect(kit.ask().body == Array("content".utf8))
        #expect(kit.ask("/v2/b/blobs/x", repository: "b").body == Array("content".utf8))
        #expect(kit.fake.requests(to: "/token").map(\.connection) == [0, 0, 1])
        kit.run.close()
    }

    @Test("a cancelled request leaves neither of its connections in use")
    func cancelEndsBoth() throws {
        let kit = try UpstreamKit(limits: Self.limits())
        Self.answer(kit.fake, later: .silent, others: .silent)
        _ = kit.ask()
        let (record, exchange) = kit.start()
        kit.fake.onRequest = { request in
            guard request.connection == 1 else { return }
            exchange.cancel()
            kit.run.finish()
        }
        kit.run.run()
        kit.run.run(milliseconds: 50)
        #expect(!record.isEnded && record.faults == [])
        #expect(kit.client.transferCount == 0)
        #expect(kit.fake.openConnectionCount == 0)
        kit.run.close()
    }
}

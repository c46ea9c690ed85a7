// Redirects over real sockets: what is followed, and what is not sent along.

import TestSupport
import Testing

@testable import Configuration
@testable import OCI
@testable import Registry

@Suite struct UpstreamRedirectTests {
    private static let path = "/v2/a/blobs/x"

    @Test("a redirect to another origin gets no Authorization, but the range and query") func otherOrigin() throws {
        let kit = try UpstreamKit { _, config, _ in config.auth = RegistryAuth(user: "me", password: Secret("pw")) }
        // Another port is another origin.
        let store = FakeUpstream(on: kit.run.loop)
        kit.run.atClose { store.close() }
        store.answer = { .blob([1, 2, 3, 4], for: $0) }
        kit.fake.answer = { request in
            guard request.header("authorization") != nil else {
                return .status(401, [("WWW-Authenticate", "Basic realm=\"r\"")])
            }
            return .redirect(to: "\(store.url)/data?sig=abc%2B")
        }
        let record = kit.ask(change: { $0.rangeStart = 2 })
        #expect(record.head?.status == 206)
        #expect(record.head?.url.port == store.port)
        #expect(record.body == [3, 4])
        let request = try #require(store.requests.first)
        #expect(request.header("authorization") == nil)
        #expect(request.header("cookie") == nil)
        #expect(request.header("range") == "bytes=2-")
        #expect(request.query == "sig=abc%2B")
        // The next one asks the original URL again.
        #expect(kit.ask().body == [1, 2, 3, 4])
        #expect(kit.fake.requests.map(\.path) == [Self.path, Self.path, Self.path])
        #expect(kit.fake.connectionCount == 1)
        kit.run.close()
    }

    @Test("redirects of every status are followed with the same method", arguments: [301, 302, 303, 307, 308])
    func statuses(status: Int) throws {
        let kit = try UpstreamKit()
        kit.fake.on(Self.path, .redirect(to: "/other", status: status))
        kit.fake.on("/other", .ok([9]))
        #expect(kit.ask().body == [9])
        #expect(kit.ask(method: .head).head?.contentLength == 1)
        #expect(kit.fake.requests.map(\.method) == ["GET", "GET", "HEAD", "HEAD"])
        kit.run.close()
    }

    @Test(
        "a redirect to a local, invalid or non-http location is refused with 403",
        arguments: [
            "http://127.0.0.2:1/", "http://localhost:1/", "http://[::1]:1/", "http://169.254.169.254/latest/meta-data",
            "http://2130706434/", "http://[::ffff:127.0.0.2]/", "ftp://127.0.0.1/", "file:///etc/passwd",
            "http://u:p@127.0.0.1/",
            "http://", "gopher://x",
        ])
    func refusedLocations(location: String) throws {
        let kit = try UpstreamKit()
        kit.fake.on(Self.path, .redirect(to: location))
        let error = try #require(kit.ask().refusal)
        #expect(error.status == 403)
        #expect(!error.message.contains("u:p"))
        #expect(kit.fake.requests.count == 1)
        kit.run.close()
    }

    @Test("a redirect loop ends with 403 after ten redirects") func loop() throws {
        let kit = try UpstreamKit()
        kit.fake.on(Self.path, .redirect(to: Self.path))
        #expect(kit.ask().refusal?.status == 403)
        #expect(kit.fake.requests.count == 11)
        kit.run.close()
    }

    @Test("large and endless bodies of redirects are not waited for") func redirectBodies() throws {
        let kit = try UpstreamKit()
        var large = FakeAnswer.redirect(to: "/other")
        large.body = [UInt8](repeating: 1, count: 10_000_000)
        var endless = FakeAnswer.redirect(to: "/other").closeDelimited()
        endless.body = [UInt8](repeating: 1, count: 100)
        kit.fake.on(Self.path, [large, large.chunked(), endless.stall(after: 50)])
        kit.fake.on("/other", .ok([9]))
        for _ in 0..<3 { #expect(kit.ask().body == [9]) }
        kit.run.close()
    }

    @Test("error bodies are discarded, and large ones are cut short") func errorBodies() throws {
        let kit = try UpstreamKit()
        let small = FakeAnswer.json("{\"errors\":[]}", status: 404)
        let large = FakeAnswer(status: 500, body: [UInt8](repeating: 1, count: 10_000_000))
        kit.fake.on(Self.path, [small, large, small.cut(after: 3)])
        for status in [404, 500, 404] {
            let record = kit.ask()
            #expect(record.head?.status == status)
            #expect(record.body.isEmpty)
            #expect(record.failure == nil)
            #expect(record.faults == [])
        }
        kit.run.close()
    }

    @Test("a redirect to a local upstream is refused though a connection to it is open") func openConnection() throws {
        // `inside.test` is configured and local; `registry.test` may not lead there, also while a connection is open.
        let inside = try #require(RegistryHost("inside.test"))
        var local: FakeUpstream?
        let kit = try UpstreamKit { fake, _, more in
            let other = FakeUpstream(on: fake.loop, address: "127.0.0.2")
            more.append(other.config(name: "inside.test"))
            local = other
        }
        let other = try #require(local)
        kit.run.atClose { other.close() }
        other.answer = { _ in .ok([5]) }
        #expect(kit.ask(host: inside).body == [5])
        kit.fake.on(Self.path, .redirect(to: "\(other.url)/secret"))
        #expect(kit.ask().refusal?.status == 403)
        #expect(other.requests.count == 1)
        kit.run.close()
    }
}

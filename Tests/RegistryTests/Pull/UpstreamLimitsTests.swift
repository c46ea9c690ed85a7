// Limits as settings: of time, of concurrent requests, and those that registries state themselves.

import TestSupport
import Testing

@testable import Configuration
@testable import OCI
@testable import Registry

@Suite struct UpstreamLimitsTests {
    private static func settings(_ change: (inout ConnectionSettings) -> Void) -> ConnectionSettings {
        var settings = ConnectionSettings()
        change(&settings)
        return settings
    }

    @Test("settings override the limits of connecting that they name") func overridden() {
        let limits = ConnectLimits()
        let same = limits.overridden(by: ConnectionSettings())
        #expect(same.addressMilliseconds == 5000 && same.connectMilliseconds == 20_000)
        #expect(same.lookupMilliseconds == 15_000 && same.tlsMilliseconds == 10_000)
        #expect(same.firstByteMilliseconds == 15_000)
        let other = limits.overridden(
            by: Self.settings {
                $0.lookupMilliseconds = 1
                $0.connectMilliseconds = 2
                $0.tlsMilliseconds = 3
                $0.firstByteMilliseconds = 4
            })
        #expect(other.addressMilliseconds == 2 && other.connectMilliseconds == 8)
        #expect(other.lookupMilliseconds == 1 && other.tlsMilliseconds == 3 && other.firstByteMilliseconds == 4)
        let longest = limits.overridden(
            by: Self.settings {
                $0.lookupMilliseconds = ConfigRules.maximumTimeoutMilliseconds
                $0.connectMilliseconds = ConfigRules.maximumTimeoutMilliseconds
            })
        #expect(longest.allMilliseconds == 5 * 86_400_000 + 20_000)
    }

    @Test("an upstream that accepts a request and is silent is given up at the limit for the first byte")
    func firstByte() throws {
        for isOwn in [false, true] {
            var settings = UpstreamSettings()
            let short = Self.settings { $0.firstByteMilliseconds = 100 }
            if !isOwn { settings.connections = short }
            let kit = try UpstreamKit(settings: settings) { _, config, _ in
                if isOwn { config.connections = short }
            }
            kit.fake.answer = { _ in .silent }
            let record = kit.ask()
            #expect(record.failure == .timedOut("no answer within 100 ms"))
            #expect(record.failure?.registryError(host: UpstreamKit.host).status == 503)
            kit.run.close()
        }
    }

    @Test("once a response has begun, the limit for progress counts") func progress() throws {
        let kit = try UpstreamKit { _, config, _ in
            config.connections.firstByteMilliseconds = 60
            config.connections.pullTimeoutMilliseconds = 300
        }
        kit.fake.answer = { _ in .ok([1, 2, 3]).stall(after: 1) }
        let record = kit.ask()
        #expect(record.head?.status == 200 && record.body == [1])
        #expect(record.failure == .timedOut("nothing arrived for 300 ms"))
        kit.run.close()
    }

    @Test("an upstream's limits precede those of all upstreams") func precedence() throws {
        let site = try SilentSite()
        var settings = UpstreamSettings()
        settings.connections.tlsMilliseconds = 60_000
        let kit = try UpstreamKit(settings: settings) { _, config, _ in
            config.scheme = .https
            config.send(to: "https://\(site.address)")
            config.connections.tlsMilliseconds = 100
        }
        #expect(kit.ask().failure == .unreachable("TLS handshake with 127.0.0.1 took longer than 100 ms"))
        kit.run.close()
    }

    @Test("an upstream gets at most maxConnections requests at once, of all kinds together", arguments: [true, false])
    func maximumConnections(isOwn: Bool) throws {
        let limit = Self.settings { $0.maximumConnections = 2 }
        let settings = UpstreamSettings(connections: isOwn ? ConnectionSettings() : limit)
        let kit = try UpstreamKit(settings: settings) { _, config, _ in if isOwn { config.connections = limit } }
        kit.fake.answer = { _ in .ok([1, 2, 3]).delayed(milliseconds: 5) }
        var left = 12
        let records = (0..<left).map { number in
            let record = ExchangeRecord()
            record.onEnd = {
                left -= 1
                if left == 0 { kit.run.finish() }
            }
            let kind: UpstreamRequest.Kind = number % 2 == 0 ? .blob : .manifest
            return kit.start("/v2/a/things/\(number)", kind: kind, record: record).record
        }
        kit.run.run()
        #expect(records.allSatisfy { $0.failure == nil && $0.body == [1, 2, 3] && $0.faults.isEmpty })
        // Idle connections are used again, so every further one would have been for a third request at once.
        #expect(kit.fake.connectionCount == 2)
        #expect(kit.fake.requests.count == 12)
        kit.run.close()
    }

    @Test("a request that is cancelled while it waits for a connection is not sent") func cancelledWait() throws {
        let kit = try UpstreamKit { _, config, _ in config.connections.maximumConnections = 1 }
        kit.fake.answer = { request in
            request.path == "/first" ? .silent : .ok([1])
        }
        let first = kit.start("/first")
        let second = kit.start("/second")
        let third = kit.start("/third", kind: .manifest)
        kit.run.wait { kit.fake.requests.count == 1 }
        second.exchange.cancel()
        first.exchange.cancel()
        third.record.onEnd = { kit.run.finish() }
        kit.run.run()
        #expect(third.record.failure == nil)
        #expect(kit.fake.requests.map(\.path) == ["/first", "/third"])
        kit.run.close()
    }

    @Test("a host's own limit of pulls counts, also in a slowdown") func pullLimits() throws {
        let (own, other) = (try PullQueueTests.host("a.example"), try PullQueueTests.host("b.example"))
        var queue = PullQueue<Int>(limits: HostLimits(all: 80, byHost: [own: 3]))
        for key in 0..<100 {
            _ = queue.add(key, host: own, demand: .client)
            _ = queue.add(1000 + key, host: other, demand: .client)
        }
        let started = queue.startable(now: 0)
        #expect(started.count { $0 < 100 } == 3 && started.count { $0 >= 1000 } == 80)
        queue.slowDown(own, now: 0)
        queue.slowDown(other, now: 0)
        for key in 0..<3 { queue.remove(key) }
        for key in 1000..<1080 { queue.remove(key) }
        let slow = queue.startable(now: 0)
        #expect(slow.count { $0 < 100 } == 3 && slow.count { $0 >= 1000 } == 20)
    }

    // MARK: Limits that registries state

    @Test(
        "a stated limit is read in Docker Hub's form and in the drafts' forms, and refused when it is no number",
        arguments: [
            ("100;w=21600", "76;w=21600", 100, 76), ("10", "0", 10, 0), ("100, 100;w=60", " 9 ;w=60", 100, 9),
            ("-1;w=1", "5", nil, 5), ("1000000000", "1000000001", 1_000_000_000, nil),
            ("18446744073709551616", "1e9", nil, nil), (";w=21600", "", nil, nil), ("100x", "0x10", nil, nil),
        ] as [(String, String, Int?, Int?)])
    func statedLimits(_ limit: String, _ remaining: String, _ first: Int?, _ second: Int?) throws {
        var fields = UpstreamFields()
        fields.append(name: "RateLimit-Limit", value: limit)
        fields.append(name: "RateLimit-Remaining", value: remaining)
        let url = try #require(UpstreamURL("http://a/"))
        let head = try #require(UpstreamHead(status: 200, fields: fields, isHead: false, url: url))
        #expect(head.rateLimit?.limit == first && head.rateLimit?.remaining == second)
        #expect((head.rateLimit == nil) == (first == nil && second == nil))
    }

    @Test("the limit that a registry states is a gauge of its own series") func rateLimitGauges() throws {
        let mirror = try MirrorKit()
        let image = FakeImage(seed: 3)
        mirror.fake.on(
            "/v2/team/app/manifests/v1",
            image.answer.adding("ratelimit-limit", "100;w=21600").adding("ratelimit-remaining", "76;w=21600"))
        #expect(mirror.get("/v2/team/app/manifests/v1").status == 200)
        let scrape = try mirror.scrape()
        #expect(scrape["ociregistry_upstream_ratelimit_limit{ns=\"registry.test\"}"] == 100)
        #expect(scrape["ociregistry_upstream_ratelimit_remaining{ns=\"registry.test\"}"] == 76)
        // Nothing is shown for hosts that have stated none.
        #expect(scrape["ociregistry_upstream_ratelimit_limit{ns=\"other\"}"] == nil)
        mirror.close()
    }
}

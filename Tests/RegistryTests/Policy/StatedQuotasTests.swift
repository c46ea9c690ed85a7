// What upstreams state of the pulls that are left, and for how long it counts.

import TestSupport
import Testing

@testable import OCI
@testable import Registry

@Suite struct StatedQuotasTests {
    private static let host = RegistryHost("hub.test")!  // a valid host

    private static func limit(_ remaining: Int?, window: Int?) -> StatedRateLimit {
        StatedRateLimit(limit: 100, remaining: remaining, windowSeconds: window)
    }

    @Test(
        "a number counts for its period, for an hour without one, and for a day at most",
        arguments: [
            (21_600, 21_600_000), (nil, 3_600_000), (0, 0), (1, 1000), (86_401, 86_400_000),
            (1_000_000_000, 86_400_000),
        ] as [(Int?, UInt64)])
    func period(_ seconds: Int?, _ milliseconds: UInt64) {
        var quotas = StatedQuotas()
        #expect(quotas.remaining(Self.host, now: 0) == nil)
        quotas.answered(Self.host, Self.limit(7, window: seconds), by: "a", now: 50)
        #expect(quotas.remaining(Self.host, now: 50) == (milliseconds > 0 ? 7 : nil))
        if milliseconds > 0 { #expect(quotas.remaining(Self.host, now: 50 + milliseconds - 1) == 7) }
        #expect(quotas.remaining(Self.host, now: 50 + milliseconds) == nil)
    }

    @Test("the last statement counts, and an answer of the same address without one ends it") func last() {
        var quotas = StatedQuotas()
        for number in [7, 0, 99] {
            quotas.answered(Self.host, Self.limit(number, window: 60), by: "a", now: 0)
            #expect(quotas.remaining(Self.host, now: 0) == number)
        }
        quotas.answered(Self.host, nil, by: "mirror", now: 0)
        #expect(quotas.remaining(Self.host, now: 0) == 99)
        quotas.answered(Self.host, nil, by: "a", now: 0)
        #expect(quotas.remaining(Self.host, now: 0) == nil)
        quotas.answered(Self.host, Self.limit(5, window: 60), by: "a", now: 0)
        quotas.answered(Self.host, Self.limit(nil, window: 60), by: "a", now: 0)
        #expect(quotas.count == 0, "a limit without what is left says nothing")
        quotas.answered(Self.host, Self.limit(5, window: 60), by: "a", now: .max)
        quotas.clear()
        #expect(quotas.count == 0)
    }

    @Test("the number of upstreams is bounded, and the statement that ends first leaves") func bound() throws {
        var quotas = StatedQuotas()
        for number in 0..<(StatedQuotas.maximumUpstreams + 5) {
            let host = try #require(RegistryHost("h\(number).test"))
            quotas.answered(host, Self.limit(number, window: 100 + number), by: "a", now: 0)
        }
        #expect(quotas.count == StatedQuotas.maximumUpstreams)
        #expect(quotas.remaining(try #require(RegistryHost("h4.test")), now: 0) == nil)
        #expect(quotas.remaining(try #require(RegistryHost("h5.test")), now: 0) == 5)
    }

    @Test(
        "the period is read from the number that is left, or else from the limit",
        arguments: [
            ("100;w=21600", "76;w=3600", 3600), ("100;w=21600", "76", 21_600), ("100", "76; w=60 ", 60),
            ("100", "76", nil), ("100", "76;x=1;w=5", 5), ("100, 10;w=1", "76, 9;w=1", nil), ("100", "76;w=x", nil),
            ("100", "76;w=-1", nil), ("100", "76;w=18446744073709551616", nil), ("100", "76;", nil),
        ] as [(String, String, Int?)])
    func field(_ limit: String, _ remaining: String, _ seconds: Int?) throws {
        var fields = UpstreamFields()
        fields.append(name: "ratelimit-limit", value: limit)
        fields.append(name: "ratelimit-remaining", value: remaining)
        let url = try #require(UpstreamURL("http://a/"))
        let head = try #require(UpstreamHead(status: 200, fields: fields, isHead: true, url: url))
        #expect(head.rateLimit == StatedRateLimit(limit: 100, remaining: 76, windowSeconds: seconds))
    }
}

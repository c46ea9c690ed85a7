// The keys of `negativeCache` and `quota`.

import TestSupport
import Testing

@testable import Configuration

@Suite struct NegativeCacheTests {
    @Test("negative answers are remembered for ten seconds, or as the file says") func times() throws {
        for yaml in ["port: 1", "negativeCache:", "negativeCache: {}"] {
            #expect(
                try decode(yaml).negativeCache
                    == NegativeCacheSettings(notFoundMilliseconds: 10_000, deniedMilliseconds: 10_000))
        }
        for (text, milliseconds) in [("0s", 0), ("1ms", 1), ("1500us", 2), ("1h", 3_600_000), ("2m", 120_000)] {
            let both = try decode("negativeCache: {notFound: \(text), denied: 7s}").negativeCache
            #expect(both == NegativeCacheSettings(notFoundMilliseconds: milliseconds, deniedMilliseconds: 7000))
            #expect(try decode("negativeCache: {denied: \(text)}").negativeCache.deniedMilliseconds == milliseconds)
        }
        #expect(try decode("negativeCache: {notFound: 0s, denied: 0s}").negativeCache == .off)
    }

    @Test("an entry of registries may have a reserve, and has none by itself") func reserve() throws {
        for (yaml, reserve) in [("", nil), ("quota:", nil), ("quota: {reserve: 20}", 20)] as [(String, Int?)] {
            #expect(try decode("registries:\n- name: docker.io\n  \(yaml)").registries[0].quotaReserve == reserve)
        }
    }

    @Test(
        "a wrong value is refused with its line and key",
        arguments: [
            ("negativeCache: 10s", "negativeCache: must be a mapping"),
            ("negativeCache: {notFound: 10}", "negativeCache.notFound: must be a whole number and a unit"),
            ("negativeCache: {denied: 0}", "negativeCache.denied: must be a whole number and a unit"),
            ("negativeCache: {denied: -1s}", "negativeCache.denied: must be a whole number and a unit"),
            ("negativeCache: {denied: 3601s}", "negativeCache.denied: must be at most 1h"),
            ("negativeCache: {notFound: 9223372036854775807d}", "negativeCache.notFound: must be a whole number"),
            ("negativeCache: {notfound: 1s}", "negativeCache.notfound: unknown key; did you mean notFound?"),
            ("registries: [{name: a.b, quota: 20}]", "registries[0].quota: must be a mapping"),
            ("registries: [{name: a.b, quota: {reserve: 0}}]", "registries[0].quota.reserve: must be a number"),
            ("registries: [{name: a.b, quota: {reserve: 20%}}]", "registries[0].quota.reserve: must be a number"),
            ("registries: [{name: a.b, quota: {reserve: 1000001}}]", "registries[0].quota.reserve: must be a number"),
            ("registries: [{name: a.b, quota: {limit: 1}}]", "registries[0].quota.limit: unknown key"),
        ])
    func wrongValues(_ yaml: String, _ reason: String) {
        do {
            _ = try decode("\n\(yaml)")
            Issue.record("\(yaml) is taken")
        } catch {
            #expect("\(error)".hasPrefix("c.yaml:2: \(reason)") && !"\(error)".contains("\n"), "\(error)")
        }
    }
}

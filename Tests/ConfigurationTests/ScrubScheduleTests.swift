// The keys of the scrub.

import TestSupport
import Testing

@testable import Configuration
@testable import Registry

@Suite struct ScrubScheduleTests {
    @Test("scrubbing is off without an interval")
    func offByDefault() throws {
        #expect(try decode("port: 1").scrub == nil && decode("scrub:").scrub == nil && decode("scrub: {}").scrub == nil)
        let both = try decode("scrub: {interval: 30d, bytesPerSecond: 50MB}").scrub
        #expect(both == ScrubSchedule(intervalSeconds: 30 * 86_400, bytesPerSecond: 50_000_000))
        let one = try decode("scrub: {interval: 1h}").scrub
        #expect(one == ScrubSchedule(intervalSeconds: 3600, bytesPerSecond: 20_000_000))
    }

    @Test(
        "a wrong value is refused with its line and key",
        arguments: [
            ("scrub: {interval: 30}", "scrub.interval: must be a whole number and a unit"),
            ("scrub: {interval: 5s}", "scrub.interval: must be at least 1m"),
            ("scrub: {interval: 0d}", "scrub.interval: must be a whole number and a unit"),
            ("scrub: {interval: 99999999d}", "scrub.interval: must be at most 36500d"),
            ("scrub: {interval: 1d, bytesPerSecond: fast}", "scrub.bytesPerSecond: must be bytes"),
            ("scrub: {interval: 1d, bytesPerSecond: 99KB}", "scrub.bytesPerSecond: must be at least 100KB"),
            ("scrub: {bytesPerSecond: 20MB}", "scrub: needs interval"),
            ("scrub: {interval: 1d, rate: 20MB}", "scrub.rate: unknown key"),
            ("scrub: 30d", "scrub: must be a mapping"),
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

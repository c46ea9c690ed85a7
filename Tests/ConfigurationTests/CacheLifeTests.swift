// The keys of the cache's size and age.

import TestSupport
import Testing

@testable import Configuration
@testable import Registry

@Suite struct CacheLifeTests {
    @Test("every key of the budget, pins, lease and prune schedule is read") func everyKey() throws {
        let config = try decode(
            """
            maxBytes: 500GB
            minFreeBytes: 20GiB
            highWatermark: 90
            lowWatermark: 70
            pinned: ^docker\\.io/library/,:stable$
            leaseDuration: 30m
            pruneConfig: {enabled: true, duration: 7d, type: created, frequency: 12h, count: 50, dryRun: true}
            """)
        #expect(config.budget.maxBytes == 500_000_000_000 && config.budget.minFreeBytes == 20 << 30)
        #expect(config.budget.highPercent == 90 && config.budget.lowPercent == 70)
        #expect(config.pinned == "^docker\\.io/library/,:stable$" && config.leaseSeconds == 1800)
        var schedule = PruneSchedule()
        schedule.isEnabled = true
        schedule.durationSeconds = 7 * 86_400
        schedule.kind = .created
        schedule.frequencySeconds = 12 * 3600
        schedule.limit = 50
        schedule.isDryRun = true
        #expect(config.pruneSchedule == schedule)
    }

    @Test("leaseDuration is off at 0s, and 0 with any other unit is refused") func noLease() throws {
        #expect(try decode("leaseDuration: 0s").leaseSeconds == 0)
        #expect(complaint("leaseDuration: 0m").hasPrefix("c.yaml:1: leaseDuration: must be a whole number and a unit"))
    }

    /// The reference's own example.
    @Test("a pruneConfig with the documented defaults equals no configuration") func defaults() throws {
        let config = try decode(
            "pruneConfig: {enabled: false, duration: 30d, type: accessed, frequency: 1d, count: -1, dryRun: false}")
        #expect(config == Config())
        #expect(config.budget.isUnlimited && !config.pruneSchedule.isEnabled)
    }

    @Test(
        "a wrong value of a cache setting is refused with its line, key and reason",
        arguments: [
            ("maxBytes: 5 parsecs", "maxBytes: must be bytes"), ("maxBytes: -1", "maxBytes: must be bytes"),
            ("maxBytes: 0", "maxBytes: must be bytes"), ("minFreeBytes: 2000000TiB", "minFreeBytes: must be at most"),
            ("highWatermark: 101", "highWatermark: must be a percentage"),
            ("highWatermark: 50", "highWatermark: must not be below lowWatermark, 85"),
            ("lowWatermark: 99", "lowWatermark: must not be above highWatermark, 95"),
            ("pinned: '(('", "pinned: "), ("leaseDuration: 10", "leaseDuration: must be a whole number and a unit"),
            ("pruneConfig: {duration: 1w}", "pruneConfig.duration: must be"),
            ("pruneConfig: {type: loved}", "pruneConfig.type: must be accessed or created"),
            ("pruneConfig: {count: 0}", "pruneConfig.count: must be a number above 0"),
            ("pruneConfig: yes", "pruneConfig: must be a mapping"),
        ])
    func wrongValues(_ yaml: String, _ reason: String) {
        #expect(complaint(yaml).hasPrefix("c.yaml:1: \(reason)"), "\(complaint(yaml))")
    }

    @Test(
        "a size is a number with an optional decimal or binary unit",
        arguments: [
            ("1", 1), ("1B", 1), ("2KB", 2000), ("3 MiB", 3 << 20), ("1TB", 1_000_000_000_000), ("4TiB", 4 << 40),
        ] as [(String, Int64)])
    func sizes(_ text: String, _ bytes: Int64) throws {
        #expect(try ConfigRules.sizeBytes(text) == bytes)
    }
}

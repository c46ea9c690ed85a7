// Settings of the cache's life: its largest size, pinned images, leases and pruning by age.

internal import OCI

/// `pruneConfig`: periodic removal by age.
package struct PruneSchedule: Sendable, Equatable {
    /// Whether the age counts from the last use or from the arrival in the cache.
    package enum Kind: String, Sendable { case accessed, created }

    package var isEnabled = false
    /// An image is removed after this time without use, or since its arrival.
    package var durationSeconds: Int64 = 30 * 86_400
    package var kind: Kind = .accessed
    package var frequencySeconds: Int64 = 86_400
    /// Images removed per run; nil: all.
    package var limit: Int?
    package var isDryRun = false

    package init() {}
}

/// The keys of this file, for ConfigDecoder.
enum CacheLifeKeys {
    static var all: [ConfigKey<Config>] {
        [
            .init(name: "maxBytes") { value, config throws(Refusal) in
                try value.assignUnlessEmpty(ConfigRules.sizeBytes, to: &config.budget.maxBytes)
            },
            .init(name: "minFreeBytes") { value, config throws(Refusal) in
                try value.assignUnlessEmpty(ConfigRules.sizeBytes, to: &config.budget.minFreeBytes)
            },
            .init(name: "highWatermark") { value, config throws(Refusal) in
                try value.assign(ConfigRules.percent, to: &config.budget.highPercent)
                if config.budget.lowPercent > config.budget.highPercent {
                    throw Refusal("must not be below lowWatermark, \(config.budget.lowPercent)")
                }
            },
            .init(name: "lowWatermark") { value, config throws(Refusal) in
                try value.assign(ConfigRules.percent, to: &config.budget.lowPercent)
                if config.budget.lowPercent > config.budget.highPercent {
                    throw Refusal("must not be above highWatermark, \(config.budget.highPercent)")
                }
            },
            .init(name: "pinned") { value, config throws(Refusal) in
                try value.assignUnlessEmpty(ConfigRules.pattern, to: &config.pinned)
            },
            .init(name: "leaseDuration") { value, config throws(Refusal) in
                try value.assignUnlessEmpty(ConfigRules.leaseSeconds, to: &config.leaseSeconds)
            },
            .init(name: "pruneConfig", children: pruneKeys.map(\.name)) { value, config throws(Refusal) in
                try value.decode(pruneKeys, into: &config.pruneSchedule)
            },
            ScrubKeys.key,
        ]
    }

    private static var pruneKeys: [ConfigKey<PruneSchedule>] {
        [
            .init(name: "enabled") { value, schedule throws(Refusal) in
                try value.assign(ConfigRules.flag, to: &schedule.isEnabled)
            },
            .init(name: "duration") { value, schedule throws(Refusal) in
                try value.assignUnlessEmpty(ConfigRules.ageSeconds, to: &schedule.durationSeconds)
            },
            .init(name: "type") { value, schedule throws(Refusal) in
                try value.assignUnlessEmpty(ConfigRules.pruneKind, to: &schedule.kind)
            },
            .init(name: "frequency") { value, schedule throws(Refusal) in
                try value.assignUnlessEmpty(ConfigRules.ageSeconds, to: &schedule.frequencySeconds)
            },
            .init(name: "count") { value, schedule throws(Refusal) in
                try value.assign(ConfigRules.countLimit, to: &schedule.limit)
            },
            .init(name: "dryRun") { value, schedule throws(Refusal) in
                try value.assign(ConfigRules.flag, to: &schedule.isDryRun)
            },
        ]
    }
}

extension ConfigRules {
    /// An exbibyte: more is a typing error, and sums of such sizes still fit.
    private static let maximumSizeBytes: Int64 = 1 << 60
    private static let sizeUnits: [(name: String, bytes: Int64)] = [
        ("", 1), ("B", 1), ("KB", 1000), ("MB", 1_000_000), ("GB", 1_000_000_000), ("TB", 1_000_000_000_000),
        ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("TiB", 1 << 40),
    ]

    /// Reads a size such as `500GB`, `2TiB`, `1048576`.
    package static func sizeBytes(_ text: String) throws(Refusal) -> Int64? {
        let digits = text.prefix { ("0"..."9").contains($0) }
        let name = text.dropFirst(digits.count).drop { $0 == " " }
        guard let count = OutsideNumber.decimal(digits, in: 1...Int64.max),
            let unit = sizeUnits.first(where: { $0.name == name })
        else {
            throw Refusal("must be bytes, as 500GB or 2TiB, not \(shown(text))")
        }
        let (product, overflow) = count.multipliedReportingOverflow(by: unit.bytes)
        guard !overflow, product <= maximumSizeBytes else { throw Refusal("must be at most 1048576TiB") }
        return product
    }

    static func percent(_ text: String) throws(Refusal) -> Int {
        guard let number = OutsideNumber.decimal(text, in: 1...100) else {
            throw Refusal("must be a percentage from 1 to 100, not \(shown(text))")
        }
        return number
    }

    /// Whole seconds, rounded up, so that nothing is removed before its time.
    static func ageSeconds(_ text: String) throws(Refusal) -> Int64 {
        (try Age(text).nanoseconds + 999_999_999) / 1_000_000_000
    }

    /// An age, or `0s` for no lease.
    static func leaseSeconds(_ text: String) throws(Refusal) -> Int64 {
        text == "0s" ? 0 : try ageSeconds(text)
    }

    static func pruneKind(_ text: String) throws(Refusal) -> PruneSchedule.Kind {
        guard let kind = PruneSchedule.Kind(rawValue: text) else {
            throw Refusal("must be accessed or created, not \(shown(text))")
        }
        return kind
    }

    /// −1 means no limit.
    static func countLimit(_ text: String) throws(Refusal) -> Int? {
        if text == "-1" { return nil }
        guard let number = OutsideNumber.decimal(text, in: 1...Int.max) else {
            throw Refusal("must be a number above 0, or -1 for all, not \(shown(text))")
        }
        return number
    }

    static func pattern(_ text: String) throws(Refusal) -> String? {
        do throws(PatternError) {
            _ = try Pattern(text)
        } catch {
            throw Refusal("\(error)")
        }
        return text
    }
}

// The `scrub` setting: when and how fast a server hashes its whole cache again in the background.

package struct ScrubSchedule: Sendable, Equatable {
    /// From the start of one pass to the start of the next.
    package var intervalSeconds: Int64
    /// Largest rate of hashing.
    package var bytesPerSecond: Int64

    package init(intervalSeconds: Int64, bytesPerSecond: Int64 = usualBytesPerSecond) {
        self.intervalSeconds = intervalSeconds
        self.bytesPerSecond = bytesPerSecond
    }

    /// A fifth of the read rate of a slow disk, and a few per cent of one core.
    package static let usualBytesPerSecond: Int64 = 20_000_000
}

/// The keys of this file, for ConfigDecoder.
enum ScrubKeys {
    private struct Values {
        var intervalSeconds: Int64?
        var bytesPerSecond: Int64?
    }

    static var key: ConfigKey<Config> {
        .init(name: "scrub", children: keys.map(\.name)) { value, config throws(Refusal) in
            var values = Values()
            let problems = value.reader.problems.count
            try value.decode(keys, into: &values)
            // Problems of the keys below have been reported there.
            guard value.reader.problems.count == problems else { return }
            if let interval = values.intervalSeconds {
                config.scrub = ScrubSchedule(
                    intervalSeconds: interval,
                    bytesPerSecond: values.bytesPerSecond ?? ScrubSchedule.usualBytesPerSecond)
            } else if values.bytesPerSecond != nil {
                throw Refusal("needs interval, such as 30d: without one there is no scrub")
            }
        }
    }

    private static var keys: [ConfigKey<Values>] {
        [
            .init(name: "interval") { value, values throws(Refusal) in
                try value.assignUnlessEmpty(ConfigRules.scrubInterval, to: &values.intervalSeconds)
            },
            .init(name: "bytesPerSecond") { value, values throws(Refusal) in
                try value.assignUnlessEmpty(ConfigRules.scrubRate, to: &values.bytesPerSecond)
            },
        ]
    }
}

extension ConfigRules {
    /// No disk needs more than one pass a minute; a smaller value has the wrong unit.
    private static let minimumScrubSeconds: Int64 = 60
    /// At a lower rate a single layer takes days.
    private static let minimumScrubRate: Int64 = 100_000

    static func scrubInterval(_ text: String) throws(Refusal) -> Int64? {
        let seconds = try ageSeconds(text)
        guard seconds >= minimumScrubSeconds else { throw Refusal("must be at least 1m, not \(shown(text))") }
        return seconds
    }

    static func scrubRate(_ text: String) throws(Refusal) -> Int64? {
        guard let bytes = try sizeBytes(text), bytes >= minimumScrubRate else {
            throw Refusal("must be at least 100KB, not \(shown(text))")
        }
        return bytes
    }
}

// `negativeCache`: for how long the upstreams' answers are remembered that something is missing or denied.

/// Times that negative answers are remembered for, in milliseconds; 0: not at all.
package struct NegativeCacheSettings: Sendable, Equatable {
    /// For a 404 or 410.
    package var notFoundMilliseconds = 10_000
    /// For a 401, 403 or 451.
    package var deniedMilliseconds = 10_000

    package init() {}

    package init(notFoundMilliseconds: Int, deniedMilliseconds: Int) {
        self.notFoundMilliseconds = notFoundMilliseconds
        self.deniedMilliseconds = deniedMilliseconds
    }

    /// Nothing is remembered.
    package static let off = NegativeCacheSettings(notFoundMilliseconds: 0, deniedMilliseconds: 0)
}

/// The keys of this file, for ConfigDecoder.
enum NegativeCacheKeys {
    static var key: ConfigKey<Config> {
        .init(name: "negativeCache", children: keys.map(\.name)) { value, config throws(Refusal) in
            try value.decode(keys, into: &config.negativeCache)
        }
    }

    private static var keys: [ConfigKey<NegativeCacheSettings>] {
        [
            .init(name: "notFound") { value, settings throws(Refusal) in
                try value.assignUnlessEmpty(ConfigRules.negativeMilliseconds, to: &settings.notFoundMilliseconds)
            },
            .init(name: "denied") { value, settings throws(Refusal) in
                try value.assignUnlessEmpty(ConfigRules.negativeMilliseconds, to: &settings.deniedMilliseconds)
            },
        ]
    }
}

extension ConfigRules {
    /// An hour: an image that was pushed, or access that was given, must not stay unseen for longer.
    private static let maximumNegativeMilliseconds: Int64 = 3_600_000

    /// A duration such as `10s`, rounded up to whole milliseconds; `0s`: nothing is remembered.
    static func negativeMilliseconds(_ text: String) throws(Refusal) -> Int {
        if text == "0s" { return 0 }
        guard let age = try? Age(text) else {
            throw Refusal(
                "must be a whole number and a unit (ns us ms s m h d), such as 10s, or 0s for off, not \(shown(text))")
        }
        let milliseconds = (age.nanoseconds + 999_999) / 1_000_000
        guard milliseconds <= maximumNegativeMilliseconds else {
            throw Refusal("must be at most 1h, not \(shown(text))")
        }
        return Int(milliseconds)
    }
}

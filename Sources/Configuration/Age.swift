// Spans of time as operators write them: `30d`, `12h`.

internal import OCI

/// A span of time: a whole number and a unit, one of `ns`, `us` (`µs`), `ms`, `s`, `m` (minutes), `h`, `d` (24 hours).
package struct Age: Sendable, Equatable {
    /// A hundred years. More is a slip, and less than what an Int64 of nanoseconds holds.
    static let maximumNanoseconds: Int64 = 36_500 * 86_400 * 1_000_000_000

    package let nanoseconds: Int64

    private static let units: [(name: String, nanoseconds: Int64)] = [
        ("ns", 1), ("us", 1000), ("µs", 1000), ("ms", 1_000_000), ("s", 1_000_000_000), ("m", 60 * 1_000_000_000),
        ("h", 3600 * 1_000_000_000), ("d", 86_400 * 1_000_000_000),
    ]

    /// Reads one. Zero is refused: "older than nothing" would mean everything, which can be said in so many words.
    package init(_ text: String) throws(Refusal) {
        let digits = text.prefix { ("0"..."9").contains($0) }
        let unit = Age.units.first { $0.name == text.dropFirst(digits.count) }
        guard let unit, let count = OutsideNumber.decimal(digits, in: 1...Int64.max) else {
            throw Refusal(
                "must be a whole number and a unit (ns us ms s m h d), such as 30d, not "
                    + ConfigRules.shown(text))
        }
        let (product, overflow) = count.multipliedReportingOverflow(by: unit.nanoseconds)
        guard !overflow, product <= Age.maximumNanoseconds else {
            throw Refusal("must be at most 36500d, not \(ConfigRules.shown(text))")
        }
        nanoseconds = product
    }

    /// Seconds since 1970 of the moment this long before `now`, rounded so that nothing younger is taken for older.
    package func before(nowSeconds: Int64) -> Int64 {
        nowSeconds - (nanoseconds + 999_999_999) / 1_000_000_000
    }
}

// Time spans as operators write them: `30d`, `12h`.

internal import OCI

/// A time span: a whole number and a unit, one of `ns`, `us` (`µs`), `ms`, `s`, `m` (minutes), `h`, `d` (24 hours).
package struct Age: Sendable, Equatable {
    /// A hundred years: more is a typing error. An Int64 of nanoseconds holds 292 years.
    static let maximumNanoseconds: Int64 = 36_500 * 86_400 * 1_000_000_000

    package let nanoseconds: Int64

    private static let units: [(name: String, nanoseconds: Int64)] = [
        ("ns", 1), ("us", 1000), ("µs", 1000), ("ms", 1_000_000), ("s", 1_000_000_000), ("m", 60 * 1_000_000_000),
        ("h", 3600 * 1_000_000_000), ("d", 86_400 * 1_000_000_000),
    ]

    /// Reads a time span. Zero is refused: an age of zero would select every image.
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

    /// The moment this long before `now`, in seconds since 1970, rounded down so that no younger image counts as older.
    package func before(nowSeconds: Int64) -> Int64 {
        nowSeconds - (nanoseconds + 999_999_999) / 1_000_000_000
    }
}

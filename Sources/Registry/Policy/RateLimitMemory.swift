// A 429 is remembered, so that clients which retry at once (containerd: five times) cost the upstream nothing.

/// Until when one upstream is left alone. Times are the loop's milliseconds.
package struct RateLimitMemory: Sendable {
    /// When the upstream names no time: quotas are counted in minutes at least.
    package static let defaultSeconds = 60
    /// Longest time believed; a wrong header must not cut an upstream off for days.
    package static let maximumSeconds = 3600

    private var untilMilliseconds: UInt64 = 0

    package init() {}

    package mutating func remember(retryAfterSeconds: Int?, now: UInt64) {
        let seconds = min(max(retryAfterSeconds ?? RateLimitMemory.defaultSeconds, 1), RateLimitMemory.maximumSeconds)
        untilMilliseconds = max(untilMilliseconds, now + UInt64(clamping: seconds) * 1000)
    }

    /// Whole seconds left, at least 1; nil when the upstream may be asked.
    package func secondsLeft(now: UInt64) -> Int? {
        guard untilMilliseconds > now else { return nil }
        return Int((untilMilliseconds - now + 999) / 1000)
    }
}

/// `Retry-After` (RFC 9110 §10.2.3).
package enum RetryAfter {
    /// Seconds from now; nil when the value is neither a number nor an IMF-fixdate. A time that has passed is 0.
    package static func seconds(_ value: String, unixSeconds: Int64) -> Int? {
        let text = value.trimmed
        if let seconds = OutsideNumber.decimal(text, clampedTo: 0...Int(Int32.max)) { return seconds }
        return date(text).map { Int(clamping: max(0, $0.subtractingSaturated(unixSeconds))) }
    }

    /// `Sun, 06 Nov 1994 08:49:37 GMT` as seconds since 1970 (RFC 9110 §5.6.7).
    static func date(_ text: String) -> Int64? {
        let words = text.split(separator: " ")
        guard words.count == 6, words[5] == "GMT", words[0].hasSuffix(","),
            let day = OutsideNumber.decimal(words[1], in: 1...Int64(31)),
            let month = months.firstIndex(of: String(words[2])),
            let year = OutsideNumber.decimal(words[3], in: 1970...Int64(9999))
        else { return nil }
        let clock = words[4].split(separator: ":")
        guard clock.count == 3, let hour = OutsideNumber.decimal(clock[0], in: 0...Int64(23)),
            let minute = OutsideNumber.decimal(clock[1], in: 0...Int64(59)),
            let second = OutsideNumber.decimal(clock[2], in: 0...Int64(60))
        else { return nil }
        return days(year: year, month: Int64(month) + 1, day: day) * 86_400 + hour * 3600 + minute * 60 + second
    }

    private static let months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]

    /// Days since 1970-01-01 in the Gregorian calendar, counted in 400-year eras that begin on 1 March.
    private static func days(year: Int64, month: Int64, day: Int64) -> Int64 {
        let year = month <= 2 ? year - 1 : year
        let yearOfEra = year % 400
        let dayOfYear = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1
        return year / 400 * 146_097 + yearOfEra * 365 + yearOfEra / 4 - yearOfEra / 100 + dayOfYear - 719_468
    }
}

extension UpstreamHead {
    /// Its `Retry-After` in seconds from now.
    package func retryAfter(unixSeconds: Int64) -> Int? {
        fields.first("retry-after").flatMap { RetryAfter.seconds($0, unixSeconds: unixSeconds) }
    }
}

// The time at the head of a log line: UTC, milliseconds, RFC 3339. Made by arithmetic, because Foundation's
// formatters would cost tens of megabytes and strftime takes a lock around the time zone.

import Glibc

package enum LogTimestamp {
    /// `2026-11-22T16:00:00.123Z`
    static let byteCount = 24

    /// Milliseconds since 1970-01-01T00:00:00Z, by the wall clock.
    package static func now() -> Int64 {
        var time = timespec()
        clock_gettime(CLOCK_REALTIME, &time)
        return Int64(time.tv_sec) * 1000 + Int64(time.tv_nsec) / 1_000_000
    }

    /// Appends the 24 characters for `milliseconds` since 1970 (years 0 to 9999).
    static func append(_ milliseconds: Int64, to line: inout [UInt8]) {
        let days = floorDivide(milliseconds, 86_400_000)
        let inDay = milliseconds - days * 86_400_000
        let date = civil(days: days)
        append(date.year, digits: 4, then: "-", to: &line)
        append(date.month, digits: 2, then: "-", to: &line)
        append(date.day, digits: 2, then: "T", to: &line)
        append(inDay / 3_600_000, digits: 2, then: ":", to: &line)
        append(inDay / 60_000 % 60, digits: 2, then: ":", to: &line)
        append(inDay / 1000 % 60, digits: 2, then: ".", to: &line)
        append(inDay % 1000, digits: 3, then: "Z", to: &line)
    }

    /// Days since 1970 to a date of the Gregorian calendar: Howard Hinnant, "chrono-Compatible Low-Level Date
    /// Algorithms", civil_from_days. Years begin in March there, which puts the leap day at the end.
    private static func civil(days: Int64) -> (year: Int64, month: Int64, day: Int64) {
        let shifted = days + 719_468
        let era = floorDivide(shifted, 146_097)
        let dayOfEra = shifted - era * 146_097
        let yearOfEra = (dayOfEra - dayOfEra / 1460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
        let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
        let shiftedMonth = (5 * dayOfYear + 2) / 153
        let day = dayOfYear - (153 * shiftedMonth + 2) / 5 + 1
        let month = shiftedMonth < 10 ? shiftedMonth + 3 : shiftedMonth - 9
        return (yearOfEra + era * 400 + (month <= 2 ? 1 : 0), month, day)
    }

    private static func floorDivide(_ value: Int64, _ divisor: Int64) -> Int64 {
        value >= 0 ? value / divisor : (value - divisor + 1) / divisor
    }

    private static func append(_ value: Int64, digits: Int, then mark: Unicode.Scalar, to line: inout [UInt8]) {
        var divisor: Int64 = 1
        for _ in 1..<digits { divisor *= 10 }
        while divisor > 0 {
            line.append(UInt8(48 + value / divisor % 10))
            divisor /= 10
        }
        line.append(UInt8(truncatingIfNeeded: mark.value))
    }
}

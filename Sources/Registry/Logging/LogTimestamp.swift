// The time at the start of a log line: UTC, milliseconds, RFC 3339. Computed by arithmetic, because Foundation's
// formatters would cost tens of megabytes and strftime takes a lock around the time zone.

import Glibc
internal import OCI

package enum LogTimestamp {
    /// `2026-11-22T16:00:00.123Z`
    static let byteCount = 24
    /// 0000-01-01T00:00:00Z.
    private static let firstMillisecond: Int64 = -62_167_219_200_000

    /// Milliseconds since 1970-01-01T00:00:00Z, by the wall clock.
    package static func now() -> Int64 {
        var time = timespec()
        clock_gettime(CLOCK_REALTIME, &time)
        return Int64(time.tv_sec) * 1000 + Int64(time.tv_nsec) / 1_000_000
    }

    /// Appends the 24 characters for `milliseconds` since 1970. A time outside the years 0 to 9999 is clamped: a file's
    /// time may be any number.
    static func append(_ milliseconds: Int64, to line: inout [UInt8]) {
        let milliseconds = min(max(milliseconds, firstMillisecond), OutsideNumber.seconds.upperBound * 1000 + 999)
        let days = floorDivide(milliseconds, 86_400_000)
        let inDay = milliseconds - days * 86_400_000
        let date = HTTPDate.civil(days: days)
        append(date.year, digits: 4, then: "-", to: &line)
        append(date.month, digits: 2, then: "-", to: &line)
        append(date.day, digits: 2, then: "T", to: &line)
        append(inDay / 3_600_000, digits: 2, then: ":", to: &line)
        append(inDay / 60_000 % 60, digits: 2, then: ":", to: &line)
        append(inDay / 1000 % 60, digits: 2, then: ".", to: &line)
        append(inDay % 1000, digits: 3, then: "Z", to: &line)
    }

    /// A time in seconds since 1970 as `2026-11-22T16:00:00Z`.
    package static func secondsText(_ seconds: Int64) -> String {
        var bytes: [UInt8] = []
        append(seconds.multipliedSaturated(by: 1000), to: &bytes)
        return String(decoding: bytes.dropLast(5), as: UTF8.self) + "Z"
    }

    private static func floorDivide(_ value: Int64, _ divisor: Int64) -> Int64 {
        value >= 0 ? value / divisor : (value - divisor + 1) / divisor
    }

    private static func append(_ value: Int64, digits: Int, then mark: Unicode.Scalar, to line: inout [UInt8]) {
        var divisor: Int64 = 1
        for _ in 1..<digits { divisor *= 10 }
        while divisor > 0 {
            line.append(UInt8(truncatingIfNeeded: 48 + value / divisor % 10))
            divisor /= 10
        }
        line.append(UInt8(truncatingIfNeeded: mark.value))
    }
}

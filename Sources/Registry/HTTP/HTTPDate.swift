// `Sun, 06 Nov 1994 08:49:37 GMT` from a number of seconds (IMF-fixdate, RFC 9110 §5.6.7), with the proleptic Gregorian
// calendar in integers (Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", civil_from_days).

package enum HTTPDate {
    /// The length of every IMF-fixdate of the years 0 to 9999.
    package static let byteCount = 29

    /// The date `unixSeconds` after 1970, as 29 ASCII bytes. Clamped to the years 1970 to 9999.
    package static func format(unixSeconds: Int64) -> [UInt8] {
        let seconds = min(max(unixSeconds, 0), lastSecond)
        let days = seconds / 86400
        let time = seconds % 86400
        let (year, month, day) = civil(days: days)
        var text: [UInt8] = []
        text.reserveCapacity(byteCount)
        // 1970 began on a Thursday.
        text.append(contentsOf: name(in: "SunMonTueWedThuFriSat", at: (days + 4) % 7))
        text.append(contentsOf: [0x2C, 0x20])
        appendPair(day, to: &text)
        text.append(0x20)
        text.append(contentsOf: name(in: "JanFebMarAprMayJunJulAugSepOctNovDec", at: month - 1))
        text.append(0x20)
        appendPair(year / 100, to: &text)
        appendPair(year % 100, to: &text)
        for (separator, number) in [(UInt8(0x20), time / 3600), (0x3A, time / 60 % 60), (0x3A, time % 60)] {
            text.append(separator)
            appendPair(number, to: &text)
        }
        text.append(contentsOf: " GMT".utf8)
        return text
    }

    /// 9999-12-31T23:59:59Z.
    private static let lastSecond: Int64 = 253_402_300_799

    private static func name(in names: StaticString, at index: Int64) -> UnsafeBufferPointer<UInt8> {
        UnsafeBufferPointer(start: names.utf8Start + Int(index) * 3, count: 3)
    }

    private static func appendPair(_ number: Int64, to text: inout [UInt8]) {
        text.append(UInt8(truncatingIfNeeded: 0x30 + number / 10))
        text.append(UInt8(truncatingIfNeeded: 0x30 + number % 10))
    }

    /// The date `days` after 1970-01-01. Years are counted from March, so that the leap day is a year's last day.
    static func civil(days: Int64) -> (year: Int64, month: Int64, day: Int64) {
        let shifted = days + 719_468  // days since 0000-03-01
        let era = (shifted >= 0 ? shifted : shifted - 146_096) / 146_097
        let dayOfEra = shifted - era * 146_097
        let yearOfEra = (dayOfEra - dayOfEra / 1460 + dayOfEra / 36524 - dayOfEra / 146_096) / 365
        let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
        let monthFromMarch = (5 * dayOfYear + 2) / 153
        let day = dayOfYear - (153 * monthFromMarch + 2) / 5 + 1
        let month = monthFromMarch < 10 ? monthFromMarch + 3 : monthFromMarch - 9
        return (yearOfEra + era * 400 + (month <= 2 ? 1 : 0), month, day)
    }
}

// The times in answers of AWS (RFC 3339).

internal import OCI

enum AWSTime {
    /// Seconds since 1970 of `2026-11-28T08:59:21Z`, with or without a fraction, or with an offset such as `+01:00` in
    /// place of the `Z`. Nil for anything else, and for times outside `OutsideNumber.seconds`.
    static func seconds(_ text: String) -> Int64? {
        let bytes = Array(text.utf8)
        // The longest has nine digits of a fraction and an offset.
        guard (20...35).contains(bytes.count), bytes[4] == 0x2D, bytes[7] == 0x2D,
            bytes[10] == 0x54 || bytes[10] == 0x20,
            bytes[13] == 0x3A, bytes[16] == 0x3A,
            let year = number(bytes[0..<4], in: 1970...9999), let month = number(bytes[5..<7], in: 1...12),
            let day = number(bytes[8..<10], in: 1...31), let hour = number(bytes[11..<13], in: 0...23),
            let minute = number(bytes[14..<16], in: 0...59), let second = number(bytes[17..<19], in: 0...60)
        else { return nil }
        var rest = bytes[19...]
        if rest.first == 0x2E { rest = rest.dropFirst().drop(while: ASCII.isDigit) }
        guard let offset = offset(rest) else { return nil }
        // Each term is below 10^12, since each number is within its range.
        let seconds = days(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second - offset
        return OutsideNumber.seconds.contains(seconds) ? seconds : nil
    }

    /// Days since 1970 in the proleptic Gregorian calendar (Howard Hinnant, "chrono-Compatible Low-Level Date
    /// Algorithms", days_from_civil). A day that the month does not have counts on into the next month.
    private static func days(_ year: Int64, _ month: Int64, _ day: Int64) -> Int64 {
        let shifted = month <= 2 ? year - 1 : year
        let era = shifted / 400
        let yearOfEra = shifted - era * 400
        let dayOfYear = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1
        return era * 146_097 + yearOfEra * 365 + yearOfEra / 4 - yearOfEra / 100 + dayOfYear - 719_468
    }

    /// Seconds east of Greenwich.
    private static func offset(_ bytes: ArraySlice<UInt8>) -> Int64? {
        if bytes.elementsEqual([0x5A]) { return 0 }
        guard bytes.count == 6, let sign = bytes.first, sign == 0x2B || sign == 0x2D,
            bytes[bytes.startIndex + 3] == 0x3A,
            let hours = number(bytes.dropFirst().prefix(2), in: 0...23),
            let minutes = number(bytes.suffix(2), in: 0...59)
        else { return nil }
        return (sign == 0x2D ? -1 : 1) * (hours * 3600 + minutes * 60)
    }

    private static func number(_ bytes: ArraySlice<UInt8>, in range: ClosedRange<Int64>) -> Int64? {
        OutsideNumber.decimal(String(decoding: bytes, as: UTF8.self), in: range)
    }
}

// Times as operators read and type them: in this machine's time zone, to the second.

internal import Glibc
internal import OCI

package enum LocalTime {
    /// `2026-01-31T12:00:00`, in the zone of this process (TZ, /etc/localtime).
    package static func text(_ seconds: Int64) -> String {
        var time = time_t(seconds)
        var fields = tm()
        localtime_r(&time, &fields)
        let date =
            "\(padded(Int(fields.tm_year) + 1900, 4))-\(padded(Int(fields.tm_mon) + 1))-\(padded(Int(fields.tm_mday)))"
        return "\(date)T\(padded(Int(fields.tm_hour))):\(padded(Int(fields.tm_min))):\(padded(Int(fields.tm_sec)))"
    }

    /// Reads the format of `text`; nil for anything else, and for a time that the zone skips. The C library chooses
    /// between two meanings when clocks are set back.
    package static func seconds(_ text: String) -> Int64? {
        let shape = Array("0000-00-00T00:00:00".utf8)
        let bytes = Array(text.utf8)
        guard bytes.count == shape.count,
            zip(bytes, shape).allSatisfy({ $1 == 0x30 ? ASCII.isDigit($0) : $0 == $1 })
        else { return nil }
        func number(_ range: Range<Int>) -> Int32 { bytes[range].reduce(0) { $0 * 10 + Int32($1 - 0x30) } }
        var fields = tm()
        fields.tm_year = number(0..<4) - 1900
        fields.tm_mon = number(5..<7) - 1
        fields.tm_mday = number(8..<10)
        fields.tm_hour = number(11..<13)
        fields.tm_min = number(14..<16)
        fields.tm_sec = number(17..<19)
        fields.tm_isdst = -1
        let seconds = Int64(mktime(&fields))
        // mktime turns the 31st of April into the 1st of May.
        return self.text(seconds) == text ? seconds : nil
    }

    private static func padded(_ number: Int, _ width: Int = 2) -> String {
        let digits = "\(number)"
        return String(repeating: "0", count: max(0, width - digits.utf8.count)) + digits
    }
}

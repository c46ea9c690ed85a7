// Formats Prometheus' text format 0.0.4 (prometheus.io, "Exposition formats") as bytes.

/// A text under construction.
package struct Exposition {
    package static let contentType = "text/plain; version=0.0.4; charset=utf-8"

    package private(set) var bytes: [UInt8] = []
    private var name = ""

    package init(reserving count: Int = 0) { bytes.reserveCapacity(count) }

    /// Begins a metric family.
    mutating func begin(_ family: MetricFamily) {
        name = family.name
        append("# HELP \(name) \(Exposition.escaped(family.help, quotes: false))\n")
        append("# TYPE \(name) \(family.kind.rawValue)\n")
    }

    // MARK: Samples of the family begun last

    mutating func sample(_ value: UInt64, _ labels: Labels = .none) { sample("", labels) { $0.appendNumber(value) } }

    mutating func sample(_ value: Int, _ labels: Labels = .none) { sample(Int64(value), labels) }

    mutating func sample(_ value: Int64, _ labels: Labels = .none) {
        sample("", labels) {
            if value < 0 { $0.append("-" as StaticString) }
            $0.appendNumber(value.magnitude)
        }
    }

    mutating func sample(_ value: Bool) { sample(value ? 1 : 0) }

    /// Adds a sample in seconds.
    mutating func sample(nanoseconds: UInt64, _ labels: Labels = .none) {
        sample("", labels) { $0.append(Exposition.seconds(nanoseconds: nanoseconds)) }
    }

    mutating func sample(_ value: Double, _ labels: Labels = .none) {
        sample("", labels) { $0.append(value == .infinity ? "+Inf" : String(value)) }
    }

    mutating func sample(_ table: HistogramTable, row: Int = 0, _ labels: Labels = .none) {
        let count = table.count(row: row)
        let start = "\(name)_bucket{\(labels.inner)\(labels.inner.isEmpty ? "" : ",")le=\""
        for (bound, below) in zip(table.buckets.labels, table.cumulative(row: row)) { bucket(start, bound, below) }
        bucket(start, "+Inf", count)
        sample("_sum", labels) { $0.append(table.sumText(row: row)) }
        sample("_count", labels) { $0.appendNumber(count) }
    }

    private mutating func bucket(_ start: String, _ bound: String, _ count: UInt64) {
        append(start)
        append(bound)
        append("\"} " as StaticString)
        appendNumber(count)
        append("\n" as StaticString)
    }

    private mutating func sample(_ suffix: String, _ labels: Labels, _ value: (inout Exposition) -> Void) {
        append(name)
        append(suffix)
        if !labels.inner.isEmpty { append("{\(labels.inner)}") }
        append(" " as StaticString)
        value(&self)
        append("\n" as StaticString)
    }

    // MARK: Pieces

    private mutating func append(_ text: String) {
        bytes.append(contentsOf: text.utf8)
    }

    private mutating func append(_ text: StaticString) {
        text.withUTF8Buffer { bytes.append(contentsOf: $0) }
    }

    private mutating func appendNumber(_ value: UInt64) {
        var rest = value
        let start = bytes.count
        repeat {
            bytes.append(UInt8(truncatingIfNeeded: 48 + rest % 10))
            rest /= 10
        } while rest > 0
        bytes[start...].reverse()
    }

    /// Formats nanoseconds as exact seconds without trailing zeros: `1500000000` is `1.5`.
    package static func seconds(nanoseconds: UInt64) -> String {
        let (whole, rest) = nanoseconds.quotientAndRemainder(dividingBy: 1_000_000_000)
        guard rest > 0 else { return "\(whole)" }
        var digits = String(rest)
        digits = String(repeating: "0", count: 9 - digits.utf8.count) + digits
        while digits.utf8.last == 0x30 { digits.removeLast() }
        return "\(whole).\(digits)"
    }

    /// Escapes a backslash, a line end and a quote: label values may contain any character.
    static func escaped(_ text: String, quotes: Bool) -> String {
        guard text.utf8.contains(where: { $0 == 0x5C || $0 == 0x0A || ($0 == 0x22 && quotes) }) else { return text }
        var result = ""
        for character in text.unicodeScalars {
            switch character {
            case "\\": result += "\\\\"
            case "\n": result += "\\n"
            case "\"" where quotes: result += "\\\""
            default: result.unicodeScalars.append(character)
            }
        }
        return result
    }
}

/// A sample's labels.
struct Labels {
    /// The text between the braces.
    fileprivate let inner: String

    static let none = Labels(inner: "")

    private init(inner: String) { self.inner = inner }

    init(_ name: String, _ value: String) { inner = "\(name)=\"\(Exposition.escaped(value, quotes: true))\"" }

    init(_ pairs: [(String, String)]) {
        inner = pairs.map { Labels($0.0, $0.1).inner }.joined(separator: ",")
    }
}

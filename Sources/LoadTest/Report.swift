// The report of a span: a line while the test runs, a row of the CSV, and a line of the final table.

import Glibc
import OCI
import Registry

/// A column of the CSV. A test checks that docs/load-testing.md describes each.
struct Column: Sendable {
    let name: String
    let value: @Sendable (inout Span) -> String

    static let all: [Column] = [
        Column("step") { "\($0.step)" },
        Column("pullers") { "\($0.pullers)" },
        Column("images") { "\($0.tally.images)" },
        Column("images_per_second") { Text.decimal($0.imagesPerSecond, 1) },
        Column("p50_ms") { Text.decimal($0.tally.milliseconds(perMille: 500), 3) },
        Column("p99_ms") { Text.decimal($0.tally.milliseconds(perMille: 990), 3) },
        Column("requests") { "\($0.tally.requests)" },
        Column("bytes") { "\($0.tally.bytes)" },
        Column("hashed") { "\($0.tally.hashed)" },
        Column("errors") { "\($0.tally.faultCount)" },
        Column("driver_cpu_percent") { Text.decimal($0.driverPercent, 1) },
        Column("server_cpu_percent") { Text.decimal($0.percent(\.server), 1) },
        Column("server_cpu_us_per_image") { Text.decimal($0.serverMicrosecondsPerImage, 1) },
        Column("upstream_cpu_percent") { Text.decimal($0.percent(\.upstream), 1) },
        Column("steal_percent") { Text.decimal($0.percent(\.stolen), 1) },
    ]

    private init(_ name: String, _ value: @escaping @Sendable (inout Span) -> String) {
        self.name = name
        self.value = value
    }

    static func row(_ span: inout Span, sinceSeconds begin: Double) -> String {
        var cells = [Text.decimal(span.end.seconds - begin, 2)]
        for column in all { cells.append(column.value(&span)) }
        return cells.joined(separator: ",")
    }

    static var head: String { (["seconds"] + all.map(\.name)).joined(separator: ",") }
}

enum Text {
    /// The number with `digits` decimals; empty when it is unknown.
    static func decimal(_ value: Double?, _ digits: Int) -> String {
        guard let value, value.isFinite else { return "" }
        var scale = 1.0
        for _ in 0..<digits { scale *= 10 }
        let whole = Int64(saturating: (value.magnitude * scale).rounded())
        guard digits > 0 else { return "\(value < 0 ? "-" : "")\(whole)" }
        let fraction = "\(whole % Int64(scale))"
        let zeros = String(repeating: "0", count: digits - fraction.count)
        return "\(value < 0 ? "-" : "")\(whole / Int64(scale)).\(zeros)\(fraction)"
    }

    static func right(_ text: String, _ width: Int) -> String {
        String(repeating: " ", count: max(0, width - text.count)) + text
    }

    private static func known(_ value: Double?, _ digits: Int) -> String {
        let text = decimal(value, digits)
        return text.isEmpty ? "-" : text
    }

    /// The line of one span, while the test runs and in the final table.
    static func line(_ span: inout Span) -> String {
        let cells: [(String, Int, String)] = [
            ("\(span.pullers)", 5, " pullers"),
            (decimal(span.imagesPerSecond, 0), 7, " images/s"),
            (known(span.tally.milliseconds(perMille: 500), 2), 9, " ms p50"),
            (known(span.tally.milliseconds(perMille: 990), 2), 9, " ms p99"),
            (decimal(span.driverPercent, 0), 5, " % driver"),
            (known(span.percent(\.server), 0), 5, " % server"),
            (known(span.serverMicrosecondsPerImage, 0), 7, " µs/image"),
            (known(span.percent(\.upstream), 0), 5, " % upstream"),
            ("\(span.tally.faultCount)", 4, " errors"),
        ]
        return cells.map { right($0.0, $0.1) + $0.2 }.joined()
    }

    static func faults(_ tally: Tally) -> String {
        Fault.allCases.compactMap { fault in tally.faults[fault].map { "\($0) \(fault.rawValue)" } }
            .joined(separator: ", ")
    }
}

/// The CSV file, written line by line, so that an interrupted test leaves its measurements.
final class CSVFile {
    private let file: UnsafeMutablePointer<FILE>

    /// Nil when the file cannot be written.
    init?(_ path: String) {
        guard let file = fopen(path, "w") else { return nil }
        self.file = file
        write(Column.head)
    }

    func write(_ line: String) {
        fputs(line + "\n", file)
        fflush(file)
    }

    deinit { fclose(file) }
}

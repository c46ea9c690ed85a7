// Histograms of durations. Bounds are whole nanoseconds, so that an observation is a few integer comparisons; the
// search starts at the short durations, which are the most frequent.

/// Upper bounds of buckets, ascending.
package struct Buckets: Sendable {
    /// The bounds in nanoseconds, or in whole seconds (`isInSeconds`).
    let bounds: [UInt64]
    /// Whether durations are counted in seconds: a sum of ages in nanoseconds would overflow.
    let isInSeconds: Bool
    /// The bounds in seconds, as in the `le` label.
    let labels: [String]

    init(microseconds: [UInt64]) {
        bounds = microseconds.map { $0 * 1000 }
        isInSeconds = false
        labels = microseconds.map { Exposition.seconds(nanoseconds: $0 * 1000) }
    }

    init(seconds: [UInt64]) {
        bounds = seconds
        isInSeconds = true
        labels = seconds.map { "\($0)" }
    }

    /// Ages of tags: from a short `ttl` to a tag that is never checked. 1 s to 90 d.
    package static let ages = Buckets(seconds: [
        1, 10, 60, 120, 300, 600, 1800, 3600, 21_600, 86_400, 604_800, 2_592_000, 7_776_000,
    ])

    /// Requests: from the time of a hit to that of a large cold blob over a slow line. 50 µs to 600 s.
    package static let requests = Buckets(microseconds: [
        50, 100, 250, 500, 1000, 2500, 5000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000,
        5_000_000, 10_000_000, 30_000_000, 60_000_000, 120_000_000, 300_000_000, 600_000_000,
    ])

    /// Upstream requests: coarser at the short end, since no network is that fast. 1 ms to 600 s.
    package static let upstreams = Buckets(microseconds: [
        1000, 5000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000, 5_000_000, 10_000_000,
        30_000_000, 60_000_000, 120_000_000, 300_000_000, 600_000_000,
    ])

    /// Iterations of the loop and jobs of the pool. 10 µs to 10 s.
    package static let iterations = Buckets(microseconds: [
        10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000,
        2_500_000, 5_000_000, 10_000_000,
    ])
}

/// Histograms with the same buckets, one per row.
package struct HistogramTable: Sendable {
    let buckets: Buckets
    private let width: Int
    /// Per row: the counts between consecutive bounds, the count above the last, and the sum of the durations. It is
    /// one array, since every write to an array first checks whether it is shared.
    private var cells: [UInt64]

    package init(_ buckets: Buckets, rows: Int = 1) {
        self.buckets = buckets
        width = buckets.bounds.count + 2
        cells = Array(repeating: 0, count: rows * width)
    }

    package var rows: Int { cells.count / width }

    /// Counts one duration, in the unit of the bounds. No allocation.
    package mutating func observe(_ duration: UInt64, row: Int = 0) {
        observe(duration, bucket: bucket(of: duration), row: row)
    }

    /// Counts one duration in a known bucket, computed by a table with the same buckets.
    mutating func observe(_ duration: UInt64, bucket: Int, row: Int) {
        let start = row * width
        cells[start + bucket] &+= 1
        cells[start + width - 1] &+= duration
    }

    func bucket(of duration: UInt64) -> Int {
        var bucket = 0
        let bounds = buckets.bounds
        while bucket < bounds.count, bounds[bucket] < duration { bucket += 1 }
        return bucket
    }

    /// Adds a row of zeros for a new label value.
    package mutating func addRow() {
        cells.append(contentsOf: repeatElement(0, count: width))
    }

    /// The number of observations.
    package func count(row: Int = 0) -> UInt64 {
        cells[row * width..<(row + 1) * width - 1].reduce(0, &+)
    }

    package func sumNanoseconds(row: Int = 0) -> UInt64 { cells[(row + 1) * width - 1] }

    /// The sum as the metric has it.
    func sumText(row: Int) -> String {
        let sum = cells[(row + 1) * width - 1]
        return buckets.isInSeconds ? "\(sum)" : Exposition.seconds(nanoseconds: sum)
    }

    /// Cumulative counts per bound, without the last bucket, which counts all.
    func cumulative(row: Int) -> [UInt64] {
        var sum: UInt64 = 0
        return cells[row * width..<(row + 1) * width - 2].map { count in
            sum &+= count
            return sum
        }
    }
}

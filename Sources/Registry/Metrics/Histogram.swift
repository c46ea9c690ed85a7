// Durations, counted by how long they were. Bounds are whole nanoseconds, so that observing is a few comparisons of
// integers, and short ones, which are most, are found first.

/// Upper bounds of buckets, ascending.
package struct Buckets: Sendable {
    let boundsNanoseconds: [UInt64]
    /// The bounds in seconds, as `le` shows them.
    let labels: [String]

    init(microseconds: [UInt64]) {
        boundsNanoseconds = microseconds.map { $0 * 1000 }
        labels = microseconds.map { Exposition.seconds(nanoseconds: $0 * 1000) }
    }

    /// Requests: from what a cached answer takes to what a large cold blob over a slow line takes. 50 µs to 600 s.
    package static let requests = Buckets(microseconds: [
        50, 100, 250, 500, 1000, 2500, 5000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000,
        5_000_000, 10_000_000, 30_000_000, 60_000_000, 120_000_000, 300_000_000, 600_000_000,
    ])

    /// Upstreams: coarser at the short end, which no network reaches. 1 ms to 600 s.
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

/// Histograms with the same buckets, one a row.
package struct HistogramTable: Sendable {
    let buckets: Buckets
    private let width: Int
    /// Row after row: how many were at most each bound and above the one before; those above all; and the sum of all,
    /// in nanoseconds. One array, since each that is written to is first asked whether it is shared.
    private var cells: [UInt64]

    package init(_ buckets: Buckets, rows: Int = 1) {
        self.buckets = buckets
        width = buckets.boundsNanoseconds.count + 2
        cells = Array(repeating: 0, count: rows * width)
    }

    package var rows: Int { cells.count / width }

    /// Counts one duration. No allocation.
    package mutating func observe(_ nanoseconds: UInt64, row: Int = 0) {
        observe(nanoseconds, bucket: bucket(of: nanoseconds), row: row)
    }

    /// The same, where the bucket is known: of a table with the same buckets.
    mutating func observe(_ nanoseconds: UInt64, bucket: Int, row: Int) {
        let start = row * width
        cells[start + bucket] &+= 1
        cells[start + width - 1] &+= nanoseconds
    }

    func bucket(of nanoseconds: UInt64) -> Int {
        var bucket = 0
        let bounds = buckets.boundsNanoseconds
        while bucket < bounds.count, bounds[bucket] < nanoseconds { bucket += 1 }
        return bucket
    }

    package mutating func addRow() {
        cells.append(contentsOf: repeatElement(0, count: width))
    }

    /// How many were observed.
    package func count(row: Int = 0) -> UInt64 {
        cells[row * width..<(row + 1) * width - 1].reduce(0, &+)
    }

    package func sumNanoseconds(row: Int = 0) -> UInt64 { cells[(row + 1) * width - 1] }

    /// How many were at most the bucket's bound, bucket after bucket; without the last, which holds all.
    func cumulative(row: Int) -> [UInt64] {
        var sum: UInt64 = 0
        return cells[row * width..<(row + 1) * width - 2].map { count in
            sum &+= count
            return sum
        }
    }
}

// The parts of a growing blob that were requested ahead of the rest, for clients that read a distant range. A pure
// value: which bytes are in the file, which are on their way, and where the pull itself has to stop because the file
// has the next bytes already.

internal import OCI

/// Limits of requests ahead.
package struct AheadLimits: Sendable {
    /// A range that begins further than this ahead of the pull is requested at once. Nearer ones are reached in less
    /// time than a request to a distant registry takes, on a usual line.
    package var distanceBytes: Int64 = 4 * 1024 * 1024
    /// Most bytes of one request: they are sent before their digest is verified, and the pull waits for the end of a
    /// request that it catches up with.
    package var longestBytes: Int64 = 16 * 1024 * 1024
    /// Fewest bytes of one request. The footers and tables that clients read first are shorter, and followed by more.
    package var shortestBytes: Int64 = 64 * 1024
    /// Requests at once for one blob, and for all blobs of one upstream: registries limit both.
    package var requestsPerBlob = 4
    package var requestsPerUpstream = 16
    /// Spans of one blob, ended ones included: what one list that is searched for each piece of the pull may hold.
    package var spansPerBlob = 1024
    /// Failed requests after which no more are made for a blob.
    package var failuresPerBlob = 3

    /// Ranges of one client request with at most this much between them are requested as one. The pull needs what is
    /// between them anyway.
    package static let gapBytes: Int64 = 1024 * 1024

    package init() {}
}

/// The spans of one blob, in order and without overlap.
package struct AheadSpans: Sendable {
    package struct Span: Equatable, Sendable {
        package let number: Int
        package let first: Int64
        /// The end of the bytes in the file.
        package fileprivate(set) var written: Int64
        /// The end of the bytes that were requested; of those in the file, once the request has ended.
        package fileprivate(set) var end: Int64
        package fileprivate(set) var isRunning = true
    }

    package private(set) var all: [Span] = []
    private var lastNumber = 0

    package init() {}

    package var isEmpty: Bool { all.isEmpty }
    package var runningCount: Int { all.reduce(0) { $0 + ($1.isRunning ? 1 : 0) } }

    /// The end of the bytes that the file has from `position` on; nil when it does not have that byte ahead.
    package func writtenEnd(at position: Int64) -> Int64? {
        all.first { $0.first <= position && position < $0.written }?.written
    }

    /// Begins a span at `position`, which no span has, for a reader that wants the bytes up to `end`.
    /// - Returns: nil when the byte is on its way already, or a limit is reached.
    package mutating func begin(at position: Int64, upTo end: Int64, sizeBytes: Int64, _ limits: AheadLimits) -> Span? {
        guard position < end, end <= sizeBytes, all.count < limits.spansPerBlob,
            runningCount < limits.requestsPerBlob, !all.contains(where: { $0.first <= position && position < $0.end })
        else { return nil }
        let least = min(sizeBytes, position.addingSaturated(limits.shortestBytes))
        var last = min(max(end, least), position.addingSaturated(limits.longestBytes))
        let index = all.firstIndex { $0.first > position } ?? all.count
        if index < all.count { last = min(last, all[index].first) }
        lastNumber += 1
        let span = Span(number: lastNumber, first: position, written: position, end: last)
        all.insert(span, at: index)
        return span
    }

    /// The file has a span's bytes up to `end`.
    package mutating func wrote(_ number: Int, upTo end: Int64) {
        guard let index = all.firstIndex(where: { $0.number == number }) else { return }
        all[index].written = min(max(all[index].written, end), all[index].end)
    }

    /// The request of a span has ended, and all that came is in the file.
    package mutating func ended(_ number: Int) {
        guard let index = all.firstIndex(where: { $0.number == number }) else { return }
        all[index].isRunning = false
        all[index].end = all[index].written
        if all[index].first == all[index].end { all.remove(at: index) }
    }

    /// Where a pull that has the bytes before `position` has to stop: at the first byte of the next span. A span that
    /// broke off early is not worth a further request; its bytes are received again.
    package func stop(from position: Int64, _ limits: AheadLimits) -> Int64? {
        all.first { $0.first >= position && ($0.isRunning || isKept($0, limits)) }?.first
    }

    private func isKept(_ span: Span, _ limits: AheadLimits) -> Bool {
        span.end - span.first >= limits.shortestBytes || all.contains { $0.first == span.end }
    }

    /// The span that begins at a position.
    package func span(at position: Int64) -> Span? { all.first { $0.first == position } }

    /// The pull has written the bytes before `position` itself, or taken them over.
    /// - Returns: the spans that are given up although their request still runs.
    package mutating func passed(_ position: Int64) -> [Int] {
        guard let first = all.first, first.first < position else { return [] }
        let given = all.prefix { $0.first < position }
        all.removeFirst(given.count)
        return given.filter(\.isRunning).map(\.number)
    }

    /// - Returns: the spans whose request still runs.
    package mutating func removeAll() -> [Int] {
        defer { all = [] }
        return all.filter(\.isRunning).map(\.number)
    }
}

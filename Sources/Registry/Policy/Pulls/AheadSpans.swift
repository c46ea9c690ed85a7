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
    /// Fewest bytes of one request. Clients read shorter footers and tables first, and then the bytes next to them.
    package var shortestBytes: Int64 = 64 * 1024
    /// Requests at once for one blob, and for all blobs of one upstream: registries limit both.
    package var requestsPerBlob = 4
    package var requestsPerUpstream = 16
    /// Requests at once in all: each takes a descriptor.
    package var requestsInAll = 128
    /// Spans of one blob, ended ones included: the list is searched for each received piece.
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

    package private(set) var spans: [Span] = []
    private var lastNumber = 0

    package init() {}

    package var isEmpty: Bool { spans.isEmpty }
    package var runningCount: Int { spans.reduce(0) { $0 + ($1.isRunning ? 1 : 0) } }

    /// The end of the bytes that the file has from `position` on; nil when it does not have that byte ahead.
    package func writtenEnd(at position: Int64) -> Int64? {
        spans.first { $0.first <= position && position < $0.written }?.written
    }

    /// Begins a span at `position`, which no span has, for a reader that wants the bytes up to `end`.
    /// - Returns: nil when the byte is on its way already, or a limit is reached.
    package mutating func begin(at position: Int64, upTo end: Int64, sizeBytes: Int64, _ limits: AheadLimits) -> Span? {
        guard position < end, end <= sizeBytes, spans.count < limits.spansPerBlob,
            runningCount < limits.requestsPerBlob, !spans.contains(where: { $0.first <= position && position < $0.end })
        else { return nil }
        let least = min(sizeBytes, position.addingSaturated(limits.shortestBytes))
        var spanEnd = min(max(end, least), position.addingSaturated(limits.longestBytes))
        let index = spans.firstIndex { $0.first > position } ?? spans.count
        if index < spans.count { spanEnd = min(spanEnd, spans[index].first) }
        lastNumber += 1
        let span = Span(number: lastNumber, first: position, written: position, end: spanEnd)
        spans.insert(span, at: index)
        return span
    }

    /// The file has a span's bytes up to `end`.
    package mutating func recordWritten(_ number: Int, upTo end: Int64) {
        guard let index = spans.firstIndex(where: { $0.number == number }) else { return }
        spans[index].written = min(max(spans[index].written, end), spans[index].end)
    }

    /// The request of a span has ended, and all that came is in the file.
    package mutating func recordEnd(_ number: Int) {
        guard let index = spans.firstIndex(where: { $0.number == number }) else { return }
        spans[index].isRunning = false
        spans[index].end = spans[index].written
        if spans[index].first == spans[index].end { spans.remove(at: index) }
    }

    /// The offset of the next span at or after `position`, where the pull's own request has to end; nil if there is
    /// none. A short span that broke off is skipped: a request around it costs more than receiving its bytes again.
    package func nextSpanStart(from position: Int64, _ limits: AheadLimits) -> Int64? {
        spans.first { $0.first >= position && ($0.isRunning || isKept($0, limits)) }?.first
    }

    private func isKept(_ span: Span, _ limits: AheadLimits) -> Bool {
        span.end - span.first >= limits.shortestBytes || spans.contains { $0.first == span.end }
    }

    /// The span that begins at a position.
    package func span(at position: Int64) -> Span? { spans.first { $0.first == position } }

    /// Removes the spans that begin before `position`: the pull has these bytes.
    /// - Returns: the numbers of those whose request still runs.
    package mutating func removeSpans(before position: Int64) -> [Int] {
        guard let first = spans.first, first.first < position else { return [] }
        let given = spans.prefix { $0.first < position }
        spans.removeFirst(given.count)
        return given.filter(\.isRunning).map(\.number)
    }

    /// - Returns: the spans whose request still runs.
    package mutating func removeAll() -> [Int] {
        defer { spans = [] }
        return spans.filter(\.isRunning).map(\.number)
    }
}

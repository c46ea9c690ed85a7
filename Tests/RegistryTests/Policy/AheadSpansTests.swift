// Spans ahead of a pull, as values.

import TestSupport
import Testing

@testable import Registry

@Suite struct AheadSpansTests {
    private static var limits: AheadLimits {
        var limits = AheadLimits()
        limits.shortestBytes = 10
        limits.longestBytes = 100
        limits.requestsPerBlob = 3
        return limits
    }

    private func begin(_ spans: inout AheadSpans, _ position: Int64, _ end: Int64) throws -> AheadSpans.Span {
        let span = spans.begin(at: position, upTo: end, sizeBytes: 1000, Self.limits)
        guard let span else { throw Refused() }
        return span
    }

    private struct Refused: Error {}

    @Test("a span is at least the shortest, at most the longest, and ends before the next one") func lengths() throws {
        var spans = AheadSpans()
        let first = try begin(&spans, 500, 501)
        #expect(first.first == 500 && first.end == 510)
        let long = try begin(&spans, 700, 900)
        #expect(long.end == 800)
        let before = try begin(&spans, 495, 600)
        #expect(before.end == 500)
        #expect(throws: (any Error).self, "three requests run") { try begin(&spans, 900, 910) }
        spans.recordEnd(before.number)
        let last = try begin(&spans, 995, 1000)
        #expect(last.end == 1000)
        #expect(throws: (any Error).self, "it is on its way") { try begin(&spans, 505, 506) }
    }

    @Test("bytes can be read as far as they are written, also after the request broke") func reading() throws {
        var spans = AheadSpans()
        let span = try begin(&spans, 500, 600)
        #expect(spans.writtenEnd(at: 500) == nil)
        spans.recordWritten(span.number, upTo: 550)
        #expect(spans.writtenEnd(at: 549) == 550 && spans.writtenEnd(at: 550) == nil)
        spans.recordEnd(span.number)
        #expect(spans.writtenEnd(at: 500) == 550)
        let rest = try begin(&spans, 550, 600)
        #expect(rest.first == 550 && rest.end == 600)
    }

    @Test("a pull stops at running spans and at ended ones that are worth it") func stops() throws {
        var spans = AheadSpans()
        let short = try begin(&spans, 500, 600)
        let next = try begin(&spans, 700, 800)
        #expect(spans.nextSpanStart(from: 0, Self.limits) == 500)
        spans.recordWritten(short.number, upTo: 503)
        spans.recordEnd(short.number)
        #expect(spans.nextSpanStart(from: 0, Self.limits) == 700, "three bytes are not worth a request")
        let none = spans.removeSpans(before: 600)
        #expect(none.isEmpty)
        #expect(spans.writtenEnd(at: 500) == nil)
        let given = spans.removeSpans(before: 701)
        #expect(given == [next.number])
        #expect(spans.isEmpty)
    }

    @Test("random spans never overlap, and hold only what was written") func random() {
        let seed = UInt64.random(in: 0...UInt64.max)
        var random = SeededRandom(seed: seed)
        for _ in 0..<300 {
            var spans = AheadSpans()
            var written: Set<Int64> = []
            var frontier: Int64 = 0
            for _ in 0..<60 {
                let position = Int64.random(in: frontier...999, using: &random)
                let end = Int64.random(in: position...1000, using: &random)
                _ = spans.begin(at: position, upTo: end, sizeBytes: 1000, Self.limits)
                if let span = spans.spans.filter(\.isRunning).randomElement(using: &random) {
                    let reach = Int64.random(in: span.written...span.end, using: &random)
                    spans.recordWritten(span.number, upTo: reach)
                    written.formUnion(span.first..<reach)
                    if Bool.random(using: &random) { spans.recordEnd(span.number) }
                }
                if Int.random(in: 0..<8, using: &random) == 0 {
                    frontier = Int64.random(in: frontier...min(999, frontier + 100), using: &random)
                    _ = spans.removeSpans(before: frontier)
                }
                for (one, other) in zip(spans.spans, spans.spans.dropFirst()) {
                    #expect(one.end <= other.first, "seed \(seed)")
                }
                for place in Int64(0)..<1000 where spans.writtenEnd(at: place) != nil {
                    #expect(written.contains(place), "seed \(seed)")
                }
            }
        }
    }
}

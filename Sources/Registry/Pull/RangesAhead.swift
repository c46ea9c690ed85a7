// Requests ahead of a blob pull. Without them, a client that reads a distant range would wait for most of the pull. The
// range is requested at once and written at its offset in the growing file; the pull takes these bytes over when it
// reaches that offset. Clients get them before the blob is verified (docs/security.md). The blob is published only
// after its whole digest is verified.

internal import Logging
internal import OCI

/// The requests ahead of one pull.
final class RangesAhead {
    private let blob: GrowingBlob
    private let ingest: Ingest
    private let source: PullSource
    private let context: PullContext
    private let limits: AheadLimits
    private let upstream: Upstream
    private var fetches: [Int: AheadFetch] = [:]
    private var failures = 0
    /// The bytes before this are written by the pull itself, or about to be.
    private var frontier: Int64
    /// Whether no more requests are made: the upstream refused a range, or the pull has started over or ended.
    private var isDisabled = false
    /// The pull's position and completion, while it waits for a running span.
    private var waitingPull: (position: Int64, onTaken: (Int64) -> Void)?

    init(of blob: GrowingBlob, _ ingest: Ingest, from source: PullSource, context: PullContext, limits: AheadLimits) {
        self.blob = blob
        self.ingest = ingest
        self.source = source
        self.context = context
        self.limits = limits
        upstream = context.client.upstream(for: source.host)
        frontier = ingest.writtenBytes
        blob.distanceBytes = limits.distanceBytes
        blob.onDistantRead = { [weak self] in self?.requestAhead($0) }
    }

    // MARK: For readers

    /// A reader wants these bytes, and the file does not have the first of them.
    private func requestAhead(_ range: Range<Int64>) {
        guard !isDisabled, failures < limits.failuresPerBlob, let size = blob.sizeBytes,
            blob.isDistant(range.lowerBound), range.lowerBound >= frontier,
            upstream.aheadCount < limits.requestsPerUpstream, context.client.aheadCount < limits.requestsInAll,
            // The pull has a slot already, and is there sooner than a request that waits for one.
            context.client.hasSlot(for: upstream),
            let span = blob.ahead.begin(at: range.lowerBound, upTo: range.upperBound, sizeBytes: size, limits)
        else { return }
        upstream.aheadCount += 1
        context.client.aheadCount += 1
        fetches[span.number] = AheadFetch(
            span, sizeBytes: size, into: IngestSpan(of: ingest, first: span.first), from: source, upstream: upstream,
            context: context, digest: blob.key.digest,
            onProgress: { [weak self] end in
                self?.blob.ahead.recordWritten(span.number, upTo: end)
                self?.blob.wake()
            },
            onEnd: { [weak self] in self?.fetchEnded(span.number, $0) })
    }

    private func fetchEnded(_ number: Int, _ end: AheadFetch.End) {
        guard let fetch = fetches.removeValue(forKey: number) else { return }
        upstream.aheadCount -= 1
        context.client.aheadCount -= 1
        context.metrics.pulls.aheadEnded(receivedBytes: fetch.receivedBytes, succeeded: end == .complete)
        switch end {
        case .complete: break
        case .broken: failures += 1
        case .refused:
            isDisabled = true
            context.logger.info(
                "upstream does not answer a range ahead of the pull; readers wait for the pull",
                metadata: ["digest": "\(blob.key.digest)", "host": "\(source.host)"])
        }
        blob.ahead.recordEnd(number)
        blob.wake()
        resumeWaitingPull()
    }

    // MARK: For the pull

    /// The offset of the next span at or after `position`, where the pull's own request has to end.
    func nextSpanStart(from position: Int64) -> Int64? {
        blob.ahead.isEmpty ? nil : blob.ahead.nextSpanStart(from: position, limits)
    }

    /// Records that the pull has the bytes before `position`.
    func advance(to position: Int64) {
        frontier = position
        guard !blob.ahead.isEmpty else { return }
        for number in blob.ahead.removeSpans(before: position) { cancel(number) }
    }

    /// Takes over the spans that begin at `position`, one after the other, and waits for the running ones among them.
    /// - Parameter onTaken: called later with the end of the bytes that the pull has then.
    func takeSpans(at position: Int64, onTaken: @escaping (Int64) -> Void) {
        guard let span = blob.ahead.span(at: position) else {
            return context.loop.deferred.enqueue { onTaken(position) }
        }
        guard !span.isRunning else { return waitingPull = (position, onTaken) }
        ingest.take(upTo: span.end) { [weak self] in
            guard let self else { return }
            advance(to: span.end)
            takeSpans(at: span.end, onTaken: onTaken)
        }
    }

    private func resumeWaitingPull() {
        guard let (position, onTaken) = waitingPull else { return }
        waitingPull = nil
        takeSpans(at: position, onTaken: onTaken)
    }

    /// Ends all requests, and makes no more.
    func close() {
        isDisabled = true
        waitingPull = nil
        blob.onDistantRead = nil
        blob.distanceBytes = nil
        for number in blob.ahead.removeAll() { cancel(number) }
    }

    private func cancel(_ number: Int) {
        guard let fetch = fetches.removeValue(forKey: number) else { return }
        upstream.aheadCount -= 1
        context.client.aheadCount -= 1
        // A cancelled request is not an upstream's failure.
        context.metrics.pulls.aheadEnded(receivedBytes: fetch.receivedBytes, succeeded: true)
        fetch.cancel()
    }
}

/// The request for one span.
private final class AheadFetch: UpstreamExchangeHandler {
    enum End {
        case complete
        /// The transfer broke off, or the upstream answered with a temporary error.
        case broken
        /// The upstream does not serve this range.
        case refused
    }

    private let span: AheadSpans.Span
    private let sizeBytes: Int64
    private let target: IngestSpan
    private let onEnd: (End) -> Void
    private var exchange: UpstreamExchange?
    private(set) var receivedBytes: Int64 = 0
    /// Whether the answer states its length, so that the exchange ends with the last byte.
    private var hasLength = false

    init(
        _ span: AheadSpans.Span, sizeBytes: Int64, into target: IngestSpan, from source: PullSource, upstream: Upstream,
        context: PullContext, digest: Digest, onProgress: @escaping (Int64) -> Void, onEnd: @escaping (End) -> Void
    ) {
        self.span = span
        self.sizeBytes = sizeBytes
        self.target = target
        self.onEnd = onEnd
        var request = UpstreamRequest.blob(.get, digest, source)
        request.rangeStart = span.first
        request.rangeEnd = span.end
        exchange = context.client.start(request, to: upstream, handler: self)
        target.onProgress = { [unowned target] in onProgress(target.writtenEnd) }
        target.onDrained = { [weak self] in self?.exchange?.resume() }
        target.onFailure = { [weak self] in self?.end(.broken) }
    }

    func cancel() {
        exchange?.cancel()
        exchange = nil
        target.cancel()
    }

    /// Ends it when what has come is in the file.
    private func end(_ end: End) {
        exchange?.cancel()
        exchange = nil
        target.finish { [onEnd] in onEnd(end) }
    }

    func exchange(_ exchange: UpstreamExchange, received head: UpstreamHead) {
        guard exchange === self.exchange else { return }
        guard head.status == 206 else {
            let isTemporary = head.status == 408 || head.status == 429 || head.status >= 500
            return end(isTemporary ? .broken : .refused)
        }
        guard let range = head.contentRange, range.first == span.first, range.last == span.end - 1,
            range.total == sizeBytes, head.encoding == nil
        else { return end(.refused) }
        hasLength = head.contentLength == span.end - span.first
    }

    func exchange(_ exchange: UpstreamExchange, received bytes: UnsafeRawBufferPointer) -> Bool {
        guard exchange === self.exchange else { return true }
        let left = span.end - span.first - receivedBytes
        let taken = UnsafeRawBufferPointer(rebasing: bytes.prefix(Int(clamping: min(left, Int64(bytes.count)))))
        guard !taken.isEmpty else { return true }
        receivedBytes += Int64(taken.count)
        let takesMore = target.append(taken)
        if !hasLength, receivedBytes == span.end - span.first { end(.complete) }
        return takesMore
    }

    func exchange(_ exchange: UpstreamExchange, ended failure: UpstreamFailure?) {
        guard exchange === self.exchange else { return }
        self.exchange = nil
        end(failure == nil && receivedBytes == span.end - span.first ? .complete : .broken)
    }
}

// Requests ahead of a blob pull: a client that reads a range far ahead of what has come would wait for the whole pull.
// Its range is requested at once, written into the growing file at its place, and taken over by the pull when that
// arrives there. The bytes are sent before the digest of the blob can be verified (docs/security.md); the blob itself
// is published as ever, when the digest of the whole file is right.

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
    /// Whether no more are made: the upstream does not answer ranges as it must, the pull has started over, or ended.
    private var isRefused = false
    /// The pull, where it waits for the end of the request that it has caught up with.
    private var waiting: (position: Int64, then: (Int64) -> Void)?

    init(of blob: GrowingBlob, _ ingest: Ingest, from source: PullSource, context: PullContext, limits: AheadLimits) {
        self.blob = blob
        self.ingest = ingest
        self.source = source
        self.context = context
        self.limits = limits
        upstream = context.client.upstream(for: source.host)
        frontier = ingest.writtenBytes
        blob.onDistantRead = { [weak self] in self?.wanted($0) }
    }

    // MARK: For readers

    /// A reader wants these bytes, and the file does not have the first of them.
    private func wanted(_ range: Range<Int64>) {
        guard !isRefused, failures < limits.failuresPerBlob, let size = blob.sizeBytes,
            range.lowerBound.subtractingSaturated(blob.readableBytes) > limits.distanceBytes,
            range.lowerBound >= frontier,
            upstream.aheadCount < limits.requestsPerUpstream,
            let span = blob.ahead.begin(at: range.lowerBound, upTo: range.upperBound, sizeBytes: size, limits)
        else { return }
        upstream.aheadCount += 1
        fetches[span.number] = AheadFetch(
            span, sizeBytes: size, into: IngestSpan(of: ingest, first: span.first), from: source, upstream: upstream,
            context: context, digest: blob.key.digest,
            onProgress: { [weak self] end in
                self?.blob.ahead.wrote(span.number, upTo: end)
                self?.blob.wake()
            },
            onEnd: { [weak self] in self?.ended(span.number, $0) })
    }

    private func ended(_ number: Int, _ end: AheadFetch.End) {
        guard let fetch = fetches.removeValue(forKey: number) else { return }
        upstream.aheadCount -= 1
        context.metrics.pulls.aheadEnded(receivedBytes: fetch.receivedBytes, succeeded: end == .complete)
        switch end {
        case .complete: break
        case .broken: failures += 1
        case .refused:
            isRefused = true
            context.logger.info(
                "upstream does not answer a range ahead of the pull; readers wait for the pull",
                metadata: ["digest": "\(blob.key.digest)", "host": "\(source.host)"])
        }
        blob.ahead.ended(number)
        blob.wake()
        resumeWaiting()
    }

    // MARK: For the pull

    /// Where the pull has to stop when it has the bytes before `position`.
    func stop(from position: Int64) -> Int64? { blob.ahead.isEmpty ? nil : blob.ahead.stop(from: position, limits) }

    /// The pull has written the bytes before `position` itself.
    func passed(_ position: Int64) {
        frontier = position
        guard !blob.ahead.isEmpty else { return }
        for number in blob.ahead.passed(position) { cancel(number) }
    }

    /// Takes over the spans that begin at `position`, one after the other, and waits for the running ones among them.
    /// - Parameter then: called later with the end of the bytes that the pull has now.
    func take(at position: Int64, then: @escaping (Int64) -> Void) {
        guard let span = blob.ahead.span(at: position) else {
            return context.loop.deferred.enqueue { then(position) }
        }
        guard !span.isRunning else { return waiting = (position, then) }
        ingest.take(upTo: span.end) { [weak self] in
            guard let self else { return }
            passed(span.end)
            take(at: span.end, then: then)
        }
    }

    private func resumeWaiting() {
        guard let (position, then) = waiting else { return }
        waiting = nil
        take(at: position, then: then)
    }

    /// Ends all requests, and makes no more.
    func close() {
        isRefused = true
        waiting = nil
        blob.onDistantRead = nil
        for number in blob.ahead.removeAll() { cancel(number) }
    }

    private func cancel(_ number: Int) {
        guard let fetch = fetches.removeValue(forKey: number) else { return }
        upstream.aheadCount -= 1
        context.metrics.pulls.aheadEnded(receivedBytes: fetch.receivedBytes, succeeded: true)
        fetch.cancel()
    }
}

/// The request for one span.
private final class AheadFetch: UpstreamExchangeHandler {
    enum End {
        case complete
        /// It broke, or was answered by an error that need not last.
        case broken
        /// The upstream does not give this range of this blob.
        case refused
    }

    private let span: AheadSpans.Span
    private let sizeBytes: Int64
    private let target: IngestSpan
    private let onEnd: (End) -> Void
    private var exchange: UpstreamExchange?
    private(set) var receivedBytes: Int64 = 0

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
            let mayPass = head.status == 408 || head.status == 429 || head.status >= 500
            return end(mayPass ? .broken : .refused)
        }
        guard let range = head.contentRange, range.first == span.first, range.last == span.end - 1,
            range.total == sizeBytes, head.encoding == nil
        else { return end(.refused) }
    }

    func exchange(_ exchange: UpstreamExchange, received bytes: UnsafeRawBufferPointer) -> Bool {
        guard exchange === self.exchange else { return true }
        let left = span.end - span.first - receivedBytes
        let taken = UnsafeRawBufferPointer(rebasing: bytes.prefix(Int(clamping: min(left, Int64(bytes.count)))))
        guard !taken.isEmpty else { return true }
        receivedBytes += Int64(taken.count)
        return target.append(taken)
    }

    func exchange(_ exchange: UpstreamExchange, ended failure: UpstreamFailure?) {
        guard exchange === self.exchange else { return }
        self.exchange = nil
        end(failure == nil && receivedBytes == span.end - span.first ? .complete : .broken)
    }
}

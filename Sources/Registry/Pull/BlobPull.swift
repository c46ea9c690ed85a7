// Runs one PullMachine: passes it the reports of the store and the upstream, and performs its actions after the call
// that brought the event has returned.

internal import Logging
internal import OCI

/// One blob pull in progress: it connects an Ingest, upstream exchanges, and the growing blob that readers see.
final class BlobPull: UpstreamExchangeHandler {
    let blob: GrowingBlob
    private let source: PullSource
    private let context: PullContext
    private let ended: (BlobPull, GrowingBlob) -> Void
    /// Called when the pull must wait for the end of its repository's pause; `start` then resumes it.
    var onPause: (BlobPull) -> Void = { _ in }
    /// When it began to wait for the end of one or more pauses; nil once an answer has come.
    private(set) var waitingSinceMilliseconds: UInt64?
    /// Whether it has waited for the end of a pause and may be sent next.
    var isReleased = false
    /// Whether it is a prefetch that was refused by a 429 and waits for the end of its host's slowdown.
    var wasPutBack = false
    private var hasStarted = false
    private var machine: PullMachine
    private var ingest: Ingest?
    private var exchange: UpstreamExchange?
    private var backOff: Timer?
    /// Bytes passed to the ingest, written or not.
    private var received: Int64 = 0
    /// Bytes of the current answer to skip, since the file already holds them.
    private var toSkip: Int64 = 0
    private var isClosed = false
    /// The `Content-Encoding` of the last answer, to be named when its bytes are not the blob's.
    private var encoding: String?

    init(
        key: PullKey, source: PullSource, context: PullContext, ended: @escaping (BlobPull, GrowingBlob) -> Void
    ) {
        blob = GrowingBlob(key: key, loop: context.loop)
        self.source = source
        self.context = context
        self.ended = ended
        machine = PullMachine(firstBackOffMilliseconds: context.firstBackOffMilliseconds)
    }

    /// Opens the file and begins, or resumes after a pause.
    func start() {
        isReleased = false
        guard !hasStarted else { return handle(.backOffElapsed) }
        hasStarted = true
        context.store.beginIngest(blob.key) { [self] result in opened(result) }
    }

    /// It waits for the end of its repository's pause.
    /// - Returns: since when, earlier pauses included.
    func waits() -> UInt64 {
        let since = waitingSinceMilliseconds ?? context.loop.nowMilliseconds
        waitingSinceMilliseconds = since
        return since
    }

    /// Ends the pull, because it would have to wait for too long or too many are waiting.
    func refuse(_ error: RegistryError) {
        guard !isClosed else { return }
        finish(with: error, keepPartial: true)
    }

    /// Ends the pull from outside and keeps the bytes so far.
    func close(_ reason: String) {
        perform([.dropExchange])
        perform(machine.handle(.broke(.unavailable(reason), received: received)))
        if !machine.isOver { finish(with: .unavailable(reason), keepPartial: true) }
    }

    private func opened(_ result: Result<Ingest, StoreError>) {
        guard !isClosed else {
            if case .success(let ingest) = result { ingest.suspend() }
            return
        }
        switch result {
        case .success(let ingest): begin(ingest)
        case .failure(let error): handle(.storeFailed(error.registryError))
        }
    }

    private func begin(_ ingest: Ingest) {
        self.ingest = ingest
        received = ingest.writtenBytes
        ingest.onProgress = { [weak self] in self?.progressed() }
        ingest.onDrained = { [weak self] in self?.exchange?.resume() }
        ingest.onFailure = { [weak self] error in self?.handle(.storeFailed(error.registryError)) }
        blob.opened(ingest.file)
        handle(.opened(offset: ingest.writtenBytes))
    }

    private func progressed() {
        if let ingest { blob.grew(to: ingest.writtenBytes) }
    }

    // MARK: Events and actions

    private func handle(_ event: PullMachine.Event) {
        guard !isClosed else { return }
        perform(machine.handle(event))
    }

    private func perform(_ actions: [PullMachine.Action]) {
        for action in actions { perform(action) }
    }

    private func perform(_ action: PullMachine.Action) {
        switch action {
        case .request(let offset): request(from: offset)
        case .skip(let count): toSkip = count
        case .announce(let size):
            blob.announce(sizeBytes: size)
            progressed()
        case .reserve(let total):
            let asking = ingest
            asking?.reserve(totalBytes: total) { [self] error in
                guard asking === ingest else { return }
                handle(error.map { .storeFailed($0.registryError) } ?? .reserved)
            }
        case .dropExchange: dropExchange()
        case .backOff(let milliseconds): wait(milliseconds)
        case .waitForPause: onPause(self)
        case .verify: verify()
        case .startOver: startOver()
        case .commit: commit()
        case .finish: finishComplete()
        case .fail(let error, let keepPartial): finish(with: error, keepPartial: keepPartial)
        }
    }

    private func request(from offset: Int64) {
        toSkip = 0
        if offset > 0 || received > 0 {
            context.metrics.pulls.resumed &+= 1
            context.logger.info("resuming blob pull", metadata: metadata(["offset": .stringConvertible(offset)]))
        }
        var request = UpstreamRequest.blob(.get, blob.key.digest, source)
        request.rangeStart = offset > 0 ? offset : nil
        exchange = context.client.start(request, to: context.client.upstream(for: source.host), handler: self)
    }

    private func dropExchange() {
        exchange?.cancel()
        exchange = nil
    }

    private func wait(_ milliseconds: UInt64) {
        let timer = backOff ?? Timer(on: context.loop) { [weak self] in self?.handle(.backOffElapsed) }
        backOff = timer
        timer.start(afterMilliseconds: milliseconds)
    }

    private func verify() {
        ingest?.verify { [self] result in
            switch result {
            case .success(let matches):
                if !matches { context.metrics.pulls.verificationFailed(.blob) }
                handle(.verified(matches))
            case .failure(let error): handle(.storeFailed(error.registryError))
            }
        }
    }

    private func startOver() {
        context.logger.warning(
            "content of a resumed pull does not match its digest; starting from zero", metadata: metadata())
        ingest?.restart { [self] result in
            guard !isClosed, case .success(let fresh) = result else { return opened(result) }
            blob.startOver(with: fresh.file)
            begin(fresh)
        }
    }

    /// Readers do not wait for the disk: the digest is verified, and only the rename to the final name is left.
    private func commit() {
        blob.complete(sizeBytes: received)
        ingest?.commit { [self] result in
            switch result {
            case .success: handle(.committed)
            case .failure(let error): handle(.storeFailed(error.registryError))
            }
        }
    }

    private func finishComplete() {
        ingest = nil
        end(succeeded: true)
    }

    private func finish(with failure: RegistryError, keepPartial: Bool) {
        var error = failure
        if error.code == .digestInvalid, let encoding { error.detail = "it came with Content-Encoding: \(encoding)" }
        dropExchange()
        if keepPartial { ingest?.suspend() } else { ingest?.discard() }
        ingest = nil
        context.logger.warning("blob pull failed", metadata: metadata(["reason": "\(error.message)"]))
        if case .complete = blob.phase {} else { blob.fail(error) }
        end(succeeded: false)
    }

    /// The metadata of every log line about this pull: the blob, the host, and the request that began the pull.
    private func metadata(_ more: Logger.Metadata = [:]) -> Logger.Metadata {
        var metadata = more
        metadata["digest"] = "\(blob.key.digest)"
        metadata["host"] = "\(source.host)"
        if !source.requestID.isEmpty { metadata["id"] = "\(source.requestID)" }
        return metadata
    }

    private func end(succeeded: Bool) {
        guard !isClosed else { return }
        isClosed = true
        context.metrics.pulls.ended(.blob, succeeded: succeeded)
        backOff?.close()
        backOff = nil
        exchange = nil
        ended(self, blob)
    }

    // MARK: UpstreamExchangeHandler

    func exchange(_ exchange: UpstreamExchange, received head: UpstreamHead) {
        guard exchange === self.exchange else { return }
        if let error = UpstreamAnswer.refusedSize(in: head, host: source.host) { return fail(.refused(error)) }
        if [200, 206, 416].contains(head.status) {
            waitingSinceMilliseconds = nil
            encoding = head.encoding
            return handle(.answered(head.pullAnswer))
        }
        let error =
            UpstreamAnswer.error(for: head, kind: .blob, host: source.host)
            ?? .unavailable("\(source.host) answered \(head.status)")
        fail(head.status >= 500 ? .broke(error, received: received) : refusal(error))
    }

    /// The event for a refusal: after a 429 the pull may wait.
    private func refusal(_ error: RegistryError) -> PullMachine.Event {
        guard error.status == 429 else { return .refused(error) }
        let since = waitingSinceMilliseconds ?? context.loop.nowMilliseconds
        return .rateLimited(error, canWait: context.client.rateLimits.canWait(source.limited, since: since))
    }

    /// Ends the exchange without waiting for the answer's body, which is not used.
    private func fail(_ event: PullMachine.Event) {
        dropExchange()
        handle(event)
    }

    func exchange(_ exchange: UpstreamExchange, received bytes: UnsafeRawBufferPointer) -> Bool {
        guard exchange === self.exchange, let ingest else { return true }
        var fresh = bytes
        if toSkip > 0 {
            let passed = Int(min(toSkip, Int64(bytes.count)))
            toSkip -= Int64(passed)
            fresh = UnsafeRawBufferPointer(rebasing: bytes[passed...])
        }
        guard !fresh.isEmpty else { return true }
        received += Int64(fresh.count)
        if let size = machine.size, received > size {
            // Only bodies without a stated length can exceed the size; an endless one would fill the disk.
            fail(.broke(.unavailable("the upstream's body is longer than it said"), received: received))
            return true
        }
        return ingest.append(fresh)
    }

    func exchange(_ exchange: UpstreamExchange, ended failure: UpstreamFailure?) {
        guard exchange === self.exchange else { return }
        self.exchange = nil
        if case .refused(let error) = failure, error.status < 500 {
            // Refused by this server or by a token service: an immediate retry would not help.
            handle(refusal(error))
        } else if let failure {
            handle(.broke(failure.registryError(host: source.host), received: received))
        } else if toSkip > 0 {
            handle(.broke(.unavailable("the upstream's body is shorter than before"), received: received))
        } else {
            handle(.bodyEnded(total: received))
        }
    }
}

extension UpstreamHead {
    /// The parts of the head that a pull needs.
    fileprivate var pullAnswer: PullMachine.Answer {
        PullMachine.Answer(
            status: status, contentLength: contentLength, rangeFirst: contentRange?.first,
            rangeTotal: contentRange?.total ?? unsatisfiedTotal)
    }

    /// The size in a 416's `Content-Range: bytes */N` (RFC 9110 §14.4).
    private var unsatisfiedTotal: Int64? {
        guard let text = fields.first("content-range"), text.hasPrefix("bytes */"),
            case .bytes(let total) = ContentSize.read(text.dropFirst("bytes */".count))
        else { return nil }
        return total
    }
}

// Runs one PullMachine: passes it the reports of the store and the upstream, and performs its actions after the call
// that brought the event has returned.

internal import Logging
internal import OCI

/// One blob pull in progress: it connects an Ingest, upstream exchanges, and the growing blob that readers see.
final class BlobPull {
    let blob: GrowingBlob
    let source: PullSource
    let context: PullContext
    private let ended: (BlobPull, GrowingBlob) -> Void
    /// Called when the pull must wait for the end of its repository's pause; `start` then resumes it.
    var onPause: (BlobPull) -> Void = { _ in }
    /// Called when its window is no longer in use.
    var onWindowReleased: () -> Void = {}
    /// Whether others wait for a window.
    var isContended: () -> Bool = { false }
    /// Called when the store has no room for the blob or cannot write. Returns whether the pull passes through now.
    var onNoRoom: (BlobPull) -> Bool = { _ in false }
    /// When it began to wait for the end of one or more pauses; nil once an answer has come.
    var waitingSinceMilliseconds: UInt64?
    /// Whether it has waited for the end of a pause and may be sent next.
    var isReleased = false
    /// Whether it is a prefetch that was refused by a 429 and waits for the end of its host's slowdown.
    var isPutBack = false
    private var hasStarted = false
    private(set) var machine: PullMachine
    var sink: (any PullSink)?
    var exchange: UpstreamExchange?
    /// The exchange that the latest bytes came from; it may have ended.
    var latestExchange: UpstreamExchange?
    private var backOff: Timer?
    /// Bytes passed to the sink, written or not.
    var received: Int64 = 0
    /// Bytes of the current answer to skip, since the file already holds them.
    var bytesToSkip: Int64 = 0
    /// Whether the next request only continues behind a span that was requested ahead.
    var isAfterSpan = false
    private var isClosed = false
    /// The end of the range that the current request asked for; nil: the rest of the content.
    var requestedEnd: Int64?
    /// Requests ahead for clients that read distant ranges.
    var ahead: RangesAhead?
    /// The `Content-Encoding` of the last answer, to be named when its bytes are not the blob's.
    var encoding: String?

    init(
        key: PullKey, source: PullSource, context: PullContext, ended: @escaping (BlobPull, GrowingBlob) -> Void
    ) {
        blob = GrowingBlob(key: key, loop: context.loop)
        self.source = source
        self.context = context
        self.ended = ended
        machine = PullMachine(firstBackOffMilliseconds: context.firstBackOffMilliseconds)
    }

    /// The size that the upstream stated; nil when it is unknown.
    var statedSizeBytes: Int64? { machine.size }

    /// Opens the file and begins, or resumes after a pause.
    func start() {
        isReleased = false
        guard !hasStarted else { return handle(.backOffElapsed) }
        hasStarted = true
        context.store.beginIngest(blob.key) { [self] result in opened(result) }
    }

    /// Records that the pull waits for the end of its repository's pause.
    /// - Returns: when it began to wait, earlier pauses included.
    func beginWaiting() -> UInt64 {
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
        case .success(let ingest):
            if let limits = context.settings.aheadLimits {
                ahead = RangesAhead(of: blob, ingest, from: source, context: context, limits: limits)
            }
            begin(ingest)
        case .failure(let error): storeFailed(error)
        }
    }

    private func begin(_ sink: any PullSink) {
        self.sink = sink
        received = sink.writtenBytes
        sink.onProgress = { [weak self] in self?.publishProgress() }
        sink.onDrained = { [weak self] in self?.exchange?.resume() }
        sink.onFailure = { [weak self] in self?.storeFailed($0) }
        sink.attach(to: blob)
        handle(.opened(offset: sink.writtenBytes))
    }

    private func publishProgress() {
        if let sink { blob.grew(to: sink.writtenBytes) }
    }

    // MARK: No room

    /// Handles a failure of the store. When it has no room for the blob or cannot write, and no reader has been given
    /// any of it, the blob passes through.
    private func storeFailed(_ error: StoreError) {
        guard !isClosed else { return }
        if error.meansFullOrFailing, onNoRoom(self) { return passThrough(because: error.registryError.message) }
        handle(.storeFailed(error.registryError))
    }

    /// Begins anew, with a window in place of the file.
    /// - Parameter reason: why it is not stored; for the log, once.
    func passThrough(because reason: String?) {
        dropExchange()
        ahead?.close()
        ahead = nil
        sink?.discard()
        context.metrics.pulls.passed &+= 1
        if let reason {
            context.logger.warning(
                "a blob passes through without being kept", metadata: metadata(["reason": "\(reason)"]))
        }
        let window = PassingWindow(digest: blob.key.digest, loop: context.loop, offload: context.offload)
        window.onAbandoned = { [weak self] in self?.close("no client reads it") }
        window.onReleased = onWindowReleased
        window.isContended = isContended
        window.onCut = { [weak self] in self?.blob.wake() }
        hasStarted = true
        machine = PullMachine(firstBackOffMilliseconds: context.firstBackOffMilliseconds)
        begin(window)
    }

    // MARK: Events and actions

    func handle(_ event: PullMachine.Event) {
        guard !isClosed else { return }
        perform(machine.handle(event))
    }

    private func perform(_ actions: [PullMachine.Action]) {
        for action in actions { perform(action) }
    }

    private func perform(_ action: PullMachine.Action) {
        switch action {
        case .request(let offset): request(from: offset)
        case .skip(let count): bytesToSkip = count
        case .announce(let size):
            blob.announce(sizeBytes: size)
            publishProgress()
        case .reserve(let total):
            let reservingSink = sink
            reservingSink?.reserve(totalBytes: total) { [self] error in
                guard reservingSink === sink else { return }
                if let error { storeFailed(error) } else { handle(.reserved) }
            }
        case .takeSpan(let position): takeSpan(at: position)
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

    private func takeSpan(at position: Int64) {
        let onTaken: (Int64) -> Void = { [weak self] end in
            guard let self, !isClosed else { return }
            received = end
            isAfterSpan = true
            handle(.tookSpan(position: end))
            isAfterSpan = false
        }
        guard let ahead else { return context.loop.deferred.enqueue { onTaken(position) } }
        ahead.takeSpans(at: position, onTaken: onTaken)
    }

    func dropExchange() {
        exchange?.cancel()
        exchange = nil
    }

    private func wait(_ milliseconds: UInt64) {
        let timer = backOff ?? Timer(on: context.loop) { [weak self] in self?.handle(.backOffElapsed) }
        backOff = timer
        timer.start(afterMilliseconds: milliseconds)
    }

    private func verify() {
        sink?.verify { [self] result in
            switch result {
            case .success(let matches):
                if !matches {
                    context.metrics.pulls.verificationFailed(.blob)
                    latestExchange?.noteFailure()
                }
                handle(.verified(matches))
            case .failure(let error): storeFailed(error)
            }
        }
    }

    private func startOver() {
        ahead?.close()
        ahead = nil
        context.logger.warning(
            "content from several transfers does not match its digest; starting again from byte 0", metadata: metadata()
        )
        sink?.startOver { [self] result in
            guard !isClosed else {
                if case .success(let fresh) = result { fresh.suspend() }
                return
            }
            switch result {
            case .success(let fresh):
                blob.startOver()
                begin(fresh)
            case .failure(let error): storeFailed(error)
            }
        }
    }

    /// Readers do not wait for the disk: the digest is verified, and only the rename to the final name is left.
    private func commit() {
        blob.complete(sizeBytes: received)
        sink?.keep { [self] error in
            if let error { storeFailed(error) } else { handle(.committed) }
        }
    }

    private func finishComplete() {
        ahead?.close()
        sink = nil
        end(succeeded: true)
    }

    private func finish(with failure: RegistryError, keepPartial: Bool) {
        var error = failure
        if error.code == .digestInvalid, let encoding { error.detail = "it came with Content-Encoding: \(encoding)" }
        dropExchange()
        ahead?.close()
        if keepPartial { sink?.suspend() } else { sink?.discard() }
        sink = nil
        context.logger.log(
            level: error.internalMessage == nil ? .warning : context.client.failureLevel, "blob pull failed",
            metadata: metadata(["reason": "\(error.operatorMessage)"]))
        if case .complete = blob.phase {} else { blob.fail(error) }
        end(succeeded: false)
    }

    /// The metadata of every log line about this pull: the blob, the host, and the request that began the pull.
    func metadata(_ more: Logger.Metadata = [:]) -> Logger.Metadata {
        var metadata = more
        metadata["digest"] = "\(blob.key.digest)"
        metadata["host"] = "\(source.host)"
        metadata["repository"] = "\(source.repository)"
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
        latestExchange = nil
        ended(self, blob)
    }
}

// One HTTP request on one connection: one easy handle. Its owner decides whether a second attempt is made
// (Transfer.swift, Policy/Upstreams/HedgeMachine.swift).

internal import CCurl
internal import Glibc

/// One attempt at a request.
final class TransferAttempt {
    /// The lookup of the host's name.
    enum Lookup {
        /// No lookup is needed, or it has ended.
        case none
        case running
        /// libcurl asked for a lookup when no slot was free.
        case denied
    }

    let request: TransferRequest
    /// Whether an idle connection may not be used.
    let isFresh: Bool
    let limits: ConnectLimits
    let multi: CurlMulti
    let loop: EventLoop
    weak var owner: Transfer?
    private(set) var easy: UnsafeMutableRawPointer?
    /// The connections that the easy handle uses.
    private(set) var pool: ConnectionPool?
    var lookup = Lookup.none
    private var headerList: UnsafeMutablePointer<curl_slist>?
    /// Names that libcurl must look up again.
    private var forgottenNames: UnsafeMutablePointer<curl_slist>?
    var reader: HeadLines
    var timer: Timer?
    var progress: ConnectProgress
    var lastProgress: UInt64 = 0
    var wantsPause = false
    var isPaused = false
    /// The failure for which this server ended the attempt; it takes precedence over curl's "aborted by callback".
    var ownFailure: TransferFailure?
    /// curl's error text, which curl may write while the easy handle exists.
    let errorText = UnsafeMutablePointer<CChar>.allocate(capacity: Int(CURL_ERROR_SIZE))
    /// The last of the host's addresses that may not be used, and why; for the log.
    private var refused: String?
    /// Whether an address of the host may be used, so that the connection was tried.
    var hasOpenedSocket = false

    /// Whether nothing more will be reported to the owner.
    private(set) var isOver = false
    /// Whether curl has finished it; the deferred action that ends it is queued.
    var isDone = false
    /// Whether a byte of the answer has arrived.
    var hasAnswerBegun: Bool { reader.hasBegun }

    /// Starts the request in a deferred action. The owner is not called before this returns, and is not retained.
    init(_ request: TransferRequest, isFresh: Bool, on multi: CurlMulti, loop: EventLoop, owner: Transfer) {
        self.request = request
        self.isFresh = isFresh
        limits = request.limits ?? multi.limits
        self.multi = multi
        self.loop = loop
        self.owner = owner
        reader = HeadLines(url: request.url, isHead: request.method == .head)
        progress = ConnectProgress(now: loop.nowMilliseconds)
        errorText.initialize(repeating: 0, count: Int(CURL_ERROR_SIZE))
        multi.start(self)
    }

    deinit {
        precondition(easy == nil, "an attempt's easy handle must be released before it goes")
        errorText.deallocate()
    }

    /// Ends it without a further callback to the owner. May be called at any time, also from a callback.
    func cancel() {
        guard !isOver else { return }
        isOver = true
        stopTimer()
        loop.deferred.enqueue { [self] in multi.remove(self) }
    }

    /// Resumes after the owner returned false. May be called at any time.
    func resume() {
        guard wantsPause, !isOver else { return }
        wantsPause = false
        lastProgress = loop.nowMilliseconds
        loop.deferred.enqueue { [self] in
            guard !wantsPause, isPaused, !isOver else { return }
            isPaused = false
            multi.unpause(self)
        }
    }

    /// Makes an easy handle and frees it, so that libcurl loads its data before the first request.
    static func warmUp(_ request: TransferRequest) {
        guard let easy = curl_easy_init() else { return }
        _ = EasyOptions.apply(request, .init(), to: easy)
        curl_easy_cleanup(easy)
    }

    // MARK: For CurlMulti

    /// Makes the easy handle; nil when there is no memory or an option is refused.
    func prepare(in pool: ConnectionPool) -> UnsafeMutableRawPointer? {
        guard let easy = curl_easy_init() else { return nil }
        self.easy = easy
        self.pool = pool
        lookup = .none
        if multi.forgetsFailure(of: request.peer) {
            forgottenNames = curl_slist_append(nil, "-\(request.peer.host):\(request.peer.port)")
        }
        var choices = EasyOptions.Choices()
        choices.isFresh = isFresh
        choices.connectMilliseconds = max(choices.connectMilliseconds, Int(clamping: limits.allMilliseconds))
        choices.maximumIdleSeconds = multi.maximumIdleSeconds(for: request.url)
        guard EasyOptions.apply(request, choices, to: easy), setLists(easy), setCallbacks(easy),
            pool.setClosingCallback(easy)
        else {
            release()
            return nil
        }
        startTimer()
        return easy
    }

    /// Frees the easy handle, which must not be in a multi handle any more.
    func release() {
        guard let easy else { return }
        self.easy = nil
        pool = nil
        curl_easy_cleanup(easy)
        curl_slist_free_all(headerList)
        headerList = nil
        curl_slist_free_all(forgottenNames)
        forgottenNames = nil
    }

    /// Translates curl's result. Must be called before the easy handle is freed.
    func outcome(_ code: CURLcode) -> Outcome {
        if let ownFailure { return Outcome(ownFailure) }
        if code == CURLE_OK { return reader.isComplete ? Outcome(nil) : failure(.broken, "an answer without a head") }
        if let refused, !hasOpenedSocket, CurlError.isConnecting(code) || code == CURLE_ABORTED_BY_CALLBACK {
            return failure(.refusedAddress, refused)
        }
        if code == CURLE_COULDNT_CONNECT, let reason = progress.slowAddress(limits) {
            return failure(.unreachable, reason)
        }
        let text = CurlError.text(code, detail: String(cString: errorText))
        if let (kind, reason) = proxyFailure(code, text) { return failure(kind, reason) }
        return failure(CurlError.kind(code), text + (refused.map { "; not tried: \($0)" } ?? ""))
    }

    /// Records that an address of the host may not be used.
    /// - Parameter isInUse: whether an open connection has it; then no other address counts.
    func refuse(_ address: NetworkAddress?, isInUse: Bool) {
        let restriction = address.flatMap { request.addresses.restriction(of: $0)?.text } ?? "not an IP address"
        refused = "\(request.peerName) has the address \(address?.text ?? "?"), \(restriction)"
        if isInUse { hasOpenedSocket = false }
    }

    /// Ends it at once, without a callback to the owner.
    func drop() {
        isOver = true
        stopTimer()
        release()
    }

    func finish(_ outcome: Outcome) {
        stopTimer()
        guard !isOver else { return }
        isOver = true
        owner?.attempt(self, ended: outcome.failure)
    }

    /// The end of an attempt; `failure` is nil when the response is complete.
    struct Outcome {
        let failure: TransferFailure?

        init(_ failure: TransferFailure?) { self.failure = failure }
        init(_ code: CURLcode) {
            failure = TransferFailure(kind: .unreachable, reason: CurlError.text(code, detail: ""), hadAnswer: false)
        }

        static let tooManyLookups = Outcome(
            TransferFailure(kind: .connectLimit, reason: "too many name lookups are under way", hadAnswer: false))
    }

    private func failure(_ kind: TransferFailure.Kind, _ reason: String) -> Outcome {
        Outcome(TransferFailure(kind: kind, reason: reason, hadAnswer: reader.hasBegun))
    }

    // MARK: Set-up

    private func setLists(_ easy: UnsafeMutableRawPointer) -> Bool {
        for line in request.headers + (request.awsSignature?.headerLine.map { [$0] } ?? []) {
            guard let longer = curl_slist_append(headerList, line) else { return false }
            headerList = longer
        }
        return ccurl_set_list(easy, CURLOPT_HTTPHEADER, headerList) == CURLE_OK
            && ccurl_set_list(easy, CURLOPT_RESOLVE, forgottenNames) == CURLE_OK
    }
}

// MARK: - Time

extension TransferAttempt {
    private func startTimer() {
        guard timer == nil else { return }
        let timer = Timer(on: loop) { [weak self] in self?.checkTime() }
        timer.start(afterMilliseconds: limits.checkMilliseconds)
        self.timer = timer
    }

    private func stopTimer() {
        timer?.close()
        timer = nil
    }

    private func checkTime() {
        guard !isOver else { return }
        if isDone {
            // The deferred end is queued, or the attempt waits for a lookup slot.
            timer?.start(afterMilliseconds: limits.checkMilliseconds)
        } else if progress.phases.phase == .connected {
            checkProgress()
        } else {
            checkConnecting()
        }
    }

    /// Runs when the limit may have been reached; arriving bytes only update `lastProgress`, which costs nothing.
    private func checkProgress() {
        let limit = progressLimit
        // During a pause the silence is not the upstream's fault.
        let silent = wantsPause ? 0 : loop.nowMilliseconds - lastProgress
        guard silent >= limit else {
            timer?.start(afterMilliseconds: limit - silent)
            return
        }
        let isAnswerLate = limit < request.noProgressMilliseconds
        let reason =
            isAnswerLate ? "no answer within \(ConnectPhases.duration(limit))" : "nothing arrived for \(limit) ms"
        end(failure(.timedOut, reason))
    }

    /// How long the upstream may be silent now; the wait for the first byte has a limit of its own.
    var progressLimit: UInt64 {
        let all = request.noProgressMilliseconds
        return hasAnswerBegun ? all : min(all, limits.firstByteMilliseconds)
    }

    private func checkConnecting() {
        if let refused, hasOpenedSocket, progress.hasTriedAll(now: loop.nowMilliseconds) {
            return end(failure(.unreachable, "no address accepts a connection; not tried: \(refused)"))
        }
        var proxyStatus = 0
        if let easy { ccurl_get_long(easy, CURLINFO_HTTP_CONNECTCODE, &proxyStatus) }
        let late = progress.check(limits, request, proxyHasAnswered: proxyStatus > 0, now: loop.nowMilliseconds)
        guard let late else {
            timer?.start(afterMilliseconds: limits.checkMilliseconds)
            return
        }
        end(failure(.connectLimit, late))
    }

    private func end(_ outcome: Outcome) {
        ownFailure = outcome.failure
        loop.deferred.enqueue { [self] in
            guard !isOver else { return }
            multi.remove(self)
            finish(outcome)
        }
    }
}

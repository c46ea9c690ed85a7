// One HTTP request on one connection: one easy handle. Whether a second attempt is made is its owner's part
// (Transfer.swift, Policy/HedgeMachine.swift).

internal import CCurl
internal import Glibc

/// One attempt at a request.
final class TransferAttempt {
    /// The lookup of the host's name.
    enum Lookup {
        /// None was needed, or it is over.
        case none
        case running
        /// libcurl asked for one when there was no place for it.
        case denied
    }

    let request: TransferRequest
    /// Whether an idle connection may not be used.
    let isFresh: Bool
    let multi: CurlMulti
    let loop: EventLoop
    weak var owner: Transfer?
    private(set) var easy: UnsafeMutableRawPointer?
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
    /// The reason why this server ended it, so that curl's own reason ("aborted by callback") does not hide it.
    var ownFailure: TransferFailure?
    /// curl writes here while the easy handle lives.
    let errorText = UnsafeMutablePointer<CChar>.allocate(capacity: Int(CURL_ERROR_SIZE))
    var refusedAddress = false

    /// Nothing more will be reported.
    private(set) var isOver = false
    /// curl is done with it; the end is on its way.
    var isDone = false
    /// Whether a byte of the answer has come.
    var hasAnswerBegun: Bool { reader.hasBegun }

    /// Starts the request, soon. The owner is not called before this returns, and is not kept alive.
    init(_ request: TransferRequest, isFresh: Bool, on multi: CurlMulti, loop: EventLoop, owner: Transfer) {
        self.request = request
        self.isFresh = isFresh
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

    /// Makes an easy handle and frees it.
    static func warmUp(_ request: TransferRequest) {
        guard let easy = curl_easy_init() else { return }
        _ = EasyOptions.apply(request, .init(), to: easy)
        curl_easy_cleanup(easy)
    }

    // MARK: For CurlMulti

    /// Makes the easy handle; nil when there is no memory or an option is refused.
    func prepare() -> UnsafeMutableRawPointer? {
        guard let easy = curl_easy_init() else { return nil }
        self.easy = easy
        lookup = .none
        if multi.forgetsFailure(of: request.url) {
            forgottenNames = curl_slist_append(nil, "-\(request.url.host):\(request.url.port)")
        }
        var choices = EasyOptions.Choices()
        choices.isFresh = isFresh
        choices.maximumIdleSeconds = multi.maximumIdleSeconds(for: request.url)
        guard EasyOptions.apply(request, choices, to: easy), setLists(easy), setCallbacks(easy) else {
            release()
            return nil
        }
        startTimer()
        return easy
    }

    /// Frees the easy handle, which is in no multi handle any more.
    func release() {
        guard let easy else { return }
        self.easy = nil
        curl_easy_cleanup(easy)
        curl_slist_free_all(headerList)
        headerList = nil
        curl_slist_free_all(forgottenNames)
        forgottenNames = nil
    }

    /// What curl's result means. Asked while the easy handle still is there.
    func outcome(_ code: CURLcode) -> Outcome {
        if let ownFailure { return Outcome(ownFailure) }
        if code == CURLE_OK { return reader.isComplete ? Outcome(nil) : failure(.broken, "an answer without a head") }
        if refusedAddress, CurlError.isConnecting(code) || code == CURLE_ABORTED_BY_CALLBACK {
            return failure(.localAddress, "its address is a loopback or link-local one")
        }
        if code == CURLE_COULDNT_CONNECT, let reason = progress.slowAddress(multi.limits) {
            return failure(.unreachable, reason)
        }
        return failure(CurlError.kind(code), CurlError.text(code, detail: String(cString: errorText)))
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

    /// The end of an attempt; `failure` nil when it is complete.
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
        for line in request.headers {
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
        timer.start(afterMilliseconds: multi.limits.checkMilliseconds)
        self.timer = timer
    }

    private func stopTimer() {
        timer?.close()
        timer = nil
    }

    private func checkTime() {
        guard !isOver else { return }
        if isDone {
            // The end is on its way, or the wait for a place to look up the name.
            timer?.start(afterMilliseconds: multi.limits.checkMilliseconds)
        } else if progress.phases.phase == .connected {
            checkProgress()
        } else {
            checkConnecting()
        }
    }

    /// Fires when the time could be up; bytes that arrive only move `lastProgress`, which costs nothing.
    private func checkProgress() {
        let limit = request.noProgressMilliseconds
        // While it is paused, the upstream is not to blame for the silence.
        let silent = wantsPause ? 0 : loop.nowMilliseconds - lastProgress
        guard silent >= limit else {
            timer?.start(afterMilliseconds: limit - silent)
            return
        }
        end(failure(.timedOut, "nothing arrived for \(limit) ms"))
    }

    private func checkConnecting() {
        var proxyStatus = 0
        if let easy { ccurl_get_long(easy, CURLINFO_HTTP_CONNECTCODE, &proxyStatus) }
        let late = progress.check(
            multi.limits, request.url, proxyHasAnswered: proxyStatus > 0, now: loop.nowMilliseconds)
        guard let late else {
            timer?.start(afterMilliseconds: multi.limits.checkMilliseconds)
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

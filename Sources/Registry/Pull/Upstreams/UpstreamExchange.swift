// Runs one ExchangeMachine: performs its actions with transfers, tokens and timers, and passes the answer on.

internal import Logging
internal import OCI

/// Gets the answer of an exchange. Heads and bytes arrive from inside curl; all methods of an exchange and of the
/// client may be called from here, since they defer their work.
package protocol UpstreamExchangeHandler: AnyObject {
    /// The final answer, after tokens and redirects, with any status. The body of an error is not passed on.
    func exchange(_ exchange: UpstreamExchange, received head: UpstreamHead)
    /// The bytes are valid only during this call. False pauses the exchange until `resume`; these bytes count as taken.
    func exchange(_ exchange: UpstreamExchange, received bytes: UnsafeRawBufferPointer) -> Bool
    /// Called once, last, unless the exchange was cancelled. Nil: the body is complete. This may come during a pause,
    /// if no more bytes were left.
    func exchange(_ exchange: UpstreamExchange, ended failure: UpstreamFailure?)
}

/// One request to an upstream in progress, with its tokens and redirects.
package final class UpstreamExchange {
    package let request: UpstreamRequest
    package let upstream: Upstream

    /// Body bytes of a 401, a redirect or an error that are read so that the connection can be reused.
    static let maximumDrainedBytes = 64 * 1024

    private enum Phase {
        case asking
        /// The head was not the final answer; the action follows when its body has ended.
        case draining(then: ExchangeMachine.Action)
        case delivering
        /// The answer is an error, and its body is discarded.
        case swallowing
    }

    private let services: UpstreamServices
    private let route: TokenCache.Route
    /// The scope of a 429.
    private let limited: UpstreamRepository
    /// The machine before its first event, to start again after a pause.
    private let firstMachine: ExchangeMachine
    private var machine: ExchangeMachine
    private var handler: (any UpstreamExchangeHandler)?
    private var phase = Phase.asking
    private var drainedBytes = 0
    private var usesBasic = false
    /// Whether the current attempt has been allowed to send the credentials.
    private var maySendBasic = false
    private var transfer: Transfer?
    private var ticket: UpstreamTokens.Ticket?
    private var waitTicket: RateLimitGate.Ticket?
    /// When it began to wait for the end of one or more pauses.
    private var waitingSinceMilliseconds: UInt64?
    /// When the current attempt began.
    private var askedMilliseconds: UInt64 = 0
    private var pause: Timer?
    private var measure = UpstreamRequestMeasure()
    /// When it began; nil if it never did.
    private var startNanoseconds: UInt64?

    init(
        _ request: UpstreamRequest, to upstream: Upstream, services: UpstreamServices,
        handler: any UpstreamExchangeHandler
    ) {
        self.request = request
        self.upstream = upstream
        self.services = services
        self.handler = handler
        route = TokenCache.Route(upstream: upstream.host, repository: request.repository)
        limited = UpstreamRepository(host: upstream.host, repository: request.repository)
        // If no URL can be made (such as an invalid host in brackets), the base alone is requested, which curl refuses.
        firstMachine = ExchangeMachine(
            host: upstream.host, trust: upstream.trust, url: upstream.url(for: request) ?? upstream.base,
            repository: request.repository, hasCredentials: upstream.credentials != nil,
            pingURL: upstream.base.with(path: "/v2/", query: nil))
        machine = firstMachine
    }

    /// Ends the exchange without a callback to the handler.
    package func cancel() {
        guard handler != nil else { return }
        handler = nil
        transfer?.cancel()
        ticket?.cancel()
        waitTicket?.cancel()
        pause?.close()
        services.forget(self)
        count()
    }

    /// Records the metrics of an exchange that has ended; called once.
    private func count() {
        guard let startNanoseconds else { return }
        measure.durationNanoseconds = EventLoop.nowNanoseconds &- startNanoseconds
        services.metrics.upstreamAnswered(upstream.host, measure)
    }

    /// Resumes after the handler returned false.
    package func resume() { transfer?.resume() }

    /// Ends the exchange, and reports that to the handler in a deferred action.
    func end(_ failure: UpstreamFailure?) {
        transfer?.cancel()
        services.loop.deferred.enqueue { [self] in
            let handler = self.handler
            cancel()
            handler?.exchange(self, ended: failure)
        }
    }

    func begin() {
        guard handler != nil else { return }
        // A blob pull has already waited in the queue.
        guard request.isUnqueued else { return services.rateLimits.isPaused(limited) ? endLimited() : ask() }
        switch services.rateLimits.admission(limited, waitedSince: waitingSinceMilliseconds) {
        case .open: ask()
        case .wait where request.waitsForPause: waitForPause()
        case .wait, .refused: endLimited()
        }
    }

    private func ask() {
        guard handler != nil else { return }
        startNanoseconds = EventLoop.nowNanoseconds
        askedMilliseconds = services.loop.nowMilliseconds
        machine = firstMachine
        maySendBasic = false
        var known: ExchangeMachine.Authorization?
        if upstream.prefersBasic {
            known = .basic
        } else if let token = services.tokens.known(at: route) {
            known = .bearer(token)
        } else if let denied = services.credentials.denial(by: upstream, for: request.repository) {
            return end(.refused(denied))
        }
        perform(machine.handle(.begin(authorization: known)))
    }

    // MARK: Pauses after a 429

    private func waitForPause() {
        let since = waitingSinceMilliseconds ?? services.loop.nowMilliseconds
        waitingSinceMilliseconds = since
        waitTicket = services.rateLimits.wait(limited, since: since) { [weak self] end in
            switch end {
            case .released: self?.resumeAfterPause()
            case .refused: self?.endLimited()
            }
        }
        if waitTicket == nil { endLimited() }
    }

    private func resumeAfterPause() {
        guard handler != nil else { return }
        // Another request may have been refused meanwhile.
        if services.rateLimits.isPaused(limited) { begin() } else { ask() }
    }

    private func endLimited() { end(.refused(services.rateLimits.error(limited))) }

    /// Handles a 429 of the registry or its token service.
    /// - Returns: whether the request can wait for the end of the pause.
    private func wasLimited(retryAfterSeconds: Int?) -> Bool {
        services.rateLimits.refused(limited, retryAfterSeconds: retryAfterSeconds, askedMilliseconds: askedMilliseconds)
        let since = waitingSinceMilliseconds ?? services.loop.nowMilliseconds
        return request.isUnqueued && request.waitsForPause && services.rateLimits.canWait(limited, since: since)
    }

    // MARK: Actions

    private func perform(_ action: ExchangeMachine.Action) {
        guard handler != nil else { return }
        phase = .asking
        drainedBytes = 0
        switch action {
        case .send(let url, let authorization, 0): send(url, authorization)
        case .send(let url, let authorization, let delay):
            let timer = Timer(on: services.loop) { [weak self] in self?.send(url, authorization) }
            timer.start(afterMilliseconds: delay)
            pause = timer
        case .askToken(let request, let refused): ask(request, refused)
        case .waitForPause: begin()
        case .fail(.rateLimited(let seconds)): wasLimited(retryAfterSeconds: seconds) ? begin() : endLimited()
        case .fail(let failure): end(failure)
        // `transfer(_:received:)` performs it, since it has the head.
        case .deliver: break
        }
    }

    private func send(_ url: UpstreamURL, _ authorization: ExchangeMachine.Authorization) {
        pause?.close()
        pause = nil
        guard handler != nil else { return }
        if authorization == .basic, !maySendBasic {
            maySendBasic = services.credentials.admits(upstream, to: .registry, for: request.repository)
            guard maySendBasic else { return end(.refused(UpstreamAnswer.credentialsRefused(by: upstream.host))) }
        }
        var asked = services.transferRequest(url, upstream, client: request.client)
        asked.method = request.method == .head ? .head : .get
        asked.headers = request.headerLines
        asked.decodesContent = request.kind != .blob
        if request.kind == .blob, request.method == .get { asked.bufferBytes = TransferRequest.blobBufferBytes }
        usesBasic = authorization == .basic
        switch authorization {
        case .none: break
        case .basic: asked.headers += upstream.credentials?.basic.map { ["Authorization: \($0)"] } ?? []
        case .bearer(let token): asked.headers.append("Authorization: Bearer \(token)")
        }
        services.logger.debug(
            "asking upstream", metadata: ["method": "\(request.method)", "url": "\(url.redacted)"])
        transfer = services.start(asked, self)
    }

    private func ask(_ asked: TokenRequest, _ refused: String?) {
        ticket = services.tokens.ask(
            asked, upstream: upstream, repository: request.repository, refusing: refused, client: request.client
        ) { [weak self] reply in
            guard let self else { return }
            switch reply {
            case .success(let (token, isFresh)): perform(machine.handle(.token(token, isFresh: isFresh)))
            case .failure(let failure): perform(machine.handle(.tokenFailed(failure)))
            }
        }
    }
}

// MARK: - From the transfer

extension UpstreamExchange: TransferHandler {
    package func transfer(_ transfer: Transfer, received head: UpstreamHead) {
        let challenge = BearerChallenge.parse(head.fields.values("www-authenticate"))
        let location = head.fields.first("location")
        let answer = ExchangeMachine.Answer(
            status: head.status, challenge: challenge, realm: challenge.flatMap { UpstreamURL($0.realm) },
            hasLocation: location != nil, location: location.flatMap { head.url.resolving($0) })
        if usesBasic {
            services.credentials.answered(
                upstream, head.status, for: request.repository, askedMilliseconds: askedMilliseconds)
        }
        var action = machine.handle(.answer(answer))
        if case .deliver(let hint) = action {
            guard head.status == 429, wasLimited(retryAfterSeconds: head.retryAfter) else {
                return deliver(head, hint: hint)
            }
            action = .waitForPause
        }
        phase = .draining(then: action)
        let isTooLong = head.contentLength ?? 0 > Int64(UpstreamExchange.maximumDrainedBytes)
        if head.isCloseDelimited || head.refusedSize != nil || isTooLong { abandonBody() }
    }

    package func transfer(_ transfer: Transfer, received bytes: UnsafeRawBufferPointer) -> Bool {
        if case .delivering = phase {
            measure.receivedBytes &+= UInt64(bytes.count)
            return handler?.exchange(self, received: bytes) ?? false
        }
        drainedBytes += bytes.count
        if drainedBytes > UpstreamExchange.maximumDrainedBytes { abandonBody() }
        return true
    }

    package func transfer(_ transfer: Transfer, ended failure: TransferFailure?) {
        switch phase {
        case .asking:
            guard let failure else { return end(.broken("it gave no answer")) }
            services.logger.debug(
                "upstream request failed", metadata: ["host": "\(upstream.host)", "reason": "\(failure.reason)"])
            perform(machine.handle(.failed(failure)))
        case .draining(let action): perform(action)
        case .swallowing: end(nil)
        case .delivering: end(failure.map { UpstreamFailure($0, host: upstream.host) })
        }
    }

    private func deliver(_ received: UpstreamHead, hint: String?) {
        var head = received
        head.deniedHint = hint
        switch head.status {
        case 429: head.retryAfterSeconds = services.rateLimits.error(limited).retryAfterSeconds
        case 408, 500...: head.retryAfterSeconds = received.retryAfter
        // Neither refused credentials nor an error shows that the repository is no longer limited.
        case 401, 403: break
        default: services.rateLimits.answered(limited, askedMilliseconds: askedMilliseconds)
        }
        let isWanted = head.status == 200 || head.status == 206
        if isWanted { services.metrics.admit(upstream.host) }
        measure.status = head.status
        measure.firstByteNanoseconds = startNanoseconds.map { EventLoop.nowNanoseconds &- $0 }
        phase = isWanted ? .delivering : .swallowing
        handler?.exchange(self, received: head)
    }

    /// Gives up the connection, because the rest of the body is not worth reading.
    private func abandonBody() {
        transfer?.cancel()
        services.loop.deferred.enqueue { [self] in
            if case .draining(let action) = phase { perform(action) } else { end(nil) }
        }
    }
}

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

    enum Phase {
        case asking
        /// The head was not the final answer; the action follows when its body has ended.
        case draining(then: ExchangeMachine.Action)
        case delivering
        /// The answer is an error, and its body is discarded.
        case swallowing
    }

    let services: UpstreamServices
    /// The endpoint that is asked, and those that are left when it fails.
    var endpoint: UpstreamEndpoint
    var remaining: ArraySlice<UpstreamEndpoint>
    /// How the last endpoint of the list has failed, when it was asked before others. Without its word, content that
    /// another one does not have may exist.
    var lastFailure: UpstreamFailure?
    /// The scope of a 429.
    let limited: UpstreamRepository
    var machine: ExchangeMachine?
    var handler: (any UpstreamExchangeHandler)?
    var phase = Phase.asking
    var drainedBytes = 0
    /// Whether the current request carries the credentials themselves, not a token that was got for them.
    var sendsCredentials = false
    /// Whether the current attempt has been allowed to send the credentials.
    private var maySendCredentials = false
    /// The credentials of the current attempt; others may have replaced them by the time of the answer.
    var usedCredentials: UpstreamCredentials?
    /// The status with which the credentials were refused, when others are asked for because of that.
    var refusedStatus: Int?
    /// Whether refused credentials have been asked for again.
    var hasRenewed = false
    var transfer: Transfer?
    private var ticket: UpstreamTokens.Ticket?
    private var waitTicket: RateLimitGate.Ticket?
    /// When it began to wait for the end of one or more pauses.
    private var waitingSinceMilliseconds: UInt64?
    /// When the current attempt began.
    var askedMilliseconds: UInt64 = 0
    private var pause: Timer?
    var measure = UpstreamRequestMeasure()
    /// When it began; nil if it never did.
    var startNanoseconds: UInt64?

    init(
        _ request: UpstreamRequest, to upstream: Upstream, services: UpstreamServices,
        handler: any UpstreamExchangeHandler
    ) {
        self.request = request
        self.upstream = upstream
        self.services = services
        self.handler = handler
        limited = UpstreamRepository(host: upstream.host, repository: request.repository)
        remaining = upstream.candidates(now: services.loop.nowMilliseconds)
        // An upstream has at least one endpoint.
        endpoint = remaining.removeFirst()
    }

    private var route: TokenCache.Route {
        TokenCache.Route(endpoint: endpoint.tokenKey, repository: request.repository)
    }

    /// Ends the exchange without a callback to the handler.
    package func cancel() {
        guard handler != nil else { return }
        handler = nil
        transfer?.cancel()
        ticket?.cancel()
        waitTicket?.cancel()
        pause?.close()
        endpoint.endTrial(self, isDecided: false, services.loop.deferred)
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
        guard handler != nil, services.takeSlot(self) else { return }
        startNanoseconds = EventLoop.nowNanoseconds
        askEndpoint()
    }

    func askEndpoint() {
        guard handler != nil else { return }
        let now = services.loop.nowMilliseconds
        askedMilliseconds = now
        guard endpoint.source.isReady() else {
            return endpoint.source.load { [weak self] in self?.askEndpoint() }
        }
        endpoint.isTried(now: now)
        machine = endpoint.machine(for: request, mayRetry: remaining.isEmpty, now: now)
        maySendCredentials = false
        refusedStatus = nil
        usedCredentials = endpoint.source.current
        var known: ExchangeMachine.Authorization?
        if endpoint.prefersBasic, endpoint.source.current?.basic != nil {
            known = .basic
        } else if let token = services.tokens.known(at: route) {
            known = .bearer(token)
        } else if let denied = services.credentials.denial(by: endpoint, for: request.repository) {
            return perform(canRenew ? .renewCredentials(otherwise: .refused(denied)) : .fail(.refused(denied)))
        }
        handle(.begin(authorization: known))
    }

    func handle(_ event: ExchangeMachine.Event) {
        guard let action = machine?.handle(event) else { return }
        perform(action)
    }

    // MARK: Pauses after a 429

    private func waitForPause() {
        let since = waitingSinceMilliseconds ?? services.loop.nowMilliseconds
        waitingSinceMilliseconds = since
        services.leaveSlot(self)
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

    func endLimited() { end(.refused(services.rateLimits.error(limited))) }

    /// Handles a 429 of the registry or its token service.
    /// - Returns: whether the request can wait for the end of the pause.
    func wasLimited(retryAfterSeconds: Int?) -> Bool {
        services.rateLimits.refused(limited, retryAfterSeconds: retryAfterSeconds, askedMilliseconds: askedMilliseconds)
        let since = waitingSinceMilliseconds ?? services.loop.nowMilliseconds
        return request.isUnqueued && request.waitsForPause && services.rateLimits.canWait(limited, since: since)
    }

    // MARK: Actions

    func perform(_ action: ExchangeMachine.Action) {
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
        case .tryNextEndpoint(let reason): tryNextEndpoint(reason: reason)
        case .renewCredentials(let failure): renewCredentials(otherwise: failure)
        case .fail(let failure): fail(failure)
        // `transfer(_:received:)` performs it, since it has the head.
        case .deliver: break
        }
    }

    /// - Parameter waitsForTrial: false when a trial of the credentials has just ended and does not show whether they
    ///   are right: pulls must not wait for one another while a registry does not answer.
    private func send(
        _ url: UpstreamURL, _ authorization: ExchangeMachine.Authorization, waitsForTrial: Bool = true
    ) {
        pause?.close()
        pause = nil
        guard handler != nil else { return }
        sendsCredentials = authorization == .basic || endpoint.isFixedToken(authorization)
        if sendsCredentials, waitsForTrial {
            let mayTry = endpoint.beginTrial(self) { [weak self] isDecided in
                self?.send(url, authorization, waitsForTrial: isDecided)
            }
            guard mayTry else { return }
        }
        if sendsCredentials, !maySendCredentials {
            maySendCredentials = services.credentials.admits(endpoint, to: .registry, for: request.repository)
            guard maySendCredentials else {
                sendsCredentials = false
                let refused = UpstreamFailure.refused(UpstreamAnswer.credentialsRefused(by: upstream.host))
                return perform(canRenew ? .renewCredentials(otherwise: refused) : .fail(refused))
            }
        }
        if sendsCredentials { usedCredentials = endpoint.source.current }
        var asked = services.transferRequest(url, endpoint, client: request.client)
        if !remaining.isEmpty { services.settings.hurry(&asked, for: endpoint) }
        asked.method = request.method == .head ? .head : .get
        asked.headers = request.headerLines
        asked.decodesContent = request.kind != .blob
        if request.kind == .blob, request.method == .get { asked.bufferBytes = TransferRequest.blobBufferBytes }
        switch authorization {
        case .none: break
        case .basic: asked.headers += usedCredentials?.basic.map { ["Authorization: \($0)"] } ?? []
        case .bearer(let token): asked.headers.append("Authorization: Bearer \(token)")
        }
        services.logger.debug(
            "asking upstream", metadata: ["method": "\(request.method)", "url": "\(url.redacted)"])
        transfer = services.start(asked, self)
    }

    private func ask(_ asked: TokenRequest, _ refused: String?) {
        if asked.withCredentials { usedCredentials = endpoint.source.current }
        ticket = services.tokens.ask(
            asked, endpoint: endpoint, repository: request.repository, refusing: refused, client: request.client
        ) { [weak self] reply in
            guard let self else { return }
            switch reply {
            case .success(let (token, isFresh)): handle(.token(token, isFresh: isFresh))
            case .failure(.refused(let error)) where error.code == .denied && asked.withCredentials && canRenew:
                sendsCredentials = false
                perform(.renewCredentials(otherwise: .refused(error)))
            case .failure(let failure): handle(.tokenFailed(failure))
            }
        }
    }
}

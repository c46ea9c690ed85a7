// One request to a token service.

internal import OCI

/// Sends the request, with one retry if no connection could be made.
final class TokenFetch: TransferHandler {
    /// Limit for the response, once the request has been sent.
    static let answerMilliseconds: UInt64 = 10_000
    /// Limit for the whole fetch: lookup, connecting, TLS and response may take their full time (`ConnectLimits`), and
    /// there may be a retry. The client has its error by then, and finds the token in the cache with its next request.
    static let deadlineMilliseconds: UInt64 = 60_000

    var waiting: [UpstreamTokens.Ticket] = []
    /// Called when the fetch has ended, after the exchanges that wait for its token, with whether the service accepted
    /// or refused the credentials.
    var onEnd: [(_ isDecided: Bool) -> Void] = []
    /// The status of the service's refusal, 401 or 403.
    private(set) var deniedStatus: Int?

    private var request: TransferRequest
    /// Makes the request to where the service redirects; nil for a URL that is not usable.
    private let redirect: (UpstreamURL, _ withCredentials: Bool) -> TransferRequest?
    private var hops = 0
    private let endpoint: UpstreamEndpoint
    private let loop: EventLoop
    private let start: (TransferRequest, any TransferHandler) -> Transfer
    private var then: ((Result<TokenReply, UpstreamFailure>) -> Void)?
    private var transfer: Transfer?
    private var head: UpstreamHead?
    private var body: [UInt8] = []
    private var hasRetried = false
    private var deadline: Timer?
    private var pause: Timer?

    /// - Parameter then: called once, from a deferred action or a timer.
    init(
        _ request: TransferRequest, endpoint: UpstreamEndpoint, loop: EventLoop,
        redirect: @escaping (UpstreamURL, _ withCredentials: Bool) -> TransferRequest?,
        start: @escaping (TransferRequest, any TransferHandler) -> Transfer,
        then: @escaping (Result<TokenReply, UpstreamFailure>) -> Void
    ) {
        self.request = request
        self.endpoint = endpoint
        self.loop = loop
        self.redirect = redirect
        self.start = start
        self.then = then
        let deadline = Timer(on: loop) { [weak self] in self?.isLate() }
        deadline.start(afterMilliseconds: TokenFetch.deadlineMilliseconds)
        self.deadline = deadline
        send()
    }

    func cancel() {
        then = nil
        transfer?.cancel()
        deadline?.close()
        pause?.close()
    }

    func transfer(_ transfer: Transfer, received head: UpstreamHead) { self.head = head }

    func transfer(_ transfer: Transfer, received bytes: UnsafeRawBufferPointer) -> Bool {
        body.append(contentsOf: bytes)
        if body.count > TokenReply.maximumBytes {
            transfer.cancel()
            loop.deferred.enqueue { [self] in finish(.failure(.refused(badGateway("its answer is too long")))) }
        }
        return true
    }

    func transfer(_ transfer: Transfer, ended failure: TransferFailure?) {
        if let failure { return failed(failure) }
        guard let head else { return finish(.failure(.broken("its token service \(request.url.host) gave no answer"))) }
        switch head.status {
        case 200: finish(decoded)
        case let status where ExchangeMachine.redirects.contains(status): redirected(head)
        case 429: finish(.failure(.rateLimited(retryAfterSeconds: head.retryAfter)))
        default: finish(.failure(.refused(error(head))))
        }
    }

    private func send() { transfer = start(request, self) }

    /// Follows a redirect as clients do. The credentials go along only where they would be sent as well if the
    /// service's realm were there.
    private func redirected(_ head: UpstreamHead) {
        guard let location = head.fields.first("location") else {
            return finish(.failure(.refused(badGateway("it answered \(head.status) without a Location"))))
        }
        hops += 1
        let target = request.url.resolving(location)
        let decision = RedirectPolicy.decide(from: request.url, to: target, hop: hops, trust: endpoint.trust)
        guard case .follow = decision, let target else {
            guard case .refuse(let refusal) = decision else { return }
            return finish(.failure(UpstreamFailure(refusal, host: endpoint.host, of: "its token service: ")))
        }
        if isExchange { return exchangeRedirected(head.status, to: target) }
        let mayHaveCredentials = CredentialPolicy.decide(realm: target, trust: endpoint.trust) == .send
        guard let next = redirect(target, mayHaveCredentials && hasCredentials) else {
            return finish(.failure(.refused(badGateway("it redirects to what is not a URL"))))
        }
        follow(next)
    }

    private func follow(_ next: TransferRequest) {
        request = next
        head = nil
        body = []
        send()
    }

    /// Whether the request has an identity token in its body.
    private var isExchange: Bool { request.method == .post }

    /// Sends the same form again, or ends the fetch.
    private func exchangeRedirected(_ status: Int, to target: UpstreamURL) {
        guard IdentityTokenExchange.follows(status: status, from: request.url, to: target),
            var next = redirect(target, false)
        else {
            let reason =
                "its token service redirects (\(status)) to \(target.redacted), where no identity token is sent"
            return finish(.failure(.refused(UpstreamAnswer.refused(endpoint.host, reason))))
        }
        next.method = request.method
        next.headers = request.headers
        next.body = request.body
        follow(next)
    }

    private var hasCredentials: Bool {
        isExchange || request.headers.contains { $0.hasPrefix("Authorization:") }
    }

    private func failed(_ failure: TransferFailure) {
        if !hasRetried, failure.isRetryable {
            hasRetried = true
            let pause = Timer(on: loop) { [weak self] in self?.send() }
            pause.start(afterMilliseconds: ExchangeMachine.retryDelayMilliseconds)
            self.pause = pause
            return
        }
        let named = TransferFailure(
            kind: failure.kind, reason: "its token service \(request.url.host): \(failure.reason)",
            hadAnswer: failure.hadAnswer)
        finish(.failure(UpstreamFailure(named)))
    }

    private func isLate() {
        let seconds = TokenFetch.deadlineMilliseconds / 1000
        finish(.failure(.timedOut("its token service \(request.url.host) gave no token within \(seconds) s")))
    }

    private func finish(_ result: Result<TokenReply, UpstreamFailure>) {
        guard let then else { return }
        cancel()
        then(result)
    }

    private var decoded: Result<TokenReply, UpstreamFailure> {
        do throws(TokenReply.InvalidTokenResponse) {
            return .success(try TokenReply.decode(body))
        } catch {
            return .failure(.refused(badGateway(error.reason)))
        }
    }

    private func error(_ head: UpstreamHead) -> RegistryError {
        switch head.status {
        case 401, 403: return denied(head.status)
        case 400 where isExchange && IdentityTokenExchange.isTokenRefused(body): return denied(401)
        case 408, 500...599:
            return .unavailable(
                "\(endpoint.host): its token service answered \(head.status)", retryAfterSeconds: head.retryAfter)
        default: return badGateway("it answered \(head.status)")
        }
    }

    private func denied(_ status: Int) -> RegistryError {
        deniedStatus = status
        // `CredentialBackOff` has the refusals of credentials.
        guard !hasCredentials else { return UpstreamAnswer.credentialsRefused(byTokenServiceOf: endpoint.host) }
        // The registry's own answer was the 401 that asked for the token.
        return UpstreamAnswer.denied(
            endpoint.host, status: status, hint: "its token service gives anonymous users nothing", upstreamStatus: 401)
    }

    private func badGateway(_ reason: String) -> RegistryError {
        .badGateway("\(endpoint.host): token service \(request.url.host): \(reason)")
    }
}

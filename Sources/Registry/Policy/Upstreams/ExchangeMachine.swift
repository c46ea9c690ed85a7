// One exchange with an upstream, from the first request to the final answer: 401 → token → again, redirects, one retry.
// A pure value: events go in, one action comes out, and the runner (Pull/Upstreams/UpstreamExchange.swift) performs it.

package import OCI

/// The state of one exchange.
package struct ExchangeMachine {
    package enum Event: Sendable {
        /// - Parameter authorization: the one that worked here before, if any; it is sent without waiting for a 401.
        case begin(authorization: Authorization?)
        case answer(Answer)
        /// The transfer ended before its head was complete.
        case failed(TransferFailure)
        /// - Parameter isFresh: whether it comes directly from the token service, not from the cache.
        case token(String, isFresh: Bool)
        case tokenFailed(UpstreamFailure)
    }

    /// The credentials that there are for the upstream.
    package enum Credentials: Sendable, Equatable {
        case none
        /// For basic authentication and token services.
        case password
        /// For token services only.
        case identityToken
        /// A bearer token that is sent with every request; a token service gives no other.
        case fixedToken(String)
    }

    package enum Authorization: Equatable, Sendable {
        case none
        case basic
        case bearer(String)
    }

    /// The parts of a head that the machine needs. The runner has parsed and resolved the URLs.
    package struct Answer: Sendable {
        package var status: Int
        package var challenge: BearerChallenge?
        /// The challenge's realm; nil when it is not a plain http or https URL.
        package var realm: UpstreamURL?
        package var hasLocation: Bool
        /// The resolved `Location`; nil when it is not a plain http or https URL.
        package var location: UpstreamURL?

        package init(
            status: Int, challenge: BearerChallenge? = nil, realm: UpstreamURL? = nil, hasLocation: Bool = false,
            location: UpstreamURL? = nil
        ) {
            self.status = status
            self.challenge = challenge
            self.realm = realm
            self.hasLocation = hasLocation
            self.location = location
        }
    }

    package enum Action: Equatable, Sendable {
        case send(UpstreamURL, Authorization, afterMilliseconds: UInt64)
        /// - Parameter refusing: a cached token that was just refused.
        case askToken(TokenRequest, refusing: String?)
        /// Send the request again when the repository's pause is over. Only the runner makes this action, since it
        /// keeps the record of 429s.
        case waitForPause
        /// Send the request to the upstream's next endpoint, or with other credentials. Only the runner makes these,
        /// since it has the endpoints and their credentials.
        case tryNextEndpoint(reason: String)
        case renewCredentials(otherwise: UpstreamFailure)
        /// Deliver this head as the answer.
        case deliver(deniedHint: String?)
        case fail(UpstreamFailure)
    }

    /// Delay before the retry of a failed connection: enough for a listener that is being restarted.
    package static let retryDelayMilliseconds: UInt64 = 200
    /// A cached token, one fetched meanwhile by another exchange, and a new one.
    static let maximumTokens = 3

    /// The redirects of RFC 9110 §15.4 that name another URL to request.
    static let redirects: Set<Int> = [301, 302, 303, 307, 308]

    private let host: RegistryHost
    private let trust: UpstreamTrust
    private let defaultScope: String
    private let credentials: Credentials
    /// `/v2/` of the registry.
    private let pingURL: UpstreamURL?
    /// Whether a 403 or 404 for an anonymous request may mean that the credentials are wanted.
    private let mayHideContent: Bool

    private var url: UpstreamURL
    private var authorization = Authorization.none
    /// False once a redirect has led to another origin: credentials are not sent there, nor after a redirect back.
    private var isSameOrigin = true
    /// The anonymous token for the origin that a redirect has led to.
    private var redirectedToken: (text: String, isFresh: Bool)?
    /// Whether `/v2/` is being requested, because a 401 had no challenge, or content may be hidden.
    private var isPinging = false
    private var isSeekingHidden = false
    private var hasPinged = false
    private var hops = 0
    private var tokensAsked = 0
    private var lastTokenWasFresh = false
    private var hasRetried: Bool
    /// Why the credentials were not sent, for the error message.
    private var hint: String?

    /// - Parameter mayHideContent: whether the registry may answer 403 or 404 to anonymous requests for what the
    ///   credentials would show; false when `/v2/` has lately not asked for any.
    /// - Parameter isPing: whether the request is for `/v2/` itself, so that a token needs no access to a repository.
    package init(
        host: RegistryHost, trust: UpstreamTrust, url: UpstreamURL, repository: RepositoryName,
        credentials: Credentials, pingURL: UpstreamURL? = nil, mayHideContent: Bool = true,
        mayRetry: Bool = true, isPing: Bool = false
    ) {
        self.host = host
        self.trust = trust
        self.url = url
        self.credentials = credentials
        self.pingURL = pingURL
        hasRetried = !mayRetry
        self.mayHideContent = mayHideContent && credentials != .none
        defaultScope = isPing ? "" : "repository:\(repository.text):pull"
    }

    package mutating func handle(_ event: Event) -> Action {
        switch event {
        case .begin(let authorization): begin(authorization)
        case .answer(let answer): received(answer)
        case .failed(let failure): failed(failure)
        case .token(let token, let isFresh): use(token, isFresh: isFresh)
        case .tokenFailed(let failure): .fail(explained(failure))
        }
    }

    private mutating func begin(_ known: Authorization?) -> Action {
        if let restriction = trust.restriction(of: url) {
            return .fail(.addressRefused("its host is \(url.host), \(restriction.text)"))
        }
        if let known { authorization = known }
        if case .fixedToken(let token) = credentials { authorization = .bearer(token) }
        return send()
    }

    private func send(afterMilliseconds: UInt64 = 0) -> Action {
        let foreign = redirectedToken.map { Authorization.bearer($0.text) } ?? .none
        return .send(url, isSameOrigin ? authorization : foreign, afterMilliseconds: afterMilliseconds)
    }

    private mutating func received(_ answer: Answer) -> Action {
        if isPinging { return pinged(answer) }
        return switch answer.status {
        case 401 where isSameOrigin: unauthorized(answer)
        case 401: unauthorizedElsewhere(answer)
        case 403 where mayBeHidden, 404 where mayBeHidden: seekHidden()
        case let status where ExchangeMachine.redirects.contains(status) && answer.hasLocation:
            redirected(to: answer.location)
        default: .deliver(deniedHint: hint)
        }
    }

    // MARK: 401

    private var mayBeHidden: Bool { isSameOrigin && mayHideContent && authorization == .none && !hasPinged }

    /// Some registries say of what an anonymous user may not see that it is not there. `/v2/` tells whether they want
    /// credentials.
    private mutating func seekHidden() -> Action {
        guard let pingURL else { return .deliver(deniedHint: hint) }
        hasPinged = true
        isPinging = true
        isSeekingHidden = true
        return .send(pingURL, .none, afterMilliseconds: 0)
    }

    private mutating func unauthorized(_ answer: Answer) -> Action {
        if case .fixedToken = credentials { return .deliver(deniedHint: UpstreamAnswer.credentialsHint) }
        switch answer.challenge?.scheme {
        case .basic: return basicAsked()
        case .bearer: return tokenAsked(answer)
        case nil: return ping()
        }
    }

    /// Some registries send the challenge only for `/v2/`, which the specification lets clients request first.
    private mutating func ping() -> Action {
        guard !hasPinged, let base = pingURL, base != url else {
            return .deliver(deniedHint: hint)
        }
        hasPinged = true
        isPinging = true
        return .send(base, .none, afterMilliseconds: 0)
    }

    private mutating func pinged(_ answer: Answer) -> Action {
        isPinging = false
        let wasSeeking = isSeekingHidden
        isSeekingHidden = false
        switch answer.status {
        case 401 where answer.challenge != nil: return unauthorized(answer)
        // An error that says something of the registry's state is the answer; any other tells no more than the 401 did.
        case 408, 429, 500...599: return .deliver(deniedHint: hint)
        // The registry asks nobody for credentials; the first answer was dropped, so it is asked for once more.
        case _ where wasSeeking: return send()
        default: return .fail(.refused(UpstreamAnswer.denied(host, status: 401, hint: hint, upstreamStatus: 401)))
        }
    }

    /// A redirect has led to another registry, which wants a token of its own. It gets one without credentials.
    private mutating func unauthorizedElsewhere(_ answer: Answer) -> Action {
        guard let challenge = answer.challenge, challenge.scheme == .bearer, let realm = answer.realm,
            redirectedToken?.isFresh != true, tokensAsked < ExchangeMachine.maximumTokens
        else { return .deliver(deniedHint: hint) }
        if let restriction = trust.restriction(of: realm) {
            return .fail(.addressRefused("\(url.host) has its token realm at \(realm.host), \(restriction.text)"))
        }
        guard realm.scheme == .https || url.scheme == .http else { return .deliver(deniedHint: hint) }
        tokensAsked += 1
        let request = TokenRequest(
            realm: realm, service: challenge.service, scope: challenge.scope ?? defaultScope, withCredentials: false,
            isForRedirect: true)
        return .askToken(request, refusing: redirectedToken?.text)
    }

    private mutating func basicAsked() -> Action {
        guard credentials == .password else {
            let hint = "it asks for a user and a password: set auth.user"
            return .deliver(deniedHint: credentials == .none ? hint : "it asks for a password, not for a token")
        }
        guard authorization != .basic else { return .deliver(deniedHint: UpstreamAnswer.credentialsHint) }
        authorization = .basic
        return send()
    }

    private mutating func tokenAsked(_ answer: Answer) -> Action {
        var refused: String?
        if case .bearer(let token) = authorization { refused = token }
        guard tokensAsked < ExchangeMachine.maximumTokens, !(refused != nil && lastTokenWasFresh) else {
            return .deliver(deniedHint: hint)
        }
        guard let challenge = answer.challenge, let realm = answer.realm else {
            return .fail(.refused(UpstreamAnswer.refused(host, "its token realm is not a plain http or https URL")))
        }
        var withCredentials = false
        switch CredentialPolicy.decide(realm: realm, trust: trust) {
        case .refuse(let refusal): return .fail(UpstreamFailure(refusal, host: host))
        case .send: withCredentials = credentials != .none
        case .anonymous(let reason): hint = credentials != .none ? reason : hint
        }
        tokensAsked += 1
        let request = TokenRequest(
            realm: realm, service: challenge.service, scope: challenge.scope ?? defaultScope,
            withCredentials: withCredentials)
        return .askToken(request, refusing: refused)
    }

    private mutating func use(_ token: String, isFresh: Bool) -> Action {
        if isSameOrigin {
            authorization = .bearer(token)
            lastTokenWasFresh = isFresh
        } else {
            redirectedToken = (token, isFresh)
        }
        return send()
    }

    /// Adds the hint: a token service may have denied access because the credentials were withheld.
    private func explained(_ failure: UpstreamFailure) -> UpstreamFailure {
        guard case .refused(var error) = failure, error.code == .denied, let hint else { return failure }
        error.detail = hint
        return .refused(error)
    }

    // MARK: Redirects and failures

    private mutating func redirected(to location: UpstreamURL?) -> Action {
        hops += 1
        switch RedirectPolicy.decide(from: url, to: location, hop: hops, trust: trust) {
        case .refuse(let refusal): return .fail(UpstreamFailure(refusal, host: host))
        case .follow(let keepsAuthorization):
            guard let location else { return .deliver(deniedHint: nil) }
            if !keepsAuthorization {
                isSameOrigin = false
                redirectedToken = nil
            }
            url = location
            return send()
        }
    }

    private mutating func failed(_ failure: TransferFailure) -> Action {
        if failure.isRetryable, !hasRetried {
            hasRetried = true
            let delay = ExchangeMachine.retryDelayMilliseconds
            if isPinging, let pingURL { return .send(pingURL, .none, afterMilliseconds: delay) }
            return send(afterMilliseconds: delay)
        }
        return .fail(UpstreamFailure(failure))
    }
}

// Tokens for upstream requests: the cached ones, and the requests to token services in progress. A hundred exchanges
// that need one token cause one request.

internal import Configuration
internal import Logging
internal import OCI

/// Gets tokens for exchanges.
final class UpstreamTokens {
    typealias Reply = Result<(token: String, isFresh: Bool), UpstreamFailure>

    /// An exchange's wait for a token, which can be cancelled.
    final class Ticket {
        private var then: ((Reply) -> Void)?

        init(_ then: @escaping (Reply) -> Void) { self.then = then }

        var isCancelled: Bool { then == nil }

        func cancel() { then = nil }

        func answer(_ reply: Reply) {
            let then = self.then
            self.then = nil
            then?(reply)
        }
    }

    private let loop: EventLoop
    private let start: (TransferRequest, any TransferHandler) -> Transfer
    private var settings: RequestSettings
    private let userAgent: String
    private let logger: Logger
    private let metrics: Metrics
    private let credentials: CredentialUse
    private var cache = TokenCache()
    private var running: [TokenCache.Key: TokenFetch] = [:]
    /// Requests with credentials that the service has not accepted yet, by upstream and service. Others wait for the
    /// outcome: a wrong password must not be sent for a hundred repositories at the same time.
    private var trials: [Trial: TokenFetch] = [:]

    private struct Trial: Hashable {
        let endpoint: String
        let service: CredentialBackOff.Service
    }

    /// An exchange's need for a token.
    private struct Wanted {
        let request: TokenRequest
        let endpoint: UpstreamEndpoint
        let repository: RepositoryName
        let key: TokenCache.Key
        let client: NetworkAddress?

        var trial: Trial { Trial(endpoint: endpoint.tokenKey, service: .tokenService(request.realm.origin)) }
    }

    init(
        loop: EventLoop, settings: RequestSettings, userAgent: String, logger: Logger, metrics: Metrics,
        credentials: CredentialUse, start: @escaping (TransferRequest, any TransferHandler) -> Transfer
    ) {
        self.loop = loop
        self.settings = settings
        self.userAgent = userAgent
        self.logger = logger
        self.metrics = metrics
        self.credentials = credentials
        self.start = start
    }

    /// Takes other settings. Tokens of the earlier configuration's endpoints are not used again.
    func reload(_ settings: RequestSettings) {
        self.settings = settings
        cache = TokenCache()
    }

    /// The cached token to send at this route without waiting for a 401.
    func known(at route: TokenCache.Route) -> String? { cache.token(at: route, now: loop.nowMilliseconds)?.token }

    /// Gets a token. `then` is called once, from a deferred action or a timer, unless the ticket is cancelled.
    /// - Parameters:
    ///   - refusing: a token that the upstream has just refused; it is dropped from the cache.
    ///   - client: the client whose request needs the token.
    func ask(
        _ request: TokenRequest, endpoint: UpstreamEndpoint, repository: RepositoryName, refusing: String?,
        client: NetworkAddress?, then: @escaping (Reply) -> Void
    ) -> Ticket {
        let ticket = Ticket(then)
        let key = TokenCache.Key(
            realm: request.realm.text, service: request.service, scope: request.scope,
            identity: "\(endpoint.tokenKey) \(request.withCredentials ? endpoint.source.current?.user ?? "" : "")")
        let route = TokenCache.Route(endpoint: endpoint.tokenKey, repository: repository)
        if let refusing { forget(refusing, key, route) }
        // A token for another origin is not sent to the upstream itself.
        if !request.isForRedirect { cache.remember(key, at: route) }
        answer(Wanted(request: request, endpoint: endpoint, repository: repository, key: key, client: client), ticket)
        return ticket
    }

    func close() {
        for fetch in running.values { fetch.cancel() }
        running.removeAll()
        trials.removeAll()
    }

    /// - Parameter waitsForTrial: false when a trial has just ended without showing whether the credentials are right.
    ///   Each exchange then sends its own request, so that they do not wait for one another while a token service is
    ///   down.
    private func answer(_ wanted: Wanted, _ ticket: Ticket, waitsForTrial: Bool = true) {
        guard !ticket.isCancelled else { return }
        if let token = cache.token(for: wanted.key, now: loop.nowMilliseconds) {
            loop.deferred.enqueue { ticket.answer(.success((token, false))) }
        } else if let fetch = running[wanted.key] {
            fetch.waiting.append(ticket)
        } else if waitsForTrial, wanted.request.withCredentials, let trial = trials[wanted.trial] {
            trial.onEnd.append { [weak self] in self?.answer(wanted, ticket, waitsForTrial: $0) }
        } else {
            fetch(wanted, ticket)
        }
    }

    private func forget(_ token: String, _ key: TokenCache.Key, _ route: TokenCache.Route) {
        cache.drop(token, for: key)
        // The upstream may request another scope now than when it accepted this token.
        if let known = cache.token(at: route, now: loop.nowMilliseconds) { cache.drop(token, for: known.key) }
    }

    private func fetch(_ wanted: Wanted, _ ticket: Ticket) {
        let (request, key, endpoint) = (wanted.request, wanted.key, wanted.endpoint)
        guard let asked = transferRequest(request, endpoint, wanted.client) else {
            let error = UpstreamAnswer.refused(endpoint.host, "its token realm is not usable")
            return loop.deferred.enqueue { ticket.answer(.failure(.refused(error))) }
        }
        let service = wanted.trial.service
        if request.withCredentials, !credentials.admits(endpoint, to: service, for: wanted.repository) {
            let error = UpstreamAnswer.credentialsRefused(byTokenServiceOf: endpoint.host)
            return loop.deferred.enqueue { ticket.answer(.failure(.refused(error))) }
        }
        logger.debug(
            "asking for a token", metadata: ["host": "\(endpoint.host)", "realm": "\(request.realm.redacted)"])
        let askedMilliseconds = loop.nowMilliseconds
        // They may have been replaced when the answer comes.
        let sent = endpoint.source.current
        let redirect = { [self] in transferRequest($0, endpoint, wanted.client, withCredentials: $1) }
        let fetch = TokenFetch(asked, endpoint: endpoint, loop: loop, redirect: redirect, start: start) {
            [self] result in
            let fetch = running.removeValue(forKey: key)
            if request.withCredentials { note(result, fetch, wanted, sent, askedMilliseconds) }
            if case .success = result {
                metrics.tokenAnswered(endpoint.host, granted: true)
            } else {
                metrics.tokenAnswered(endpoint.host, granted: false)
            }
            if case .success(let reply) = result { cache.insert(reply, for: key, now: loop.nowMilliseconds) }
            loop.deferred.forEach(fetch?.waiting ?? []) { $0.answer(result.map { ($0.token, true) }) }
            let isDecided = (try? result.get()) != nil || fetch?.deniedStatus != nil
            loop.deferred.forEach(fetch?.onEnd ?? []) { $0(isDecided) }
        }
        fetch.waiting = [ticket]
        running[key] = fetch
        let isProven = endpoint.credentialBackOff.isProven(sent, at: service)
        if request.withCredentials, !isProven { trials[wanted.trial] = fetch }
    }

    /// Records whether a token service has accepted or refused the credentials.
    private func note(
        _ result: Result<TokenReply, UpstreamFailure>, _ fetch: TokenFetch?, _ wanted: Wanted,
        _ sent: UpstreamCredentials?, _ askedMilliseconds: UInt64
    ) {
        if let fetch, trials[wanted.trial] === fetch { trials[wanted.trial] = nil }
        if case .success = result {
            credentials.accepted(wanted.endpoint, sent, by: wanted.trial.service, for: wanted.repository)
        } else if let status = fetch?.deniedStatus {
            credentials.refused(
                wanted.endpoint, sent, by: wanted.trial.service, for: wanted.repository,
                isAuthentication: status == 401, askedMilliseconds: askedMilliseconds)
        }
    }

    /// `GET realm?service=…&scope=…` (distribution's token specification).
    private func transferRequest(
        _ request: TokenRequest, _ endpoint: UpstreamEndpoint, _ client: NetworkAddress?
    ) -> TransferRequest? {
        if request.withCredentials, case .identityToken(let token)? = endpoint.source.current {
            return exchange(of: token, request, endpoint, client)
        }
        var parameters = request.scope.split(separator: " ").map { (name: "scope", value: String($0)) }
        if let service = request.service { parameters.insert((name: "service", value: service), at: 0) }
        guard let url = request.realm.adding(parameters) else { return nil }
        return transferRequest(url, endpoint, client, withCredentials: request.withCredentials)
    }

    /// `POST realm` with the identity token in a form (distribution's OAuth 2 token specification).
    private func exchange(
        of token: Secret, _ request: TokenRequest, _ endpoint: UpstreamEndpoint, _ client: NetworkAddress?
    ) -> TransferRequest {
        var asked = transferRequest(request.realm, endpoint, client, withCredentials: false)
        asked.method = .post
        asked.headers.append(IdentityTokenExchange.contentTypeHeader)
        asked.body = IdentityTokenExchange.form(token, service: request.service, scope: request.scope)
        return asked
    }

    private func transferRequest(
        _ url: UpstreamURL, _ endpoint: UpstreamEndpoint, _ client: NetworkAddress?, withCredentials: Bool
    ) -> TransferRequest {
        var asked = TransferRequest(
            url: url, addresses: endpoint.trust.addressGuard(for: url),
            noProgressMilliseconds: TokenFetch.answerMilliseconds)
        asked.userAgent = userAgent
        asked.tls = endpoint.tls(for: url)
        asked.isConfigured = endpoint.isConfigured
        asked.client = client
        asked.headers = ["Accept: application/json", "Accept-Encoding: identity"]
        if withCredentials, let basic = endpoint.source.current?.basic {
            asked.headers.append("Authorization: \(basic)")
        }
        settings.complete(&asked, for: endpoint)
        return asked
    }
}

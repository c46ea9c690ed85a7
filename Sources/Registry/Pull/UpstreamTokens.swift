// The token desk: what token services gave, and the requests to them that are under way. A hundred exchanges that need
// one token cause one request.

internal import Logging

/// Gets tokens for exchanges.
final class UpstreamTokens {
    typealias Reply = Result<(token: String, isFresh: Bool), UpstreamFailure>

    /// Someone waiting for a token, who may stop waiting.
    final class Ticket {
        private var then: ((Reply) -> Void)?

        init(_ then: @escaping (Reply) -> Void) { self.then = then }

        func cancel() { then = nil }

        func answer(_ reply: Reply) {
            let then = self.then
            self.then = nil
            then?(reply)
        }
    }

    private let loop: EventLoop
    private let start: (TransferRequest, any TransferHandler) -> Transfer
    private let proxies: Set<AddressGuard.Proxy>
    private let userAgent: String
    private let logger: Logger
    private let metrics: Metrics
    private var cache = TokenCache()
    private var running: [TokenCache.Key: TokenFetch] = [:]

    init(
        loop: EventLoop, proxies: Set<AddressGuard.Proxy>, userAgent: String, logger: Logger, metrics: Metrics,
        start: @escaping (TransferRequest, any TransferHandler) -> Transfer
    ) {
        self.loop = loop
        self.proxies = proxies
        self.userAgent = userAgent
        self.logger = logger
        self.metrics = metrics
        self.start = start
    }

    /// The token to send there without being asked.
    func known(at route: TokenCache.Route) -> String? { cache.token(at: route, now: loop.nowMilliseconds)?.token }

    /// Gets a token. `then` is called once, from a deferred action or a timer, unless the ticket is cancelled.
    /// - Parameter refusing: a token that the upstream has just refused; it is forgotten.
    func ask(
        _ request: TokenRequest, upstream: Upstream, repository: RepositoryName, refusing: String?,
        then: @escaping (Reply) -> Void
    ) -> Ticket {
        let ticket = Ticket(then)
        let key = TokenCache.Key(
            realm: request.realm.text, service: request.service, scope: request.scope,
            identity: "\(upstream.host)/\(request.withCredentials ? upstream.credentials?.user ?? "" : "")")
        let route = TokenCache.Route(upstream: upstream.host, repository: repository)
        if let refusing { forget(refusing, key, route) }
        cache.remember(key, at: route)
        if let token = cache.token(for: key, now: loop.nowMilliseconds) {
            loop.deferred.enqueue { ticket.answer(.success((token, false))) }
        } else if let fetch = running[key] {
            fetch.waiting.append(ticket)
        } else {
            fetch(request, key, upstream, ticket)
        }
        return ticket
    }

    func close() {
        for fetch in running.values { fetch.cancel() }
        running.removeAll()
    }

    private func forget(_ token: String, _ key: TokenCache.Key, _ route: TokenCache.Route) {
        cache.drop(token, for: key)
        // The upstream may ask for another scope now than when it last took this token.
        if let known = cache.token(at: route, now: loop.nowMilliseconds) { cache.drop(token, for: known.key) }
    }

    private func fetch(_ request: TokenRequest, _ key: TokenCache.Key, _ upstream: Upstream, _ ticket: Ticket) {
        guard let asked = transferRequest(request, upstream) else {
            let error = UpstreamAnswer.refused(upstream.host, "its token realm is not usable")
            return loop.deferred.enqueue { ticket.answer(.failure(.refused(error))) }
        }
        logger.debug(
            "asking for a token", metadata: ["host": "\(upstream.host)", "realm": "\(request.realm.redacted)"])
        let fetch = TokenFetch(asked, upstream: upstream, loop: loop, start: start) { [self] result in
            let waiting = running.removeValue(forKey: key)?.waiting ?? []
            if case .success = result {
                metrics.tokenAnswered(upstream.host, granted: true)
            } else {
                metrics.tokenAnswered(upstream.host, granted: false)
            }
            if case .success(let reply) = result { cache.insert(reply, for: key, now: loop.nowMilliseconds) }
            for ticket in waiting { ticket.answer(result.map { ($0.token, true) }) }
        }
        fetch.waiting = [ticket]
        running[key] = fetch
    }

    /// `GET realm?service=…&scope=…` (distribution's token specification).
    private func transferRequest(_ request: TokenRequest, _ upstream: Upstream) -> TransferRequest? {
        var parameters = request.scope.split(separator: " ").map { (name: "scope", value: String($0)) }
        if let service = request.service { parameters.insert((name: "service", value: service), at: 0) }
        guard let url = request.realm.adding(parameters) else { return nil }
        let addresses = AddressGuard(hostIsConfigured: upstream.trust.names(host: url.host), proxies: proxies)
        var asked = TransferRequest(
            url: url, addresses: addresses, noProgressMilliseconds: TokenFetch.deadlineMilliseconds)
        asked.userAgent = userAgent
        asked.tls = upstream.tls(for: url)
        asked.headers = ["Accept: application/json", "Accept-Encoding: identity"]
        if request.withCredentials, let credentials = upstream.credentials {
            asked.headers.append("Authorization: \(credentials.basic)")
        }
        return asked
    }
}

// One address that an upstream's requests go to: its URL, its trust and credentials, and its current state.

internal import Configuration
package import OCI

/// An endpoint of an upstream. Must be used on the loop only.
package final class UpstreamEndpoint {
    /// The registry that it is an endpoint of.
    package let host: RegistryHost
    /// The URL for requests, without a path: the configured endpoint, Docker Hub's API host, or the host itself over
    /// https.
    package let base: UpstreamURL
    /// What goes before `/v2/`, and before the repository; both without a slash at the end.
    let pathPrefix: String
    let repositoryPrefix: String

    let trust: UpstreamTrust
    let source: CredentialSource
    /// `ns=<registry>`, percent-encoded, for endpoints other than the registry's own host. Without it a mirror would
    /// use its own default registry, and that content would be stored under the wrong name.
    let namespaceQuery: String?
    /// Whether its 404 is the answer, whatever other endpoints there are.
    let is404Final: Bool
    /// Whether an entry of the configuration names this very host, so that clients cannot make up more such hosts.
    let isConfigured: Bool
    /// Proxy, limits and number of connections of its registry.
    let connections: ConnectionSettings?
    private let tls: RegistryTLS
    private let generation: Int
    private let mayUseClientCertificate: Bool
    /// Keeps refused credentials from being sent with every pull.
    var credentialBackOff = CredentialBackOff()
    /// Whether it has accepted Basic credentials after a challenge; they are then sent without waiting for a 401.
    var prefersBasic = false
    /// The exchange that tries credentials which the registry has not accepted yet, and those that wait for its
    /// outcome: a wrong password must not be sent for a hundred pulls at the same time.
    private var trial: UpstreamExchange?
    private var waitingForTrial: [(_ isDecided: Bool) -> Void] = []
    /// Until when its `/v2/` counts as one that asks nobody for credentials.
    var openUntilMilliseconds: UInt64 = 0
    /// The pause after a failure, while there are other endpoints.
    private var failure: DoublingPause?

    /// Makes the credentials of an endpoint: of its registry, at the host of its address.
    typealias Sources = (RegistryAuth?, _ registry: RegistryHost, _ address: RegistryHost) -> CredentialSource

    /// How long `/v2/` is not asked again whether it wants credentials.
    static let openMilliseconds: UInt64 = 60_000

    init(
        host: RegistryHost, config: RegistryConfig?, item: EndpointConfig?, refusesPrivate: Bool, generation: Int,
        sources: Sources
    ) {
        self.host = host
        self.generation = generation
        isConfigured = config?.name.host != nil
        base = UpstreamEndpoint.base(host, config, item)
        pathPrefix = item?.address.pathPrefix ?? ""
        repositoryPrefix = item?.address.repositoryPrefix ?? ""
        let isOwn = UpstreamEndpoint.isOwn(base, of: host)
        // The entry's credentials and client key belong to the registry's own host, or to its only endpoint.
        let isEntrys = config?.isList != true || isOwn
        var auth = item?.auth ?? (isEntrys ? config?.auth : nil)
        // A pattern may match hosts that are not ECR's.
        if case .ecr = auth?.kind, item == nil, ECRHost(host) == nil { auth = nil }
        // Credentials of an endpoint have nothing to do with the registry's name, unless the entry gives them.
        let isNames = item?.auth == nil && (auth != nil || isOwn)
        trust = UpstreamTrust(
            name: isNames ? host.name : base.host, base: base,
            isConfigured: config.map { UpstreamEndpoint.isNamed(host, by: $0) } ?? false, tokenRealm: auth?.tokenRealm,
            refusesPrivate: refusesPrivate)
        source = sources(auth, host, item.flatMap { RegistryHost($0.address.authority) } ?? host)
        let isNamed = config?.sendsNamespace ?? true && !isOwn && item?.address.hasPath != true
        namespaceQuery = isNamed ? "ns=\(PercentEncoding.encode(host.text))" : nil
        connections = config?.connections
        is404Final = item?.is404Final ?? false
        tls = item?.tls ?? config?.tls ?? RegistryTLS()
        mayUseClientCertificate = item?.tls != nil || isEntrys
    }

    /// A key for its tokens. After a reload the secrets of the same address may be others, so that neither its tokens
    /// nor its requests for them are shared with the endpoint of the earlier configuration.
    var tokenKey: String { generation == 0 ? label : "\(label) \(generation)" }

    /// The whole address, for logs.
    var label: String { base.origin + pathPrefix + (repositoryPrefix.isEmpty ? "" : "/v2/\(repositoryPrefix)") }

    // MARK: URLs

    /// The URL of a request; nil when its path is not valid in a URL.
    func url(for request: UpstreamRequest) -> UpstreamURL? {
        let query = [request.query, namespaceQuery].compactMap(\.self).joined(separator: "&")
        return base.with(path: path(request.path), query: query.isEmpty ? nil : query)
    }

    /// The path of `/v2/`, which tells whether it asks for credentials.
    var pingURL: UpstreamURL? { base.with(path: "\(pathPrefix)/v2/", query: nil) }

    /// The repository as this endpoint calls it.
    func repository(_ name: RepositoryName) -> RepositoryName {
        repositoryPrefix.isEmpty ? name : RepositoryName("\(repositoryPrefix)/\(name)") ?? name
    }

    private func path(_ path: String) -> String {
        guard !pathPrefix.isEmpty || !repositoryPrefix.isEmpty, path.hasPrefix("/v2/") else { return path }
        let before = repositoryPrefix.isEmpty ? "" : "\(repositoryPrefix)/"
        return "\(pathPrefix)/v2/\(before)\(path.dropFirst(4))"
    }

    /// TLS settings for a request to `url`. The upstream's verification and authorities apply wherever it redirects to.
    /// Its client certificate is used for its own host only, and only there do the configured authorities replace the
    /// system's.
    func tls(for url: UpstreamURL) -> TransferRequest.TLS {
        var asked = TransferRequest.TLS()
        let isOwn = url.host == base.host
        asked.caFile = tls.caFile
        asked.trustsSystem = !isOwn || tls.caFile == nil
        asked.skipsVerification = tls.insecureSkipVerify
        if isOwn, mayUseClientCertificate {
            asked.certificateFile = tls.certificateFile
            asked.keyFile = tls.keyFile
        }
        return asked
    }

    // MARK: Requests

    /// The machine of a request, before its first event.
    /// - Parameter mayRetry: whether a failed connection is tried once more; false while there are other endpoints.
    func machine(for request: UpstreamRequest, mayRetry: Bool, now: UInt64) -> ExchangeMachine {
        // If no URL can be made (such as an invalid host in brackets), the base alone is requested, which curl refuses.
        ExchangeMachine(
            host: host, trust: trust, url: (request.kind == .ping ? pingURL : url(for: request)) ?? base,
            repository: repository(request.repository),
            credentials: credentials, pingURL: pingURL, mayHideContent: now >= openUntilMilliseconds,
            mayRetry: mayRetry, isPing: request.kind == .ping)
    }

    private var credentials: ExchangeMachine.Credentials {
        switch source.current {
        case .password: .password
        case .identityToken: .identityToken
        case .bearer(let token): .fixedToken(token.revealed)
        case nil: .none
        }
    }

    /// Whether this is the configured token, not one that a token service has given.
    func isFixedToken(_ authorization: ExchangeMachine.Authorization) -> Bool {
        guard case .bearer(let token) = source.current else { return false }
        return authorization == .bearer(token.revealed)
    }

    /// Remembers when `/v2/` asks nobody for credentials.
    /// - Returns: whether the answer is one to `/v2/`.
    func notePing(_ url: UpstreamURL, _ answer: ExchangeMachine.Answer, now: UInt64) -> Bool {
        guard url == pingURL else { return false }
        if answer.status == 200 { openUntilMilliseconds = now + UpstreamEndpoint.openMilliseconds }
        return true
    }

    // MARK: Trials

    /// Whether an exchange may send the credentials now. If another one is trying them, `then` is called in a deferred
    /// action when that has ended, with whether the registry has accepted or refused them.
    func beginTrial(_ exchange: UpstreamExchange, then: @escaping (_ isDecided: Bool) -> Void) -> Bool {
        if let trial, trial !== exchange {
            waitingForTrial.append(then)
            return false
        }
        if !credentialBackOff.isProven(source.current, at: .registry) { trial = exchange }
        return true
    }

    func endTrial(_ exchange: UpstreamExchange, isDecided: Bool, _ queue: DeferredQueue) {
        guard trial === exchange else { return }
        trial = nil
        let waiting = waitingForTrial
        waitingForTrial = []
        if !waiting.isEmpty { queue.enqueue { queue.forEach(waiting) { $0(isDecided) } } }
    }

    // MARK: Failures

    func isUsable(now: UInt64) -> Bool { failure.map { now >= $0.nextTryMilliseconds } ?? true }

    /// Records that a request is sent. After a pause one at a time tries again.
    func isTried(now: UInt64) { _ = failure?.takeTry(now: now) }

    /// - Parameter askedMilliseconds: when the request was sent. Those sent before a pause began do not double it.
    func failed(askedMilliseconds: UInt64, now: UInt64) {
        if let failure, askedMilliseconds <= failure.startMilliseconds { return }
        failure = DoublingPause(after: failure.flatMap { $0.isForgotten(now: now) ? nil : $0 }, now: now)
    }

    func succeeded() { failure = nil }

    // MARK: Addresses

    /// Whether the configuration names the host that requests go to, which may then be a local one. Of the hosts that
    /// match a pattern the client chooses one, so a name among them must not lead to a local address; an address must
    /// be spelled out in the pattern but for its stars.
    private static func isNamed(_ host: RegistryHost, by config: RegistryConfig) -> Bool {
        if config.name.host != nil || !config.endpoints.isEmpty { return true }
        return !config.name.isEveryHost && NetworkAddress(literal: host.name) != nil
    }

    /// Whether requests to `base` reach the registry `host` itself. Another port may be another server.
    private static func isOwn(_ base: UpstreamURL, of host: RegistryHost) -> Bool {
        let defaultPort: UInt16 = base.scheme == .https ? 443 : 80
        guard base.port == host.port ?? defaultPort else { return false }
        return base.host == host.name || (host.isDockerHub && RegistryHost(base.host) == host)
    }

    private static func base(
        _ host: RegistryHost, _ config: RegistryConfig?, _ item: EndpointConfig?
    ) -> UpstreamURL {
        let scheme = config?.scheme.rawValue ?? "https"
        let own = "\(scheme)://\(host.isDockerHub ? "registry-1.docker.io" : host.text)"
        var text = item?.address.origin ?? own
        // Docker Hub's name in image references is that of a website.
        if item?.address.authority == "docker.io" { text = "\(scheme)://registry-1.docker.io" }
        // A text that curl cannot parse (such as an invalid address in brackets) fails when a request is sent.
        return UpstreamURL(text)
            ?? UpstreamURL(scheme: .https, host: host.name, port: host.port ?? 443, path: "/", query: nil, text: text)
    }
}

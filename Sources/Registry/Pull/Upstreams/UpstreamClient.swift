// Sends requests to upstream registries; every such request starts here.

package import Configuration
package import Logging
package import OCI

/// Starts exchanges with upstreams, within the limits of concurrent requests.
package final class UpstreamClient {
    /// Remembered upstreams without a configuration entry: `ns` can name any number.
    static let maximumOtherUpstreams = 256
    /// Concurrent requests, except for blobs' content (which `PullQueue` limits). Each may hold a descriptor, a
    /// resolver thread and memory for a manifest, and does not end when its client leaves.
    static let maximumRequests = 1024
    /// Concurrent requests to one upstream, so that a slow one does not use up the others' share.
    static let maximumRequestsPerUpstream = 512

    /// Requests in progress for ranges ahead of a pull, over all upstreams.
    var aheadCount = 0

    let services: UpstreamServices
    /// The level of log lines with a reason that clients do not get. Their message refers to the log, so it is one that
    /// is written by default.
    package var failureLevel = Logger.Level.error
    var loop: EventLoop { services.loop }
    /// Requests wait here for the end of a pause after a 429.
    var rateLimits: RateLimitGate { services.rateLimits }
    private var configured: [RegistryHost: Upstream] = [:]
    private var entries = RegistryEntries([])
    private let credentialSources: CredentialSources?
    /// How many times the configuration was reloaded.
    private var generation = 0
    private var others: [RegistryHost: Upstream] = [:]
    /// Called when an upstream's credentials have been replaced by others.
    var onCredentialsChanged: () -> Void = {}

    /// - Parameters:
    ///   - noProgressMilliseconds: how long an upstream may send nothing while this server is ready to receive.
    ///   - credentials: where credentials are that the configuration file does not have; nil: there are none.
    package init(
        loop: EventLoop, registries: [RegistryConfig], noProgressMilliseconds: UInt64, userAgent: String,
        logger: Logger, metrics: Metrics, limits: ConnectLimits = ConnectLimits(),
        settings: UpstreamSettings = UpstreamSettings(), credentials: CredentialSettings? = nil
    ) {
        services = UpstreamServices(
            loop: loop,
            settings: RequestSettings(settings, noProgressMilliseconds: noProgressMilliseconds, limits: limits),
            userAgent: userAgent, logger: logger, metrics: metrics, limits: limits.overridden(by: settings.connections))
        credentialSources = credentials.map { [services] in services.credentialSources($0) }
        credentialSources?.onChange = { [weak self] in self?.onCredentialsChanged() }
        configure(registries)
    }

    /// Takes other registries and settings, and reads secrets and certificates anew. Requests that run keep those that
    /// they began with.
    package func reload(
        registries: [RegistryConfig], settings: UpstreamSettings, noProgressMilliseconds: UInt64,
        credentials: CredentialSettings
    ) {
        services.replaceSettings(settings, noProgressMilliseconds: noProgressMilliseconds)
        credentialSources?.update(credentials)
        generation += 1
        others = [:]
        services.quotas.clear()
        services.rateLimits.clear()
        configure(registries)
        for host in configured.keys { services.metrics.admit(host) }
        services.startWaiting(limit: { maximumConnections(of: $0) })
    }

    private func configure(_ registries: [RegistryConfig]) {
        entries = RegistryEntries(registries)
        configured = [:]
        for (host, config) in entries.named {
            configured[host] = makeUpstream(host, config)
        }
    }

    /// The upstream of a host. An unknown one is made, and may replace an idle one without configuration.
    package func upstream(for host: RegistryHost) -> Upstream {
        if let known = configured[host] ?? others[host] { return known }
        if others.count >= UpstreamClient.maximumOtherUpstreams { dropIdle() }
        let config = entries.index(for: host).map { entries.all[$0] }
        let upstream = makeUpstream(host, config)
        upstream.lastUsedMilliseconds = services.loop.nowMilliseconds
        others[host] = upstream
        return upstream
    }

    /// The hosts that the configuration names, in alphabetical order.
    var configuredHosts: [RegistryHost] { configured.keys.sorted { $0.text < $1.text } }

    private func makeUpstream(_ host: RegistryHost, _ config: RegistryConfig?) -> Upstream {
        let refusesPrivate = services.settings.refusesPrivate
        guard let sources = credentialSources else {
            return Upstream(host: host, config: config, refusesPrivate: refusesPrivate, generation: generation)
        }
        return Upstream(host: host, config: config, refusesPrivate: refusesPrivate, generation: generation) {
            sources.source(for: $0, host: $1, address: $2)
        }
    }

    /// Starts an exchange. The handler is not called before this returns, and is retained until its `ended` or a
    /// `cancel`.
    package func start(
        _ request: UpstreamRequest, to upstream: Upstream, handler: any UpstreamExchangeHandler
    ) -> UpstreamExchange {
        let exchange = UpstreamExchange(request, to: upstream, services: services, handler: handler)
        let isRefused = request.isUnqueued && !services.hasRoom(for: upstream)
        services.keep(exchange)
        if isRefused {
            exchange.end(.refused(.unavailable("too many requests to upstreams are waiting")))
        } else if services.isClosed {
            exchange.end(UpstreamServices.stopping)
        } else {
            services.loop.deferred.enqueue { exchange.begin() }
        }
        return exchange
    }

    /// Whether a request to this upstream could start at once, as far as `maxConnections` allows.
    func hasSlot(for upstream: Upstream) -> Bool { services.hasSlot(for: upstream) }

    /// The limit of a host's concurrent requests, by the entry that applies to it now.
    private func maximumConnections(of host: RegistryHost) -> Int? {
        let entry = entries.index(for: host).map { entries.all[$0] }
        return services.settings.maximumConnections(of: entry?.connections)
    }

    /// Concurrent blob pulls of each host, where `maxConnections` limits them.
    var pullLimits: HostLimits {
        HostLimits(
            all: services.settings.maximumConnections(of: nil),
            byHost: configured.compactMapValues { services.settings.maximumConnections(of: $0.config?.connections) })
    }

    /// Prepares a request without sending it, so that libcurl is initialized before the first pull.
    func warmUp() { services.warmUp() }

    /// Running exchanges (`exchangeCount`), and transfers, which include those for tokens and redirects.
    package var exchangeCount: Int { services.exchangeCount }
    package var transferCount: Int { services.transferCount }
    package var connectReading: ConnectReading { services.connectReading }

    /// Seconds left of each host's longest pause after a 429.
    package var rateLimitSeconds: [RegistryHost: Int] { rateLimits.secondsLeft }
    /// Requests that wait for the end of a pause after a 429.
    package var rateLimitedCount: Int { rateLimits.waitingCount }

    /// Ends every exchange (`UpstreamServices.stopping`) and closes every connection. Must not be called from a
    /// handler's callback.
    package func close() {
        credentialSources?.close()
        services.close()
    }

    /// Removes the upstream that has been idle for longest.
    private func dropIdle() {
        let idle = others.values.filter { $0.exchangeCount == 0 }
        if let oldest = idle.min(by: { $0.lastUsedMilliseconds < $1.lastUsedMilliseconds }) {
            others[oldest.host] = nil
        }
    }
}

extension UpstreamRequest {
    /// Whether no queue limits such requests: true for all but a blob's content.
    var isUnqueued: Bool { kind != .blob || method == .head }
}

/// The services that all exchanges share.
final class UpstreamServices {
    let loop: EventLoop
    let tokens: UpstreamTokens
    let rateLimits: RateLimitGate
    let credentials: CredentialUse
    let logger: Logger
    let metrics: Metrics
    private let multi: CurlMulti
    private(set) var settings: RequestSettings
    private let userAgent: String
    /// The slots of `maxConnections`; UpstreamSlots.swift uses them.
    var slots = ConnectionSlots<RegistryHost, ObjectIdentifier>()
    /// Retains running exchanges, even if their handler is gone.
    private(set) var exchanges: [ObjectIdentifier: UpstreamExchange] = [:]
    private var unqueuedCount = 0
    private(set) var isClosed = false
    /// The pulls that upstreams with a `quota` have left.
    var quotas = StatedQuotas()
    var quotaLogLines = LogLineBudget()

    static let stopping = UpstreamFailure.refused(.unavailable("this server is stopping"))

    init(
        loop: EventLoop, settings: RequestSettings, userAgent: String, logger: Logger, metrics: Metrics,
        limits: ConnectLimits
    ) {
        guard let multi = CurlMulti(on: loop, limits: limits) else {
            // curl_global_init and curl_multi_init fail only for lack of memory, at the program's start.
            preconditionFailure("curl cannot be set up")
        }
        self.loop = loop
        self.multi = multi
        self.settings = settings
        self.userAgent = userAgent
        self.logger = logger
        self.metrics = metrics
        rateLimits = RateLimitGate(loop: loop, logger: logger, metrics: metrics)
        credentials = CredentialUse(loop: loop, logger: logger, metrics: metrics)
        tokens = UpstreamTokens(
            loop: loop, settings: settings, userAgent: userAgent, logger: logger, metrics: metrics,
            credentials: credentials
        ) {
            Transfer($0, on: multi, loop: loop, handler: $1)
        }
    }

    func transferRequest(_ url: UpstreamURL, _ endpoint: UpstreamEndpoint, client: NetworkAddress?) -> TransferRequest {
        var request = TransferRequest(
            url: url, addresses: endpoint.trust.addressGuard(for: url),
            noProgressMilliseconds: settings.noProgressMilliseconds(of: endpoint.connections))
        request.userAgent = userAgent
        request.tls = endpoint.tls(for: url)
        request.isConfigured = endpoint.isConfigured
        request.client = client
        settings.complete(&request, for: endpoint)
        return request
    }

    func replaceSettings(_ settings: UpstreamSettings, noProgressMilliseconds: UInt64) {
        self.settings = self.settings.replaced(by: settings, noProgressMilliseconds: noProgressMilliseconds)
        tokens.reload(self.settings)
        // curl compares the names of certificate files, not their content, when it reuses a connection.
        multi.renewConnections()
    }

    func warmUp() {
        guard let url = UpstreamURL("https://localhost/v2/") else { return }
        TransferAttempt.warmUp(
            TransferRequest(
                url: url, addresses: AddressGuard(hostIsConfigured: false),
                noProgressMilliseconds: settings.noProgressMilliseconds(of: nil)))
    }

    func credentialSources(_ settings: CredentialSettings) -> CredentialSources {
        CredentialSources(
            settings, loop: loop, logger: logger, userAgent: userAgent,
            complete: { [unowned self] in self.settings.complete(&$0, for: nil) },
            start: { [multi, loop] in Transfer($0, on: multi, loop: loop, handler: $1) })
    }

    func start(_ request: TransferRequest, _ handler: any TransferHandler) -> Transfer {
        Transfer(request, on: multi, loop: loop, handler: handler)
    }

    var exchangeCount: Int { exchanges.count }
    var transferCount: Int { multi.transferCount }
    var connectReading: ConnectReading { multi.reading }

    func hasRoom(for upstream: Upstream) -> Bool {
        unqueuedCount < UpstreamClient.maximumRequests
            && upstream.unqueuedCount < UpstreamClient.maximumRequestsPerUpstream
    }

    func keep(_ exchange: UpstreamExchange) {
        exchanges[ObjectIdentifier(exchange)] = exchange
        count(exchange, 1)
        exchange.upstream.exchangeCount += 1
        exchange.upstream.lastUsedMilliseconds = loop.nowMilliseconds
    }

    func forget(_ exchange: UpstreamExchange) {
        guard exchanges.removeValue(forKey: ObjectIdentifier(exchange)) != nil else { return }
        count(exchange, -1)
        exchange.upstream.exchangeCount -= 1
        leaveSlot(exchange)
    }

    private func count(_ exchange: UpstreamExchange, _ difference: Int) {
        guard exchange.request.isUnqueued else { return }
        unqueuedCount += difference
        exchange.upstream.unqueuedCount += difference
    }

    func close() {
        guard !isClosed else { return }
        isClosed = true
        tokens.close()
        rateLimits.close()
        for exchange in exchanges.values { exchange.end(UpstreamServices.stopping) }
        multi.close()
    }
}

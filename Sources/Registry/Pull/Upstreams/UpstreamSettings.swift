// The settings of requests to upstreams: proxy, authorities and limits, each from the registry's entry, the top level
// of the configuration, the environment, or the default.

package import Configuration
internal import OCI

/// What the configuration and the environment say about all upstreams.
package struct UpstreamSettings: Sendable {
    package var connections: ConnectionSettings
    /// Authorities for upstreams without their own.
    package var caFile: String?
    package var environment: UpstreamEnvironment
    package var privateUpstreams: PrivateUpstreams

    package init(
        connections: ConnectionSettings = ConnectionSettings(), caFile: String? = nil,
        environment: UpstreamEnvironment = UpstreamEnvironment(), privateUpstreams: PrivateUpstreams = .allow
    ) {
        self.connections = connections
        self.caFile = caFile
        self.environment = environment
        self.privateUpstreams = privateUpstreams
    }

    package init(_ config: Config) {
        self.init(
            connections: config.connections, caFile: config.caFile, environment: config.environment,
            privateUpstreams: config.privateUpstreams)
    }
}

/// The limits of a request while there are other endpoints: together they are well below the 15 s that a client waits,
/// so that the client still gets the next one's answer.
enum FailoverLimits {
    static let lookupMilliseconds: UInt64 = 3000
    /// A registry that is reached at all is reached within a few hundred milliseconds; a lost SYN is sent again after
    /// one second.
    static let connectMilliseconds: UInt64 = 1000
    static let tlsMilliseconds: UInt64 = 3000
    static let firstByteMilliseconds: UInt64 = 5000
}

/// Completes requests by these settings.
struct RequestSettings {
    private let settings: UpstreamSettings
    private let proxies: ProxySettings
    private let noProgressMilliseconds: UInt64
    /// The defaults, and the limits that the settings make of them.
    private let defaults: ConnectLimits
    private let limits: ConnectLimits

    init(_ settings: UpstreamSettings, noProgressMilliseconds: UInt64, limits: ConnectLimits) {
        self.settings = settings
        self.noProgressMilliseconds = noProgressMilliseconds
        defaults = limits
        self.limits = limits.overridden(by: settings.connections)
        proxies = ProxySettings(topLevel: settings.connections, environment: settings.environment)
    }

    /// The same defaults with other settings.
    func replaced(by settings: UpstreamSettings, noProgressMilliseconds: UInt64) -> RequestSettings {
        RequestSettings(settings, noProgressMilliseconds: noProgressMilliseconds, limits: defaults)
    }

    /// Whether upstreams may lead to private networks only where the configuration names the host.
    var refusesPrivate: Bool { settings.privateUpstreams == .deny }

    /// How long a registry may make no progress.
    func noProgressMilliseconds(of registry: ConnectionSettings?) -> UInt64 {
        registry?.pullTimeoutMilliseconds.map { UInt64(clamping: $0) } ?? noProgressMilliseconds
    }

    /// Concurrent requests to a registry; nil: only the limits over all registries count.
    func maximumConnections(of registry: ConnectionSettings?) -> Int? {
        registry?.maximumConnections ?? settings.connections.maximumConnections
    }

    /// The limits of connecting to a registry, and of its first byte.
    func limits(of registry: ConnectionSettings?) -> ConnectLimits {
        registry.map { limits.overridden(by: $0) } ?? limits
    }

    /// Whether a request goes through a proxy, and why.
    func proxyDecision(for url: UpstreamURL, of registry: ConnectionSettings?) -> ProxyDecision {
        proxies.decision(for: url, of: registry)
    }

    /// Sets the proxy, the authorities and the limits of a request whose `url` and `tls` are set.
    /// - Parameter endpoint: nil for a service that is no registry.
    func complete(_ request: inout TransferRequest, for endpoint: UpstreamEndpoint?) {
        let registry = endpoint?.connections
        request.limits = limits(of: registry)
        // Another host is one that a redirect or a challenge has led to.
        addAuthorities(to: &request.tls, isOwnHost: endpoint.map { request.url.host == $0.base.host } ?? true)
        request.proxy = proxies.proxy(for: request.url, of: registry).map { url in
            var proxy = UpstreamProxy(url)
            proxy.caFile = settings.caFile ?? settings.environment.caFile
            if settings.caFile == nil { proxy.caDirectories = settings.environment.caDirectories }
            return proxy
        }
    }

    /// Shortens the limits of a request that another endpoint can answer, where the configuration does not set them.
    func hurry(_ request: inout TransferRequest, for endpoint: UpstreamEndpoint) {
        let (own, all) = (endpoint.connections, settings.connections)
        var limits = request.limits ?? self.limits
        if own?.lookupMilliseconds == nil, all.lookupMilliseconds == nil {
            limits.lookupMilliseconds = min(limits.lookupMilliseconds, FailoverLimits.lookupMilliseconds)
        }
        if own?.connectMilliseconds == nil, all.connectMilliseconds == nil {
            limits.addressMilliseconds = min(limits.addressMilliseconds, FailoverLimits.connectMilliseconds)
            limits.connectMilliseconds = min(limits.connectMilliseconds, FailoverLimits.connectMilliseconds)
        }
        if own?.tlsMilliseconds == nil, all.tlsMilliseconds == nil {
            limits.tlsMilliseconds = min(limits.tlsMilliseconds, FailoverLimits.tlsMilliseconds)
        }
        if own?.firstByteMilliseconds == nil, all.firstByteMilliseconds == nil {
            limits.firstByteMilliseconds = min(limits.firstByteMilliseconds, FailoverLimits.firstByteMilliseconds)
        }
        request.limits = limits
    }

    private func addAuthorities(to tls: inout TransferRequest.TLS, isOwnHost: Bool) {
        if tls.caFile == nil, let file = settings.caFile {
            tls.caFile = file
            tls.trustsSystem = !isOwnHost
        } else if tls.caFile == nil {
            // SSL_CERT_FILE replaces the system's file only; its directory is SSL_CERT_DIR's.
            tls.caFile = settings.environment.caFile
            tls.trustsSystem = true
        }
        if tls.trustsSystem { tls.caDirectories = settings.environment.caDirectories }
    }
}

extension ConnectLimits {
    /// These limits where the settings have none.
    func overridden(by settings: ConnectionSettings) -> ConnectLimits {
        var limits = self
        if let time = settings.lookupMilliseconds { limits.lookupMilliseconds = UInt64(clamping: time) }
        if let time = settings.connectMilliseconds {
            limits.addressMilliseconds = UInt64(clamping: time)
            limits.connectMilliseconds = limits.addressMilliseconds
                .multipliedSaturated(by: ConnectLimits.addressesOfAName)
        }
        if let time = settings.tlsMilliseconds { limits.tlsMilliseconds = UInt64(clamping: time) }
        if let time = settings.firstByteMilliseconds { limits.firstByteMilliseconds = UInt64(clamping: time) }
        return limits
    }
}

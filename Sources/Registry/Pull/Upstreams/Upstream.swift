// One upstream registry: its endpoints in their order of preference, and what is in progress there.

package import Configuration
package import OCI

/// An upstream registry. Must be used on the loop only.
package final class Upstream {
    package let host: RegistryHost
    package let config: RegistryConfig?
    /// In order of preference; at least one.
    package let endpoints: [UpstreamEndpoint]

    /// Exchanges in progress.
    var exchangeCount = 0
    /// Exchanges in progress that are not for a blob's content.
    var unqueuedCount = 0
    /// Requests in progress for ranges ahead of a pull.
    var aheadCount = 0
    var lastUsedMilliseconds: UInt64 = 0

    /// - Parameters:
    ///   - refusesPrivate: whether it may lead to private networks only where the configuration names the host.
    ///   - generation: tells the endpoints of one configuration from those of an earlier one.
    ///   - sources: makes the credentials of an endpoint.
    init(
        host: RegistryHost, config: RegistryConfig?, refusesPrivate: Bool = false, generation: Int = 0,
        sources: UpstreamEndpoint.Sources = { auth, _, _ in CredentialSource(fixed: auth) }
    ) {
        self.host = host
        self.config = config
        if let config, !config.endpoints.isEmpty {
            endpoints = config.endpoints.map {
                UpstreamEndpoint(
                    host: host, config: config, item: $0, refusesPrivate: refusesPrivate, generation: generation,
                    sources: sources)
            }
        } else {
            endpoints = [
                UpstreamEndpoint(
                    host: host, config: config, item: nil, refusesPrivate: refusesPrivate, generation: generation,
                    sources: sources)
            ]
        }
    }

    /// Whether the configuration names it, so that its answer to a HEAD is a proof. A host that a client chose could
    /// claim to have any content, also through a mirror that a pattern sends all requests to.
    var isNamed: Bool { config?.name.host != nil }

    /// The endpoints in the order in which a request tries them: those that failed a short while ago come last.
    func candidates(now: UInt64) -> ArraySlice<UpstreamEndpoint> {
        guard endpoints.count > 1 else { return endpoints[...] }
        let usable = endpoints.filter { $0.isUsable(now: now) }
        return (usable + endpoints.filter { !$0.isUsable(now: now) })[...]
    }
}

// The use of upstream credentials: it is checked here before they are sent, and the outcome is reported here. Refused
// credentials are not sent again until their pause is over; until then clients get the same error.

internal import Logging
internal import OCI

/// Applies `CredentialBackOff` to the upstreams' credentials.
final class CredentialUse {
    private let loop: EventLoop
    private let logger: Logger
    private let metrics: Metrics

    init(loop: EventLoop, logger: Logger, metrics: Metrics) {
        self.loop = loop
        self.logger = logger
        self.metrics = metrics
    }

    /// Whether the upstream's credentials may be sent now.
    func admits(_ endpoint: UpstreamEndpoint, to service: CredentialBackOff.Service, for repository: RepositoryName)
        -> Bool
    {
        guard let credentials = endpoint.source.current else { return true }
        return endpoint.credentialBackOff.admits(credentials, to: service, for: repository, now: loop.nowMilliseconds)
    }

    /// The error for a request that would certainly need credentials that are paused; nil for other requests.
    func denial(by endpoint: UpstreamEndpoint, for repository: RepositoryName) -> RegistryError? {
        guard let credentials = endpoint.source.current,
            let service = endpoint.credentialBackOff.denyingService(
                of: credentials, for: repository, now: loop.nowMilliseconds)
        else { return nil }
        return switch service {
        case .registry: UpstreamAnswer.credentialsRefused(by: endpoint.host)
        case .tokenService: UpstreamAnswer.credentialsRefused(byTokenServiceOf: endpoint.host)
        }
    }

    /// Records the registry's answer to a request that had the credentials. Those that have been replaced meanwhile do
    /// not count.
    /// - Parameter sent: what the request had.
    func answered(
        _ endpoint: UpstreamEndpoint, _ sent: UpstreamCredentials?, _ status: Int, for repository: RepositoryName,
        askedMilliseconds: UInt64
    ) {
        guard sent == endpoint.source.current else { return }
        endpoint.prefersBasic = status != 401 && endpoint.source.current?.basic != nil
        switch status {
        case 401:
            refused(
                endpoint, sent, by: .registry, for: repository, isAuthentication: false,
                askedMilliseconds: askedMilliseconds)
        // These answers do not show whether the registry checked the credentials.
        case 408, 429, 500...: break
        default: accepted(endpoint, sent, by: .registry, for: repository)
        }
    }

    func accepted(
        _ endpoint: UpstreamEndpoint, _ sent: UpstreamCredentials?, by service: CredentialBackOff.Service,
        for repository: RepositoryName
    ) {
        guard let sent, sent == endpoint.source.current else { return }
        endpoint.credentialBackOff.accepted(sent, by: service, for: repository)
    }

    /// - Parameter isAuthentication: whether the refusal is about the credentials as such.
    func refused(
        _ endpoint: UpstreamEndpoint, _ sent: UpstreamCredentials?, by service: CredentialBackOff.Service,
        for repository: RepositoryName, isAuthentication: Bool, askedMilliseconds: UInt64
    ) {
        guard let sent, sent == endpoint.source.current else { return }
        metrics.credentialsRefused(endpoint.host)
        let pause = endpoint.credentialBackOff.refused(
            sent, by: service, for: repository, isAuthentication: isAuthentication,
            askedMilliseconds: askedMilliseconds, now: loop.nowMilliseconds)
        guard let pause else { return }
        logger.warning(
            "upstream refused the configured credentials; they are not sent again before the pause is over",
            metadata: [
                "host": "\(endpoint.host)", "by": "\(service)", "repository": "\(repository)", "ms": "\(pause)",
            ])
    }
}

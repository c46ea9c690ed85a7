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
    func admits(_ upstream: Upstream, to service: CredentialBackOff.Service, for repository: RepositoryName) -> Bool {
        guard let credentials = upstream.credentials else { return true }
        return upstream.credentialBackOff.admits(credentials, to: service, for: repository, now: loop.nowMilliseconds)
    }

    /// The error for a request that would certainly need credentials that are paused; nil for other requests.
    func denial(by upstream: Upstream, for repository: RepositoryName) -> RegistryError? {
        guard upstream.credentials != nil,
            let service = upstream.credentialBackOff.denyingService(for: repository, now: loop.nowMilliseconds)
        else { return nil }
        return switch service {
        case .registry: UpstreamAnswer.credentialsRefused(by: upstream.host)
        case .tokenService: UpstreamAnswer.credentialsRefused(byTokenServiceOf: upstream.host)
        }
    }

    /// Records the registry's answer to a request that had the credentials.
    func answered(_ upstream: Upstream, _ status: Int, for repository: RepositoryName, askedMilliseconds: UInt64) {
        upstream.prefersBasic = status != 401
        switch status {
        case 401:
            refused(
                upstream, by: .registry, for: repository, isAuthentication: false, askedMilliseconds: askedMilliseconds)
        // These answers do not show whether the registry checked the credentials.
        case 408, 429, 500...: break
        default: accepted(upstream, by: .registry, for: repository)
        }
    }

    func accepted(_ upstream: Upstream, by service: CredentialBackOff.Service, for repository: RepositoryName) {
        guard let credentials = upstream.credentials else { return }
        upstream.credentialBackOff.accepted(credentials, by: service, for: repository)
    }

    /// - Parameter isAuthentication: whether the refusal is about the credentials as such.
    func refused(
        _ upstream: Upstream, by service: CredentialBackOff.Service, for repository: RepositoryName,
        isAuthentication: Bool, askedMilliseconds: UInt64
    ) {
        guard let credentials = upstream.credentials else { return }
        metrics.credentialsRefused(upstream.host)
        let pause = upstream.credentialBackOff.refused(
            credentials, by: service, for: repository, isAuthentication: isAuthentication,
            askedMilliseconds: askedMilliseconds, now: loop.nowMilliseconds)
        guard let pause else { return }
        logger.warning(
            "upstream refused the configured credentials; they are not sent again before the pause is over",
            metadata: [
                "host": "\(upstream.host)", "by": "\(service)", "repository": "\(repository)", "ms": "\(pause)",
            ])
    }
}

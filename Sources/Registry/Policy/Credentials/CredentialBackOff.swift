// Back-off for refused credentials. They are not sent again with every pull, since registries lock an account, or ban
// an address, after a few failures.

package import OCI

/// The refusals of one upstream's credentials, and the pauses after them. Times are the loop's milliseconds.
///
/// A 401 from a token service is about the credentials, so they are paused for all repositories. A 403 from a token
/// service or a 401 from a registry may be about a repository that the user may not read, so they are paused for that
/// repository; after refusals for three repositories without an acceptance, for all.
package struct CredentialBackOff {
    /// Refused repositories, without an acceptance meanwhile, after which the credentials count as wrong: a user who
    /// may not read one repository is common, one who may not read three that are pulled is not.
    static let maximumRefusedRepositories = 3
    /// Services remembered: the registry, and the token services that may get the credentials.
    static let maximumServices = 16
    /// Repositories remembered per service; requests for further ones are sent again.
    static let maximumRepositories = 1024

    /// The service that gets the credentials.
    package enum Service: Hashable, Sendable, CustomStringConvertible {
        /// The registry itself, by the Basic scheme.
        case registry
        /// A token service, by its origin.
        case tokenService(String)

        package var description: String {
            switch self {
            case .registry: "registry"
            case .tokenService(let origin): origin
            }
        }
    }

    /// The refusals and pauses at one service.
    private struct Refusals {
        var wasAccepted = false
        /// Repositories refused since the last acceptance, up to `maximumRefusedRepositories`.
        var refused: Set<RepositoryName> = []
        /// The pause for all repositories.
        var pause: DoublingPause?
        var repositories: [RepositoryName: DoublingPause] = [:]
        /// Repositories that were refused, or denied without a request, during the current pause.
        var denied: Set<RepositoryName> = []
    }

    private var credentials: UpstreamCredentials?
    private var services: [Service: Refusals] = [:]

    package init() {}

    var serviceCount: Int { services.count }

    /// Whether the credentials may be sent now. After a pause one request may try; the others are denied until its
    /// answer is known.
    package mutating func admits(
        _ credentials: UpstreamCredentials, to service: Service, for repository: RepositoryName, now: UInt64
    ) -> Bool {
        renew(credentials)
        guard var state = services[service] else { return true }
        defer { services[service] = state }
        if state.pause?.takeTry(now: now) == false {
            if state.denied.count < CredentialBackOff.maximumRepositories { state.denied.insert(repository) }
            return false
        }
        return state.repositories[repository]?.takeTry(now: now) ?? true
    }

    /// The service that would refuse a request for this repository, because these credentials are paused there; nil if
    /// none.
    package func denyingService(
        of credentials: UpstreamCredentials, for repository: RepositoryName, now: UInt64
    ) -> Service? {
        guard credentials == self.credentials else { return nil }
        return services.first { _, state in
            if let pause = state.pause, !pause.isOver(now: now), state.denied.contains(repository) { return true }
            return state.repositories[repository].map { !$0.isOver(now: now) } ?? false
        }?.key
    }

    /// Whether a service has accepted these credentials, and not refused them since.
    package func isProven(_ credentials: UpstreamCredentials?, at service: Service) -> Bool {
        guard credentials == self.credentials, let state = services[service] else { return false }
        return state.wasAccepted && state.pause == nil
    }

    package mutating func accepted(
        _ credentials: UpstreamCredentials, by service: Service, for repository: RepositoryName
    ) {
        renew(credentials)
        makeRoom(for: service)
        services[service, default: Refusals()].wasAccepted = true
        services[service]?.refused = []
        services[service]?.pause = nil
        services[service]?.denied = []
        services[service]?.repositories[repository] = nil
    }

    /// - Parameters:
    ///   - isAuthentication: whether the refusal is about the credentials as such: true for a token service's 401. A
    ///     token service's 403, and a registry's 401, may be about the repository.
    ///   - askedMilliseconds: when they were sent. Requests sent before a pause began do not double it.
    /// - Returns: the length in milliseconds of a new pause; nil if the refusal belongs to the previous one.
    package mutating func refused(
        _ credentials: UpstreamCredentials, by service: Service, for repository: RepositoryName,
        isAuthentication: Bool, askedMilliseconds: UInt64, now: UInt64
    ) -> UInt64? {
        renew(credentials)
        makeRoom(for: service)
        var state = services[service] ?? Refusals()
        defer { services[service] = state }
        if let pause = state.pause, askedMilliseconds <= pause.startMilliseconds {
            if state.denied.count < CredentialBackOff.maximumRepositories { state.denied.insert(repository) }
            return nil
        }
        if let pause = state.repositories[repository], askedMilliseconds <= pause.startMilliseconds { return nil }
        if state.refused.count < CredentialBackOff.maximumRefusedRepositories { state.refused.insert(repository) }
        let isWrong =
            isAuthentication || state.pause != nil
            || state.refused.count == CredentialBackOff.maximumRefusedRepositories
        let pause: DoublingPause
        if isWrong {
            pause = DoublingPause(after: state.pause, now: now)
            state.pause = pause
            state.denied = [repository]
        } else {
            pause = DoublingPause(after: state.repositories[repository], now: now)
            if state.repositories.count >= CredentialBackOff.maximumRepositories {
                state.repositories = state.repositories.filter { !$0.value.isOver(now: now) }
            }
            if state.repositories.count < CredentialBackOff.maximumRepositories {
                state.repositories[repository] = pause
            }
        }
        return pause.endMilliseconds - now
    }

    /// Forgets all pauses when the credentials have changed.
    private mutating func renew(_ credentials: UpstreamCredentials) {
        guard self.credentials != credentials else { return }
        self.credentials = credentials
        services = [:]
    }

    private mutating func makeRoom(for service: Service) {
        guard services[service] == nil, services.count >= CredentialBackOff.maximumServices else { return }
        // The service without a pause, or else the one whose pause ends first.
        let first = services.min { ($0.value.pause?.endMilliseconds ?? 0) < ($1.value.pause?.endMilliseconds ?? 0) }
        if let first { services[first.key] = nil }
    }
}

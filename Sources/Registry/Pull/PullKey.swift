// What identifies a pull in flight.

/// A blob pull: one transfer per host, repository and digest. The host and repository are part of it so that no upstream
/// can slow down or refuse another's content; finished, verified files are shared by digest alone.
package struct PullKey: Hashable, Sendable {
    package let host: RegistryHost
    package let repository: RepositoryName
    package let digest: Digest

    package init(host: RegistryHost, repository: RepositoryName, digest: Digest) {
        self.host = host
        self.repository = repository
        self.digest = digest
    }
}

/// Where a request's content is to be had, and what the client said that the upstream should hear.
package struct PullSource: Sendable {
    package var host: RegistryHost
    package var repository: RepositoryName
    /// Manifest types the client accepts beyond those always asked for.
    package var extraAccept: [String]
    /// The `Via` to send: what the request came through, and this server (RFC 9110 §7.6.3).
    package var via: String

    package init(host: RegistryHost, repository: RepositoryName, extraAccept: [String] = [], via: String) {
        self.host = host
        self.repository = repository
        self.extraAccept = extraAccept
        self.via = via
    }
}

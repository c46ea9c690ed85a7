// What is asked of an upstream, and in whose name.

package import OCI

/// Where a request's content is to be had, and what the client said that is passed on to the upstream.
package struct PullSource: Sendable {
    package var host: RegistryHost
    package var repository: RepositoryName
    /// Manifest types the client accepts beyond those always asked for.
    package var extraAccept: [String]
    /// The `Via` to send: what the request came through, and this server (RFC 9110 §7.6.3).
    package var via: String
    /// The id of the request that asks, for the log; empty where there is none.
    package var requestID = ""
    /// The client that asks (`NetworkAddress.clientNetwork`); nil for what the server does by itself.
    package var client: NetworkAddress?

    package init(host: RegistryHost, repository: RepositoryName, extraAccept: [String] = [], via: String) {
        self.host = host
        self.repository = repository
        self.extraAccept = extraAccept
        self.via = via
    }

    /// What a 429 is about.
    package var limited: UpstreamRepository { UpstreamRepository(host: host, repository: repository) }

    /// The pull of one of its blobs.
    package func key(_ digest: Digest) -> PullKey { PullKey(host: host, repository: repository, digest: digest) }
}

extension UpstreamRequest {
    static func blob(_ method: Method, _ digest: Digest, _ source: PullSource) -> UpstreamRequest {
        var request = UpstreamRequest(
            method: method, path: "/v2/\(source.repository)/blobs/\(digest)", repository: source.repository, kind: .blob
        )
        request.via = source.via
        request.client = source.client
        return request
    }
}

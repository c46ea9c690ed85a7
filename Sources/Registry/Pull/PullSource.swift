// The source of a pull: the upstream repository, and the client's values that are passed on.

package import OCI

/// The upstream repository of a request's content, and the client's values that are passed on to it.
package struct PullSource: Sendable {
    package var host: RegistryHost
    package var repository: RepositoryName
    /// Manifest types that the client accepts in addition to the usual ones.
    package var extraAccept: [String]
    /// The `Via` to send: the servers that the request came through, and this server (RFC 9110 §7.6.3).
    package var via: String
    /// The id of the client's request, for the log; empty where there is none.
    package var requestID = ""
    /// Whether the operator asked for it (`load`): neither a remembered answer nor a quota's reserve holds it back.
    package var isExplicit = false
    /// Whether a manifest that is pulled by its tag becomes the tag's; false while that has to be decided.
    package var setsTag = true
    /// Whether remembered errors are not used: a revalidation has pauses of its own.
    package var ignoresRememberedErrors = false
    /// The client (`NetworkAddress.clientNetwork`); nil for the server's own requests.
    package var client: NetworkAddress?

    package init(host: RegistryHost, repository: RepositoryName, extraAccept: [String] = [], via: String) {
        self.host = host
        self.repository = repository
        self.extraAccept = extraAccept
        self.via = via
    }

    /// The scope of a 429.
    package var limited: UpstreamRepository { UpstreamRepository(host: host, repository: repository) }

    /// The key for the pull of one of its blobs.
    package func key(_ digest: Digest) -> PullKey { PullKey(host: host, repository: repository, digest: digest) }
}

extension UpstreamRequest {
    static func blob(_ method: Method, _ digest: Digest, _ source: PullSource) -> UpstreamRequest {
        var request = UpstreamRequest(
            method: method, path: "/v2/\(source.repository)/blobs/\(digest)", repository: source.repository, kind: .blob
        )
        request.via = source.via
        request.client = source.client
        request.requestID = source.requestID
        return request
    }
}

// The request that a pull, a tag list or a referrers list sends to an upstream.

package import OCI

/// A request to an upstream, without its URL and credentials.
package struct UpstreamRequest: Sendable {
    package enum Method: Sendable { case get, head }
    package enum Kind: Sendable {
        case manifest, blob, tags, referrers
        /// `/v2/` itself.
        case ping
    }

    package var method: Method
    /// For example `/v2/library/hello-world/manifests/latest`, already percent-encoded.
    package var path: String
    /// The query without `?`, already percent-encoded.
    package var query: String?
    /// The repository that a token is requested for.
    package var repository: RepositoryName
    /// Media types in order, sent as one header line.
    package var accept: [String]
    /// The first byte of `Range`; nil for the whole content.
    package var rangeStart: Int64?
    /// The end of `Range`, which is the byte after the last one; nil for the rest of the content.
    package var rangeEnd: Int64?
    /// The whole `Via` value.
    package var via: String?
    package var kind: Kind
    /// Whether it waits for the end of a pause after a 429, or is refused at once. A request for a blob's content does
    /// not wait here, since its pull does.
    package var waitsForPause = true
    /// The client whose request caused this one (`NetworkAddress.clientNetwork`); nil for the server's own requests.
    package var client: NetworkAddress?
    /// The id of the client's request that caused this one, for the log; empty where there is none.
    package var requestID = ""

    package init(
        method: Method, path: String, query: String? = nil, repository: RepositoryName, accept: [String] = [],
        rangeStart: Int64? = nil, via: String? = nil, kind: Kind
    ) {
        self.method = method
        self.path = path
        self.query = query
        self.repository = repository
        self.accept = accept
        self.rangeStart = rangeStart
        self.via = via
        self.kind = kind
    }

    /// Header lines, `Name: value`. Blobs are stored as received, so no content coding is requested.
    package var headerLines: [String] {
        var lines = ["Accept-Encoding: identity"]
        if !accept.isEmpty { lines.append("Accept: " + accept.joined(separator: ", ")) }
        if let rangeStart { lines.append("Range: bytes=\(rangeStart)-\(rangeEnd.map { "\($0 - 1)" } ?? "")") }
        if let via { lines.append("Via: \(via)") }
        // Some values come from clients, and none of them may end a line.
        return lines.filter { $0.utf8.allSatisfy { ($0 >= 0x20 || $0 == 0x09) && $0 != 0x7F } }
    }
}

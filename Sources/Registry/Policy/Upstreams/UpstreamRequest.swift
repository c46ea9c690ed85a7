// What a pull, a tag list or a referrers list asks an upstream for.

package import OCI

package struct UpstreamRequest: Sendable {
    package enum Method: Sendable { case get, head }
    package enum Kind: Sendable { case manifest, blob, tags, referrers }

    package var method: Method
    /// Such as `/v2/library/hello-world/manifests/latest`, already in a URL's characters.
    package var path: String
    /// Without `?`, already encoded.
    package var query: String?
    /// What a token is asked for.
    package var repository: RepositoryName
    /// Media types, in order; sent as one line.
    package var accept: [String]
    /// `Range: bytes=N-`.
    package var rangeStart: Int64?
    /// The whole value.
    package var via: String?
    package var kind: Kind
    /// Whether it waits for the end of a pause that a 429 began, or is refused at once. A blob's content does not wait
    /// here: its pull does.
    package var waitsForPause = true
    /// The client whose request caused this one (`NetworkAddress.clientNetwork`); nil for what the server does by
    /// itself.
    package var client: NetworkAddress?

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

    /// Header lines, `Name: value`. Blobs are stored as they come, so no coding is asked for.
    package var headerLines: [String] {
        var lines = ["Accept-Encoding: identity"]
        if !accept.isEmpty { lines.append("Accept: " + accept.joined(separator: ", ")) }
        if let rangeStart { lines.append("Range: bytes=\(rangeStart)-") }
        if let via { lines.append("Via: \(via)") }
        // Some of this comes from our own clients; none of it may end a line.
        return lines.filter { $0.utf8.allSatisfy { ($0 >= 0x20 || $0 == 0x09) && $0 != 0x7F } }
    }
}

// A URL as the policies see it: already split into parts. curl's URL API does the splitting (Curl/URL.swift), so that
// the policies and curl's connection code cannot read a URL in two ways.

/// An absolute http or https URL without user information.
package struct UpstreamURL: Hashable, Sendable {
    package enum Scheme: String, Sendable { case https, http }

    package let scheme: Scheme
    /// Lower case, without a final dot; an IPv6 address in brackets.
    package let host: String
    /// Always set: the scheme's default if the text names none.
    package let port: UInt16
    /// Begins with `/`.
    package let path: String
    package let query: String?
    /// The whole URL, as passed to curl.
    package let text: String

    package init(scheme: Scheme, host: String, port: UInt16, path: String, query: String?, text: String) {
        self.scheme = scheme
        self.host = host
        self.port = port
        self.path = path
        self.query = query
        self.text = text
    }

    /// `scheme://host:port`, as "same origin" compares it (RFC 6454 §4).
    package var origin: String { "\(scheme.rawValue)://\(host):\(port)" }

    /// For logs and error messages: without the query, which may contain a signature that grants access.
    package var redacted: String {
        let isDefault = port == (scheme == .https ? 443 : 80)
        return "\(scheme.rawValue)://\(host)\(isDefault ? "" : ":\(port)")\(path)\(query == nil ? "" : "?…")"
    }
}

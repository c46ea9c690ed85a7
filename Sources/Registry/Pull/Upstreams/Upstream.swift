// One upstream registry: its URL, its trust and credentials, and its current state.

package import Configuration
package import OCI

/// An upstream registry. Must be used on the loop only.
package final class Upstream {
    package let host: RegistryHost
    /// The URL for requests: the configured endpoint, Docker Hub's API host, or the host itself over https.
    package let base: UpstreamURL
    package let config: RegistryConfig?

    let trust: UpstreamTrust
    let credentials: UpstreamCredentials?
    /// `ns=<registry>`, percent-encoded, for endpoints other than the registry's own host. Without it a mirror would
    /// use its own default registry, and that content would be stored under the wrong name.
    let namespaceQuery: String?
    /// Keeps refused credentials from being sent with every pull.
    var credentialBackOff = CredentialBackOff()
    /// Whether it has accepted Basic credentials after a challenge; they are then sent without waiting for a 401.
    var prefersBasic = false
    /// Exchanges in progress.
    var exchangeCount = 0
    /// Exchanges in progress that are not for a blob's content.
    var unqueuedCount = 0
    /// Requests in progress for ranges ahead of a pull.
    var aheadCount = 0
    var lastUsedMilliseconds: UInt64 = 0

    init(host: RegistryHost, config: RegistryConfig?) {
        self.host = host
        self.config = config
        base = Upstream.base(host, config)
        trust = UpstreamTrust(
            name: host.name, base: base, isConfigured: config != nil, tokenRealm: config?.auth?.tokenRealm)
        credentials = config?.auth.map { UpstreamCredentials(user: $0.user, password: $0.password.revealed) }
        let isNamed = config?.sendsNamespace ?? true && !Upstream.isOwn(base, of: host)
        namespaceQuery = isNamed ? "ns=\(PercentEncoding.encode(host.text))" : nil
    }

    /// The URL of a request; nil when its path is not valid in a URL.
    func url(for request: UpstreamRequest) -> UpstreamURL? {
        let query = [request.query, namespaceQuery].compactMap(\.self).joined(separator: "&")
        return base.with(path: request.path, query: query.isEmpty ? nil : query)
    }

    /// TLS settings for a request to `url`. The upstream's verification and authorities apply wherever it redirects to.
    /// Its client certificate is used for its own host only, and only there do the configured authorities replace the
    /// system's.
    func tls(for url: UpstreamURL) -> TransferRequest.TLS {
        var tls = TransferRequest.TLS()
        guard let config else { return tls }
        let isOwn = url.host == base.host
        tls.caFile = config.tls.caFile
        tls.trustsSystem = !isOwn
        tls.skipsVerification = config.tls.insecureSkipVerify
        if isOwn {
            tls.certificateFile = config.tls.certificateFile
            tls.keyFile = config.tls.keyFile
        }
        return tls
    }

    /// Whether requests to `base` reach the registry `host` itself. Another port may be another server.
    private static func isOwn(_ base: UpstreamURL, of host: RegistryHost) -> Bool {
        let defaultPort: UInt16 = base.scheme == .https ? 443 : 80
        guard base.port == host.port ?? defaultPort else { return false }
        return base.host == host.name || (host.isDockerHub && RegistryHost(base.host) == host)
    }

    private static func base(_ host: RegistryHost, _ config: RegistryConfig?) -> UpstreamURL {
        let scheme = config?.scheme.rawValue ?? "https"
        let own = "\(scheme)://\(host.isDockerHub ? "registry-1.docker.io" : host.text)"
        let text = config?.endpoint ?? own
        // A text that curl cannot parse (such as an invalid address in brackets) fails when a request is sent.
        return UpstreamURL(text)
            ?? UpstreamURL(scheme: .https, host: host.name, port: host.port ?? 443, path: "/", query: nil, text: text)
    }
}

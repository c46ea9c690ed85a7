// One registry that is pulled from: where it is, what may be sent to it, and what limits it last stated.

package import Configuration
package import OCI

/// An upstream registry. Lives on the loop.
package final class Upstream {
    package let host: RegistryHost
    /// Where requests go: the configured endpoint, Docker Hub's API host, or the host itself over https.
    package let base: UpstreamURL
    package let config: RegistryConfig?

    let trust: UpstreamTrust
    let credentials: UpstreamCredentials?
    /// `ns=<registry>`, percent-encoded, where requests go to an endpoint that is not the registry's own host. A mirror
    /// there would otherwise take its own default registry, and its content would be stored under the wrong name.
    let namespaceQuery: String?
    /// What keeps refused credentials from being sent with every pull.
    var credentialBackOff = CredentialBackOff()
    /// It asked for Basic credentials and took them: they are sent without being asked from then on.
    var prefersBasic = false
    /// Exchanges in progress.
    var exchangeCount = 0
    /// Those of them that are not for a blob's content.
    var unqueuedCount = 0
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

    /// The URL of a request; nil when its path cannot be part of one.
    func url(for request: UpstreamRequest) -> UpstreamURL? {
        let query = [request.query, namespaceQuery].compactMap(\.self).joined(separator: "&")
        return base.with(path: request.path, query: query.isEmpty ? nil : query)
    }

    /// TLS for a request to `url`. Verification and extra authorities are the upstream's wherever it sends us; its
    /// client certificate is shown to its own host only, and only there do the configured authorities stand alone.
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

    /// Whether requests for `host` that go to `base` go to the registry itself. Another port may be another server.
    private static func isOwn(_ base: UpstreamURL, of host: RegistryHost) -> Bool {
        let defaultPort: UInt16 = base.scheme == .https ? 443 : 80
        guard base.port == host.port ?? defaultPort else { return false }
        return base.host == host.name || (host.isDockerHub && RegistryHost(base.host) == host)
    }

    private static func base(_ host: RegistryHost, _ config: RegistryConfig?) -> UpstreamURL {
        let scheme = config?.scheme.rawValue ?? "https"
        let own = "\(scheme)://\(host.isDockerHub ? "registry-1.docker.io" : host.text)"
        let text = config?.endpoint ?? own
        // What curl cannot read (an address in brackets that is none) fails when it is asked for.
        return UpstreamURL(text)
            ?? UpstreamURL(scheme: .https, host: host.name, port: host.port ?? 443, path: "/", query: nil, text: text)
    }
}

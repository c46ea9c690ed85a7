// One registry that is pulled from: where it is, what may be sent to it, and what it last told us to mind.

/// An upstream registry. Lives on the loop.
package final class Upstream {
    package let host: RegistryHost
    /// Where requests go: the configured endpoint, Docker Hub's API host, or the host itself over https.
    package let base: UpstreamURL
    package let config: RegistryConfig?
    /// The last 429.
    package var rateLimit = RateLimitMemory()

    let trust: UpstreamTrust
    let credentials: UpstreamCredentials?
    /// It asked for Basic credentials and took them: they are sent without being asked from then on.
    var prefersBasic = false
    /// Exchanges in progress.
    var exchangeCount = 0
    /// Those of them that are not for a blob's content.
    var questionCount = 0
    var lastUsedMilliseconds: UInt64 = 0

    init(host: RegistryHost, config: RegistryConfig?) {
        self.host = host
        self.config = config
        base = Upstream.base(host, config)
        trust = UpstreamTrust(
            name: host.name, base: base, isConfigured: config != nil, tokenRealm: config?.auth?.tokenRealm)
        credentials = config?.auth.map { UpstreamCredentials(user: $0.user, password: $0.password.revealed) }
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

    private static func base(_ host: RegistryHost, _ config: RegistryConfig?) -> UpstreamURL {
        let scheme = config?.scheme.rawValue ?? "https"
        let own = "\(scheme)://\(host.isDockerHub ? "registry-1.docker.io" : host.text)"
        let text = config?.endpoint ?? own
        // What curl cannot read (an address in brackets that is none) fails when it is asked for.
        return UpstreamURL(text)
            ?? UpstreamURL(scheme: .https, host: host.name, port: host.port ?? 443, path: "/", query: nil, text: text)
    }
}

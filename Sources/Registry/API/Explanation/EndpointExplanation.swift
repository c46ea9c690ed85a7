// What the configuration decides about one endpoint of an upstream.

internal import Configuration
internal import OCI

/// Where an endpoint is in the configuration.
struct EndpointPlace: Sendable {
    /// The position in `registries`; nil without an entry.
    let registry: Int?
    let position: Int
    /// The number of the upstream's endpoints.
    let count: Int
    let config: RegistryConfig?

    private var item: EndpointConfig? {
        config.flatMap { position < $0.endpoints.count ? $0.endpoints[position] : nil }
    }
    /// The path of the entry.
    var entry: String { registry.map { "registries[\($0)]" } ?? "" }
    private var itemPath: String { "\(entry).endpoints[\(position)]" }
    /// The path of the `tls` that counts.
    var tls: String { (item?.tls == nil ? entry : itemPath) + ".tls" }
    /// The path of the `auth` that counts.
    var auth: String { (item?.auth == nil ? entry : itemPath) + ".auth" }
    var isLast: Bool { position == count - 1 }
}

/// The decisions about one endpoint.
struct EndpointExplanation: Sendable {
    typealias Line = ImageExplanation.Line

    let credentials: CredentialExplanation
    private let endpoint: String
    private let request: String
    private let notFound: String
    private let addresses: [Line]
    private let security: [Line]
    private let proxy: String

    init(
        _ endpoint: UpstreamEndpoint, origin: CredentialOrigin, request: UpstreamRequest, settings: RequestSettings,
        place: EndpointPlace, names: UpstreamEnvironment.Names, docker: Result<DockerConfig, CredentialFailure>?
    ) {
        self.endpoint = endpoint.label
        if let url = endpoint.url(for: request) {
            self.request =
                endpoint.trust.restriction(of: url).map {
                    "none: \(url.host) is \($0.text), which needs an entry in registries"
                } ?? "GET \(url.text)"
        } else {
            self.request = "none: \(endpoint.base.text) with the repository is no URL"
        }
        let trust = endpoint.trust
        if trust.refusesPrivate {
            let named = Set([trust.base.host, trust.tokenRealm?.host].compactMap(\.self)).filter(trust.names)
            let hosts = named.isEmpty ? "at no host" : "only at \(named.sorted().joined(separator: " and "))"
            addresses = [Line("private-addresses", "\(hosts) (privateUpstreams: deny)")]
        } else {
            addresses = []
        }
        notFound =
            endpoint.is404Final && !place.isLast
            ? "final (final404)" : place.isLast ? "final (no endpoint is left)" : "the next endpoint is asked"
        credentials = CredentialExplanation(origin, place: place, trust: endpoint.trust, docker: docker)
        let url = endpoint.url(for: request) ?? endpoint.base
        security =
            url.scheme == .http
            ? [Line("tls", "none: plain HTTP")] : EndpointExplanation.security(endpoint, url, settings, place)
        let decision = settings.proxyDecision(for: url, of: endpoint.connections)
        proxy = EndpointExplanation.text(decision, isSecure: url.scheme == .https, place, names)
    }

    /// The keys are relative to the endpoint.
    var lines: [Line] {
        [Line("url", endpoint), Line("request", request)] + addresses + [Line("404", notFound)] + security
            + credentials.lines + [Line("proxy", proxy)]
    }

    // MARK: TLS

    private static func security(
        _ endpoint: UpstreamEndpoint, _ url: UpstreamURL, _ settings: RequestSettings, _ place: EndpointPlace
    ) -> [Line] {
        var request = TransferRequest(
            url: url, addresses: AddressGuard(hostIsConfigured: false), noProgressMilliseconds: 0)
        request.tls = endpoint.tls(for: url)
        let isOwn = request.tls.caFile != nil
        settings.complete(&request, for: endpoint)
        let tls = request.tls
        var authorities = "the system's"
        if let file = tls.caFile {
            if isOwn {
                authorities = "\(file) (\(place.tls).ca)"
            } else {
                authorities = tls.trustsSystem ? "\(file) (SSL_CERT_FILE)" : "\(file) (tls.ca)"
            }
        }
        if let directories = tls.caDirectories { authorities += ", directory \(directories) (SSL_CERT_DIR)" }
        let certificate = tls.certificateFile.map { "\($0), key \(tls.keyFile ?? "") (\(place.tls))" }
        return [
            Line("ca", authorities), Line("client-certificate", certificate ?? "none"),
            Line("verification", tls.skipsVerification ? "off (\(place.tls).insecureSkipVerify)" : "on"),
        ]
    }

    // MARK: The proxy

    private static func text(
        _ decision: ProxyDecision, isSecure: Bool, _ place: EndpointPlace, _ names: UpstreamEnvironment.Names
    ) -> String {
        let variable = (isSecure ? names.httpsProxy : names.httpProxy) ?? (isSecure ? "https_proxy" : "http_proxy")
        func key(_ name: String, _ variable: String, _ at: ProxyDecision.Place) -> String {
            switch at {
            case .entry: "\(place.entry).\(name)"
            case .topLevel: name
            case .environment: variable
            }
        }
        switch decision {
        case .proxy(let proxy, let at):
            let login = proxy.user == nil ? "" : ", with its user and password"
            return "\(proxy) (\(key("proxy", variable, at)))\(login)"
        case .exception(let at): return "none (\(key("noProxy", names.noProxy ?? "no_proxy", at)) has the destination)"
        case .direct(let at): return "none (\(key("proxy", variable, at)) is direct)"
        case .thisMachine: return "none (\(variable) is not used for this machine)"
        case .notSet: return "none"
        }
    }
}

// What the configuration decides about one image, and why: the text of `explain`. It is made by the types that send
// the server's requests, and nothing is asked, looked up or started for it.

package import Configuration
package import OCI

/// The client whose pull is explained.
package struct ExplainedClient: Sendable {
    package var address: NetworkAddress?
    package var user: String?

    package init(address: NetworkAddress? = nil, user: String? = nil) {
        self.address = address
        self.user = user
    }
}

/// The decisions about one image.
package struct ImageExplanation: Sendable {
    /// A key and what is said of it.
    package struct Line: Sendable, Equatable {
        package let key: String
        package let value: String

        init(_ key: String, _ value: String) {
            self.key = key
            self.value = value
        }
    }

    /// Why no upstream is asked.
    enum Silence: Sendable { case denied, airGapped, builtIn }

    private let image: WrittenImageName
    private let client: ExplainedClient
    private let defaultHost: RegistryHost?
    private let entry: (index: Int, name: RegistryPattern)?
    /// The decision of the rules on names.
    private let nameDecision: String
    private let silence: Silence?
    /// The policy of the tag; nil for a name with a digest.
    private let tagPolicy: String?
    let endpoints: [EndpointExplanation]
    private let limits: [Line]

    /// - Parameters:
    ///   - image: read with the configuration's default host.
    ///   - docker: the content of `dockerConfig`; nil when the configuration names no such file.
    package init(
        _ image: WrittenImageName, for client: ExplainedClient = ExplainedClient(), config: Config,
        docker: Result<DockerConfig, CredentialFailure>?
    ) {
        self.image = image
        self.client = client
        defaultHost = config.defaultNamespace
        let host = image.name.host
        let entries = RegistryEntries(config.registries)
        let index = entries.index(for: host)
        entry = index.map { ($0, entries.all[$0].name) }
        let names = config.namePolicy
        nameDecision = names.explanation(host: host, repository: image.name.repository)
        if case .tag(let tag) = image.name.reference {
            tagPolicy = config.tags.explanation(host: host, repository: image.name.repository, tag: tag)
        } else {
            tagPolicy = nil
        }
        let isAllowed = names.decide(host: host, repository: image.name.repository) == .allowed
        let isBuiltIn = config.helloWorld && Builtin.serves(image.name)
        silence = !isAllowed ? .denied : isBuiltIn ? .builtIn : config.airGapped ? .airGapped : nil
        guard silence == nil else {
            (endpoints, limits) = ([], [])
            return
        }
        let settings = RequestSettings(
            UpstreamSettings(config), noProgressMilliseconds: UInt64(clamping: config.pullTimeoutMilliseconds),
            limits: ConnectLimits())
        let registry = index.map { entries.all[$0] }
        var origins: [CredentialOrigin] = []
        let upstream = Upstream(host: host, config: registry, refusesPrivate: settings.refusesPrivate) {
            auth, host, address in
            origins.append(
                CredentialOrigin(auth, host: host, address: address, dockerConfig: config.dockerConfig))
            return CredentialSource(fixed: auth)
        }
        let source = PullSource(host: host, repository: image.name.repository, via: "")
        let request = UpstreamRequest.manifest(.get, image.name.reference, source)
        endpoints = zip(upstream.endpoints, origins).enumerated().map { position, made in
            EndpointExplanation(
                made.0, origin: made.1, request: request, settings: settings,
                place: EndpointPlace(
                    registry: index, position: position, count: upstream.endpoints.count, config: registry),
                names: config.environment.names, docker: docker)
        }
        var limits = ImageExplanation.limits(settings, registry?.connections, entry: index)
        if let index, let reserve = registry?.quotaReserve {
            limits.append(Line("limit.quota.reserve", "\(reserve) pulls (registries[\(index)])"))
        }
        self.limits = limits
    }

    /// One line for each decision, in an order that does not change.
    package var lines: [Line] {
        let name = image.name
        var lines = [
            Line("image", canonicalText), Line("registry", registryText),
            Line(
                "repository",
                "\(name.repository)" + (image.isLibraryAdded ? " (library/ added, as Docker Hub's names have it)" : "")
            ), Line("reference", referenceText),
        ]
        if let address = client.address { lines.append(Line("from", address.text)) }
        if let user = client.user { lines.append(Line("user", user)) }
        lines.append(Line("access", "open: no rule by address or user is configured"))
        lines.append(Line("pull", nameDecision))
        if let tagPolicy { lines.append(Line("tag", tagPolicy)) }
        lines.append(Line("entry", entryText))
        switch silence {
        case .denied: lines.append(Line("upstream", "none is asked: requests get 403"))
        case .airGapped: lines.append(Line("upstream", "none is asked (airGapped): what is not cached gets 404"))
        case .builtIn: lines.append(Line("upstream", "none is asked (helloWorld): the image is in the program"))
        case nil: lines.append(Line("endpoints", "\(endpoints.count)"))
        }
        for (position, endpoint) in endpoints.enumerated() {
            lines += endpoint.lines.map { Line("endpoint[\(position)].\($0.key)", $0.value) }
        }
        return lines + limits
    }

    /// The lines as `key: value`. Control characters, which a name in a file might have, are shown as `?`.
    package var text: String {
        lines.map { line in
            let visible = "\(line.key): \(line.value)".unicodeScalars.map { scalar in
                scalar.properties.generalCategory == .control ? "?" : String(scalar)
            }
            return visible.joined() + "\n"
        }.joined()
    }

    /// The name with everything that was added to it, and without a tag that is not used.
    private var canonicalText: String {
        let name = image.name
        return switch name.reference {
        case .tag(let tag): "\(name.host)/\(name.repository):\(tag)"
        case .digest(let digest): "\(name.host)/\(name.repository)@\(digest)"
        }
    }

    private var registryText: String {
        let host = image.name.host
        guard let written = image.hostText else {
            if defaultHost != nil { return "\(host) (from defaultNs)" }
            return "\(host) (as docker reads a name without a registry; defaultNs is not set, so requests must name it)"
        }
        return written.asciiLowercased == host.text ? host.text : "\(host) (written \(written))"
    }

    private var referenceText: String {
        let name = image.name
        if let digest = name.digest { return "\(digest)" + (name.tag.map { " (the tag \($0) is not used)" } ?? "") }
        return name.tag ?? "latest (added: the name has no tag and no digest)"
    }

    private var entryText: String {
        guard let entry else {
            let isAnonymous = endpoints.allSatisfy { $0.credentials.isNone }
            return "none: reached \(isAnonymous ? "anonymously " : "")over https"
        }
        let kind = entry.name.host == nil ? "pattern" : "exact name"
        return "registries[\(entry.index)], \(kind) \(entry.name)"
    }

    // MARK: Limits

    /// The limits that are not the defaults.
    private static func limits(
        _ settings: RequestSettings, _ own: ConnectionSettings?, entry: Int?
    ) -> [Line] {
        let (limits, standard) = (settings.limits(of: own), ConnectLimits())
        let noProgress = settings.noProgressMilliseconds(of: own)
        let times: [(key: String, now: UInt64, standard: UInt64, isOwn: Bool)] = [
            (
                "lookupTimeout", limits.lookupMilliseconds, standard.lookupMilliseconds,
                own?.lookupMilliseconds != nil
            ),
            (
                "connectTimeout", limits.addressMilliseconds, standard.addressMilliseconds,
                own?.connectMilliseconds != nil
            ),
            ("tlsTimeout", limits.tlsMilliseconds, standard.tlsMilliseconds, own?.tlsMilliseconds != nil),
            (
                "firstByteTimeout", limits.firstByteMilliseconds, standard.firstByteMilliseconds,
                own?.firstByteMilliseconds != nil
            ),
            (
                "pullTimeout", noProgress, UInt64(clamping: Config().pullTimeoutMilliseconds),
                own?.pullTimeoutMilliseconds != nil
            ),
        ]
        func place(_ isOwn: Bool) -> String { isOwn ? entry.map { "registries[\($0)]" } ?? "" : "top level" }
        var lines = times.filter { $0.now != $0.standard }.map { limit in
            Line("limit.\(limit.key)", "\(ConnectPhases.duration(limit.now)) (\(place(limit.isOwn)))")
        }
        if let maximum = settings.maximumConnections(of: own) {
            lines.append(Line("limit.maxConnections", "\(maximum) (\(place(own?.maximumConnections != nil)))"))
        }
        return lines
    }
}

// The rules for where an upstream may send requests, and where its credentials may go. An upstream names any token
// service and blob host it likes, so a host that is not its own must be harmless without being known (compare
// CVE-2026-33540).

internal import OCI

/// The trust settings of one upstream, from the configuration.
package struct UpstreamTrust: Sendable {
    /// The registry's host, without port, as image references name it.
    package let name: String
    /// The URL that its requests go to.
    package let base: UpstreamURL
    /// Whether the configuration has an entry for it; without one, no local address is trusted.
    package let isConfigured: Bool
    /// The one additional host that may get the credentials (with a port, or 0 for the scheme's default).
    package let tokenRealm: (host: String, port: UInt16)?
    /// Whether hosts that the configuration does not name may not be on private networks.
    package let refusesPrivate: Bool

    /// - Parameter tokenRealm: `host[:port]`, lower case.
    package init(
        name: String, base: UpstreamURL, isConfigured: Bool, tokenRealm: String? = nil, refusesPrivate: Bool = false
    ) {
        self.name = name
        self.base = base
        self.isConfigured = isConfigured
        self.refusesPrivate = refusesPrivate
        self.tokenRealm = tokenRealm.flatMap { RegistryHost.parts($0) }
    }

    /// Whether the configuration names this host, which may then have any address, at any port.
    package func names(host: String) -> Bool {
        guard isConfigured else { return false }
        return UpstreamTrust.same(host, base.host) || tokenRealm.map { UpstreamTrust.same(host, $0.host) } ?? false
    }

    /// Why requests may not go to `url`, judged by the host's text; nil when they may. The host's addresses are checked
    /// once they are known.
    package func restriction(of url: UpstreamURL) -> AddressRestriction? {
        names(host: url.host) ? nil : AddressGuard.restriction(ofHost: url.host, refusesPrivate: refusesPrivate)
    }

    /// What decides about the addresses that `url`'s host has.
    package func addressGuard(for url: UpstreamURL) -> AddressGuard {
        AddressGuard(hostIsConfigured: names(host: url.host), refusesPrivate: refusesPrivate)
    }

    private static func same(_ one: String, _ other: String) -> Bool {
        if one == other { return true }
        guard let address = NetworkAddress(literal: one) else { return false }
        return address == NetworkAddress(literal: other)
    }
}

extension RegistryHost {
    /// Splits `host[:port]`; port 0 when it has none. Nil for other text.
    fileprivate static func parts(_ text: String) -> (host: String, port: UInt16)? {
        guard let host = RegistryHost(text) else { return nil }
        return (host.name, host.port ?? 0)
    }
}

/// Why a token realm or a redirect is not followed.
package enum TargetRefusal: Equatable, Sendable {
    /// It breaks a rule that its text shows; the reason is for the client as well.
    case rule(String)
    /// It has an address that may not be used; the reason is for the log only.
    case address(String)

    package var reason: String {
        switch self {
        case .rule(let reason), .address(let reason): reason
        }
    }
}

/// Whether credentials are sent with a request for a token.
package enum CredentialPolicy {
    package enum Decision: Equatable, Sendable {
        case send
        /// Send the request without credentials; the hint explains how to change that, if it is refused.
        case anonymous(hint: String)
        /// Do not send the request.
        case refuse(TargetRefusal)
    }

    /// Credentials go to the registry's own host, to a parent of it (registry.gitlab.com uses gitlab.com), for Docker
    /// Hub to its token service, and to the configured realm; never from an https registry to an http realm.
    package static func decide(realm: UpstreamURL, trust: UpstreamTrust) -> Decision {
        if let restriction = trust.restriction(of: realm) {
            return .refuse(.address("its token realm is at \(realm.host), \(restriction.text)"))
        }
        guard realm.scheme == .https || trust.base.scheme == .http else {
            // A registry behind a proxy that does its TLS may name its own realm as http; that redirects to https.
            guard realm.host == trust.base.host || realm.host == trust.name else {
                return .refuse(.rule("its token realm is plain http, \(realm.redacted)"))
            }
            return .anonymous(hint: "the credentials were not sent to its token realm, which is plain http")
        }
        if isTrusted(realm, trust) { return .send }
        let port = realm.port == (realm.scheme == .https ? 443 : 80) ? "" : ":\(realm.port)"
        return .anonymous(
            hint: "the credentials were not sent to its token realm on another host;"
                + " to allow that, set auth.tokenRealm to \(realm.host)\(port)")
    }

    /// The hosts whose token services may get the credentials, for people: `host` or `host:port`.
    package static func realms(of trust: UpstreamTrust) -> [String] {
        var candidates: [(host: String, port: UInt16)] = []
        for name in [trust.base.host, trust.name] {
            candidates.append((name, 443))
            for (index, byte) in zip(name.utf8.indices, name.utf8) where byte == 0x2E {
                candidates.append((String(name[name.utf8.index(after: index)...]), 443))
            }
        }
        candidates.append(("auth.docker.io", 443))
        if let (host, port) = trust.tokenRealm { candidates.append((host, port == 0 ? 443 : port)) }
        var found: [String] = []
        for (host, port) in candidates {
            let text = port == 443 ? host : "\(host):\(port)"
            let url = UpstreamURL(
                scheme: .https, host: host, port: port, path: "/token", query: nil, text: "https://\(text)/token")
            if !found.contains(text), decide(realm: url, trust: trust) == .send { found.append(text) }
        }
        return found
    }

    private static func isTrusted(_ realm: UpstreamURL, _ trust: UpstreamTrust) -> Bool {
        for host in [trust.base.host, trust.name] where isSameOrParent(realm.host, of: host) { return true }
        if let (host, port) = trust.tokenRealm, host == realm.host {
            return realm.port == (port == 0 ? (realm.scheme == .https ? 443 : 80) : port)
        }
        return trust.base.host == "registry-1.docker.io" && realm.host == "auth.docker.io"
    }

    /// A parent must contain a dot (`com` is not a parent) and be a name, not an address. An address has no parents.
    static func isSameOrParent(_ candidate: String, of host: String) -> Bool {
        if candidate == host { return true }
        guard candidate.utf8.contains(0x2E), NetworkAddress(literal: candidate) == nil,
            NetworkAddress(literal: host) == nil
        else { return false }
        return host.hasSuffix("." + candidate)
    }
}

/// Whether a redirect is followed.
package enum RedirectPolicy {
    /// More than any registry needs (two or three: to a store, to a region) and few enough to end a loop soon.
    package static let maximumHops = 10

    package enum Decision: Equatable, Sendable {
        case follow(keepsAuthorization: Bool)
        case refuse(TargetRefusal)
    }

    /// - Parameters:
    ///   - target: the resolved `Location`; nil when it is not an http or https URL, or carries user information.
    ///   - hop: 1 for the first redirect.
    package static func decide(
        from: UpstreamURL, to target: UpstreamURL?, hop: Int, trust: UpstreamTrust
    ) -> Decision {
        guard let target else { return .refuse(.rule("it redirects to what is not a plain http or https URL")) }
        if let restriction = trust.restriction(of: target) {
            return .refuse(.address("it redirects to \(target.host), \(restriction.text)"))
        }
        guard hop <= maximumHops else { return .refuse(.rule("it redirects more than \(maximumHops) times")) }
        guard from.scheme == .http || target.scheme == .https else {
            return .refuse(.rule("it redirects from https to http, \(target.redacted)"))
        }
        return .follow(keepsAuthorization: from.origin == target.origin)
    }
}

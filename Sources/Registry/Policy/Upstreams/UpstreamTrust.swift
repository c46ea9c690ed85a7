// Where an upstream may send us, and where its credentials may go. An upstream names token services and blob hosts as
// it likes; whatever is not its own must be harmless without us knowing it (CVE-2026-33540 is what happens otherwise).

internal import OCI

/// What configuration says about one upstream, as far as trust goes.
package struct UpstreamTrust: Sendable {
    /// The registry's host, without port, as image references name it.
    package let name: String
    /// Where its requests go.
    package let base: UpstreamURL
    /// Whether the configuration has an entry for it. Without one, nothing local is trusted.
    package let isConfigured: Bool
    /// The one further host (and port, 0 for the scheme's own) that may get the credentials.
    package let tokenRealm: (host: String, port: UInt16)?

    /// - Parameter tokenRealm: `host[:port]`, lower case.
    package init(name: String, base: UpstreamURL, isConfigured: Bool, tokenRealm: String? = nil) {
        self.name = name
        self.base = base
        self.isConfigured = isConfigured
        self.tokenRealm = tokenRealm.flatMap { RegistryHost.parts($0) }
    }

    /// Whether configuration names this host, so that it may be a loopback or link-local one, at any port.
    package func names(host: String) -> Bool {
        guard isConfigured else { return false }
        return UpstreamTrust.same(host, base.host) || tokenRealm.map { UpstreamTrust.same(host, $0.host) } ?? false
    }

    /// Whether requests may go to `url` at all, by its host's name; its addresses are checked when they are known.
    package func admits(_ url: UpstreamURL) -> Bool { names(host: url.host) || !AddressGuard.isLocal(host: url.host) }

    private static func same(_ one: String, _ other: String) -> Bool {
        if one == other { return true }
        guard let address = NetworkAddress(literal: one) else { return false }
        return address == NetworkAddress(literal: other)
    }
}

extension RegistryHost {
    /// Splits `host[:port]`; port 0 when there is none. Nil when it is not one.
    fileprivate static func parts(_ text: String) -> (host: String, port: UInt16)? {
        guard let host = RegistryHost(text) else { return nil }
        return (host.name, host.port ?? 0)
    }
}

/// Whether credentials go along with a request for a token.
package enum CredentialPolicy {
    package enum Decision: Equatable, Sendable {
        case send
        /// Ask without them; should that be refused, this says what to do about it.
        case anonymous(hint: String)
        /// Do not ask at all.
        case refuse(reason: String)
    }

    /// Credentials go to the registry's own host, to a parent of it (registry.gitlab.com asks at gitlab.com), to Docker
    /// Hub's token service for Docker Hub, and to the configured one; never from an https registry to an http realm.
    package static func decide(realm: UpstreamURL, trust: UpstreamTrust) -> Decision {
        guard trust.admits(realm) else {
            return .refuse(reason: "its token realm is on a loopback or link-local address, \(realm.host)")
        }
        guard realm.scheme == .https || trust.base.scheme == .http else {
            return .refuse(reason: "its token realm is plain http, \(realm.redacted)")
        }
        if isTrusted(realm, trust) { return .send }
        let port = realm.port == (realm.scheme == .https ? 443 : 80) ? "" : ":\(realm.port)"
        return .anonymous(
            hint: "the credentials were not sent to its token realm on another host;"
                + " to allow that, set auth.tokenRealm to \(realm.host)\(port)")
    }

    private static func isTrusted(_ realm: UpstreamURL, _ trust: UpstreamTrust) -> Bool {
        for host in [trust.base.host, trust.name] where isSameOrParent(realm.host, of: host) { return true }
        if let (host, port) = trust.tokenRealm, host == realm.host {
            return realm.port == (port == 0 ? (realm.scheme == .https ? 443 : 80) : port)
        }
        return trust.base.host == "registry-1.docker.io" && realm.host == "auth.docker.io"
    }

    /// A parent has a dot of its own (`com` is nobody's) and is a name, not an address.
    static func isSameOrParent(_ candidate: String, of host: String) -> Bool {
        if candidate == host { return true }
        guard candidate.utf8.contains(0x2E), NetworkAddress(literal: candidate) == nil else { return false }
        return host.hasSuffix("." + candidate)
    }
}

/// Whether a redirect is followed.
package enum RedirectPolicy {
    /// More than any registry's (two or three: to a store, to a region) and few enough to end a loop soon.
    package static let maximumHops = 10

    package enum Decision: Equatable, Sendable {
        case follow(keepsAuthorization: Bool)
        case refuse(reason: String)
    }

    /// - Parameters:
    ///   - target: the resolved `Location`; nil when it is not an http or https URL, or carries user information.
    ///   - hop: 1 for the first redirect.
    package static func decide(
        from: UpstreamURL, to target: UpstreamURL?, hop: Int, trust: UpstreamTrust
    ) -> Decision {
        guard let target else { return .refuse(reason: "it redirects to what is not a plain http or https URL") }
        guard hop <= maximumHops else { return .refuse(reason: "it redirects more than \(maximumHops) times") }
        guard from.scheme == .http || target.scheme == .https else {
            return .refuse(reason: "it redirects from https to http, \(target.redacted)")
        }
        guard trust.admits(target) else {
            return .refuse(reason: "it redirects to a loopback or link-local address, \(target.host)")
        }
        return .follow(keepsAuthorization: from.origin == target.origin)
    }
}

// Which proxy a request goes through. It is decided here and not by curl, so that the configuration, the environment
// and each registry have one order of precedence, and the list of exceptions is read as Go's programs read it.

package import Configuration

/// The proxies of all upstreams. A pure value.
///
/// A proxy is taken from the registry's entry, else from the top level of the configuration, else from the environment.
/// Exceptions count for proxies of their own place and of more general ones: `noProxy` of an entry for all, `NO_PROXY`
/// of the environment for those of the environment only.
package struct ProxySettings: Sendable {
    private let topLevel: ConnectionSettings
    private let environment: UpstreamEnvironment

    package init(
        topLevel: ConnectionSettings = ConnectionSettings(), environment: UpstreamEnvironment = UpstreamEnvironment()
    ) {
        self.topLevel = topLevel
        self.environment = environment
    }

    /// The proxy for a request to `url`; nil: none.
    /// - Parameter registry: the settings of the registry's entry, also after redirects to other hosts.
    package func proxy(for url: UpstreamURL, of registry: ConnectionSettings?) -> ProxyURL? {
        decision(for: url, of: registry).proxy
    }

    /// The proxy for a request to `url`, and what decides about it.
    package func decision(for url: UpstreamURL, of registry: ConnectionSettings?) -> ProxyDecision {
        let place: ProxyDecision.Place
        let setting: ProxySetting
        if let own = registry?.proxy {
            (place, setting) = (.entry, own)
        } else if let common = topLevel.proxy {
            (place, setting) = (.topLevel, common)
        } else if let own = url.scheme == .https ? environment.httpsProxy : environment.httpProxy {
            (place, setting) = (.environment, .proxy(own))
        } else {
            return .notSet
        }
        guard case .proxy(let proxy) = setting else { return .direct(place) }
        // Go never uses a proxy of the environment for this machine (golang.org/x/net/http/httpproxy).
        if place == .environment, url.host == "localhost" || NetworkAddress(literal: url.host)?.isLoopback == true {
            return .thisMachine
        }
        // The most special list counts alone, so that an entry can be without the exceptions of the top level.
        let lists: [(ProxyDecision.Place, NoProxyList?)] = [
            (.entry, registry?.noProxy), (.topLevel, topLevel.noProxy), (.environment, environment.noProxy),
        ]
        for case (let listPlace, let list?) in lists where listPlace <= place {
            return list.covers(host: url.host, port: url.port) ? .exception(listPlace) : .proxy(proxy, place)
        }
        return .proxy(proxy, place)
    }
}

/// Whether a request goes through a proxy, and what decides that.
package enum ProxyDecision: Sendable, Equatable {
    /// The places of settings, the most special first.
    package enum Place: Int, Sendable, Comparable {
        case entry, topLevel, environment

        package static func < (one: Place, other: Place) -> Bool { one.rawValue < other.rawValue }
    }

    case proxy(ProxyURL, Place)
    /// `noProxy` of this place has the destination.
    case exception(Place)
    /// `proxy: direct` of this place.
    case direct(Place)
    /// The environment has a proxy, which is not used for this machine.
    case thisMachine
    case notSet

    package var proxy: ProxyURL? { if case .proxy(let proxy, _) = self { proxy } else { nil } }
}

/// The proxy of one request, with the authorities that verify the certificate of an `https` proxy.
package struct UpstreamProxy: Sendable, Equatable {
    private let url: ProxyURL
    package var caFile: String?
    package var caDirectories: String?

    package init(_ url: ProxyURL) { self.url = url }

    package var host: String { url.host }
    package var port: UInt16 { url.port }
    /// For messages, without the user and password.
    package var name: String { "the proxy \(url.name)" }
    /// For curl, without the user and password.
    package var text: String { url.description }
    package var isSOCKS: Bool { url.scheme == .socks5 || url.scheme == .socks5h }
    /// Not percent-encoded; nil when the proxy needs none.
    package var login: (user: String, password: String)? { url.user.map { ($0, url.password.revealed) } }
}

// The label values of metrics. All but those of `ns` are closed sets, so that every series exists from the start with
// the value 0.

package import OCI

/// The endpoint of a request.
package enum Endpoint: UInt8, CaseIterable, Sendable {
    /// `/v2/` and `/v2/auth`.
    case base
    case manifest, blob, tags, referrers
    /// Any other path; such a request is refused.
    case other

    package var label: String {
        switch self {
        case .base: "base"
        case .manifest: "manifest"
        case .blob: "blob"
        case .tags: "tags"
        case .referrers: "referrers"
        case .other: "other"
        }
    }
}

/// The cache result of a request.
package enum Verdict: UInt8, CaseIterable, Sendable {
    /// From the cache.
    case hit
    /// From a pull that another request had started.
    case joined
    /// From a pull that this request started, or from a forwarded request.
    case miss
    /// From the cache, because the upstream could not say whether it is current.
    case stale
    /// From the upstream, without being kept, because the cache has no room.
    case bypass
    case error
    /// Not about content: `/v2/` and similar.
    case none

    package var label: String {
        switch self {
        case .hit: "hit"
        case .joined: "joined"
        case .miss: "miss"
        case .stale: "stale"
        case .bypass: "bypass"
        case .error: "error"
        case .none: "none"
        }
    }
}

/// The configured rule on names that denied a request.
package enum DenyingRule: UInt8, CaseIterable, Sendable {
    case deny, allow, registriesOnly

    /// The key of the configuration.
    package var label: String {
        switch self {
        case .deny: "deny"
        case .allow: "allow"
        case .registriesOnly: "registriesOnly"
        }
    }
}

/// What became of a request for cached content that its repository had no proof for.
package enum ProofResult: String, CaseIterable, Sendable {
    /// The upstream has it.
    case proven
    /// The content had to come from the upstream.
    case pulled
    /// The upstream does not have it, or denies access.
    case refused
    /// The upstream could not be asked.
    case unavailable
}

/// Why a list of tags or referrers was served although its upstream did not confirm it.
package enum OfflineReason: String, CaseIterable, Sendable {
    /// No upstream may be asked.
    case airGapped = "air_gapped"
    /// The upstream cannot be reached, or does not answer.
    case unreachable
    /// The upstream denies access.
    case denied
    /// The upstream asks for fewer requests.
    case rateLimited = "rate_limited"
    /// The upstream answers with an error, or with what is no list.
    case failed
    /// The upstream has not answered in time.
    case late
}

/// The result of a request for a whole list of tags or referrers.
package enum ListRevalidation: String, CaseIterable, Sendable {
    /// The list had not been kept before.
    case new
    case changed, unchanged
    case failed
}

/// The class of a status code.
package enum StatusClass: UInt8, CaseIterable, Sendable {
    case success, redirection, clientError, serverError

    /// - Parameter status: from 200 to 599.
    package init(_ status: Int) {
        self =
            switch status {
            case ..<300: .success
            case ..<400: .redirection
            case ..<500: .clientError
            default: .serverError
            }
    }

    package var label: String {
        switch self {
        case .success: "2xx"
        case .redirection: "3xx"
        case .clientError: "4xx"
        case .serverError: "5xx"
        }
    }
}

/// The kind of pulled content.
package enum PullKind: UInt8, CaseIterable, Sendable {
    case blob, manifest

    package var label: String { self == .blob ? "blob" : "manifest" }
}

/// The values of the `ns` label: upstream hosts, by number. Clients choose host names freely, so a host gets its own
/// value only when it is configured or has given a good response, and only up to a limit.
package struct Namespaces: Sendable {
    /// Unconfigured hosts that get their own value; later ones share `other`. Each costs about 60 series; a cluster
    /// pulls from a few dozen registries at most.
    package static let maximumUnconfigured = 100

    /// The number of hosts without their own value.
    package static let other = 0

    /// Indexed by number.
    package private(set) var labels = ["other"]
    private var numbers: [RegistryHost: Int] = [:]
    private var roomLeft = Namespaces.maximumUnconfigured

    package init(configured: [RegistryHost] = []) {
        for host in configured where numbers[host] == nil { add(host) }
    }

    /// The host's number; nil when it has none of its own.
    package func number(of host: RegistryHost) -> Int? { numbers[host] }

    /// Gives a host its own number while there is room, after a good response.
    /// - Returns: its number, or `other`, and whether it is new.
    mutating func admit(_ host: RegistryHost) -> (number: Int, isNew: Bool) {
        if let known = numbers[host] { return (known, false) }
        guard roomLeft > 0 else { return (Namespaces.other, false) }
        roomLeft -= 1
        return (add(host), true)
    }

    @discardableResult
    private mutating func add(_ host: RegistryHost) -> Int {
        numbers[host] = labels.count
        labels.append(host.text)
        return labels.count - 1
    }
}

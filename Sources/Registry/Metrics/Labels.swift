// The label values of metrics: closed sets, so that every series exists from the start with the value 0.

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

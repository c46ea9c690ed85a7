// The label values that metrics come in: closed sets, so that every series is there from the start, at 0.

/// Which part of the interface a request is about.
package enum Endpoint: UInt8, CaseIterable, Sendable {
    /// `/v2/` and `/v2/auth`.
    case base
    case manifest, blob, tags, referrers
    /// Everything else, all of it refused.
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

/// How a request was answered, as far as the cache goes.
package enum Verdict: UInt8, CaseIterable, Sendable {
    /// From the cache.
    case hit
    /// From a pull that somebody else had started.
    case joined
    /// From a pull that this request started, or a request forwarded for it.
    case miss
    /// From the cache, because the upstream could not say whether it is current.
    case stale
    case error
    /// Nothing to do with content: `/v2/` and the like.
    case none

    package var label: String {
        switch self {
        case .hit: "hit"
        case .joined: "joined"
        case .miss: "miss"
        case .stale: "stale"
        case .error: "error"
        case .none: "none"
        }
    }
}

/// The hundreds of a status code.
package enum StatusClass: UInt8, CaseIterable, Sendable {
    case success, redirection, clientError, serverError

    /// `status`: 200 to 599.
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

/// What is pulled.
package enum PullKind: UInt8, CaseIterable, Sendable {
    case blob, manifest

    package var label: String { self == .blob ? "blob" : "manifest" }
}

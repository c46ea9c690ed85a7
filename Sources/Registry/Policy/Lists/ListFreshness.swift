// How long a kept list of tags or referrers is served before its upstream is asked again.

package import OCI

/// The age of kept lists.
package enum ListFreshness {
    /// Seconds after which a list is revalidated: a signature or a tag that was added is seen within five minutes, and
    /// an admission controller that verifies every pod does not cause a request for each.
    package static let lifetimeSeconds: Int64 = 300

    /// Whether a list is served without asking the upstream. A time in the future is that of a clock that was set
    /// back, and says nothing.
    /// - Parameter checkedAtSeconds: when an upstream last confirmed it, in seconds since 1970; 0: never.
    package static func isFresh(checkedAtSeconds: Int64, nowSeconds: Int64, lifetimeSeconds: Int64) -> Bool {
        guard checkedAtSeconds > 0, checkedAtSeconds <= nowSeconds else { return false }
        return nowSeconds.subtractingSaturated(checkedAtSeconds) < lifetimeSeconds
    }
}

extension OfflineReason {
    /// The reason that an error stands for; nil for an answer about the list itself, such as 404.
    package init?(_ error: RegistryError) {
        switch error.status {
        case 429: self = .rateLimited
        case 401, 403: self = .denied
        case 500...: self = error.upstreamStatus == nil && error.status == 503 ? .unreachable : .failed
        default: return nil
        }
    }

    /// The reason as text for the `Warning` field.
    package var text: String {
        switch self {
        case .airGapped: "this server is air-gapped"
        case .unreachable: "the upstream cannot be reached"
        case .denied: "the upstream denies access"
        case .rateLimited: "the upstream asks for fewer requests"
        case .failed: "the upstream answers with an error"
        case .late: "the upstream has not answered in time"
        }
    }
}

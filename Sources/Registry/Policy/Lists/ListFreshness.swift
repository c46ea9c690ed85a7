// How long a kept list of tags or referrers is served before its upstream is asked again.

package import Configuration
package import OCI

/// The age of kept lists.
package enum ListFreshness {
    /// The age at which a list is revalidated where the tags' `ttl` is `never`: a tag may be meant to stay what it is,
    /// but a signature or a tag that was added has to be seen.
    static let limitOfNever = TagSpan(milliseconds: 300_000)

    /// Whether a list is served without asking the upstream. A time in the future is that of a clock that was set
    /// back, and says nothing.
    /// - Parameters:
    ///   - checkedAtSeconds: when an upstream last confirmed it, in seconds since 1970; 0: never.
    ///   - ttl: that of the tags' policy.
    package static func isFresh(checkedAtSeconds: Int64, nowSeconds: Int64, ttl: TagSpan) -> Bool {
        guard checkedAtSeconds > 0, checkedAtSeconds <= nowSeconds else { return false }
        let limit = ttl == .forever ? limitOfNever : ttl
        return nowSeconds.subtractingSaturated(checkedAtSeconds).multipliedSaturated(by: 1000) < limit.milliseconds
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

// Whether a tag's cached digest may be served, before and after its upstream has been asked. Pure: ages are arguments.

package import Configuration
package import OCI

extension TagCheckFailure {
    package init(_ error: RegistryError) {
        switch (error.upstreamStatus, error.status) {
        // The 404 of a proxy or a web server in the place of the registry says nothing of the tag.
        case (404?, _), (410?, _): self = error.isTextAnswer ? .badStatus : .deleted
        case (429?, _), (_, 429): self = .rateLimited
        case (401?, _), (403?, _), (451?, _), (nil, 401), (nil, 403): self = .denied
        case (200?, _), (206?, _), (nil, 502): self = .invalid
        case (nil, _): self = .unreachable
        default: self = .badStatus
        }
    }
}

/// A cached tag at the moment of a request.
package struct TagSituation: Sendable {
    package var policy: TagPolicy
    /// Time since the upstream last confirmed the tag.
    package var ageMilliseconds: Int64
    /// Whether no upstream may be asked.
    package var airGapped = false
    /// Whether the client asks for a revalidation (`Cache-Control: no-cache`) that may be made now.
    package var isForced = false
    /// The failure of the last revalidation, while the pause after it lasts.
    package var pausedAfter: TagCheckFailure?

    package init(policy: TagPolicy, ageMilliseconds: Int64) {
        self.policy = policy
        self.ageMilliseconds = ageMilliseconds
    }
}

/// How to handle a request for a cached tag.
package enum TagFreshness: Sendable, Equatable {
    /// How long the request waits for the upstream.
    package enum Wait: Sendable, Equatable {
        /// Not at all.
        case none
        /// For a moment; then the cached manifest is served.
        case brief
        /// Until the upstream has answered: the cached manifest may not be served without it.
        case full
    }

    /// Serve the cached manifest.
    case fresh
    /// Serve the cached manifest with a warning, without asking.
    case stale(StaleReason)
    /// Ask the upstream whether the tag still has the same digest (by HEAD, which Docker Hub does not count).
    case revalidate(Wait)
    /// Answer with the error of the last revalidation.
    case refuse
    /// Remove the tag.
    case remove

    /// Decides about a request.
    package static func decide(_ tag: TagSituation) -> TagFreshness {
        let (policy, age) = (tag.policy, tag.ageMilliseconds)
        if tag.airGapped { return .fresh }
        if !tag.isForced {
            if age < policy.ttl.milliseconds { return .fresh }
            if let failure = tag.pausedAfter { return afterFailure(failure, policy, ageMilliseconds: age) }
            if age < policy.waitlessMilliseconds { return .revalidate(.none) }
        }
        // A client that asks for a revalidation waits as others do after `ttl`.
        return .revalidate(mayServe(policy, age) ? .brief : .full)
    }

    /// Decides when the upstream has not confirmed a tag: `stale`, `refuse` or `remove`.
    package static func afterFailure(
        _ failure: TagCheckFailure, _ policy: TagPolicy, ageMilliseconds: Int64
    ) -> TagFreshness {
        // A 404 is an answer and not a failure, so `staleIfError` does not apply.
        if failure == .deleted { return policy.removesDeleted ? .remove : .stale(.failed(.deleted)) }
        return mayServe(policy, ageMilliseconds) ? .stale(.failed(failure)) : .refuse
    }

    /// Whether a tag of this age may be served while its upstream cannot be asked.
    private static func mayServe(_ policy: TagPolicy, _ age: Int64) -> Bool {
        age < max(policy.staleIfError.milliseconds, policy.waitlessMilliseconds)
    }
}

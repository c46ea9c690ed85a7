// Whether a tag's cached meaning is good enough to answer with.

/// What to do about a request by tag.
package enum TagFreshness: Sendable, Equatable {
    /// Answer with what is cached.
    case serve
    /// Ask the upstream (by HEAD, which Docker Hub does not count) whether it still means the same; if it cannot say,
    /// answer with what is cached.
    case revalidate
    /// Nothing is cached: ask the upstream.
    case pull
    /// Nothing is cached and nothing may be asked.
    case unknown

    /// A tag is pulled once; only `latest`, where the operator asked for that, is looked up on every pull.
    package static func decide(
        isCached: Bool, isLatest: Bool, alwaysPullLatest: Bool, airGapped: Bool
    ) -> TagFreshness {
        switch (isCached, airGapped) {
        case (true, true): .serve
        case (true, false): alwaysPullLatest && isLatest ? .revalidate : .serve
        case (false, true): .unknown
        case (false, false): .pull
        }
    }
}

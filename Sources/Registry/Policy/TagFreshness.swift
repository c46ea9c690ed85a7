// Whether a tag's cached digest may be served.

/// How to handle a request by tag.
package enum TagFreshness: Sendable, Equatable {
    /// Serve the cached manifest.
    case serve
    /// Ask the upstream whether the tag still has the same digest (by HEAD, which Docker Hub does not count); if that
    /// fails, serve the cached manifest.
    case revalidate
    /// Nothing is cached: pull from the upstream.
    case pull
    /// Nothing is cached, and no upstream may be asked.
    case unknown

    /// A tag is pulled once; only `latest` is revalidated on every pull, if the operator has set that.
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

// Counts of cached tags: how old they are when they are served, and what their upstreams say of them.

/// Why an upstream did not confirm a tag.
package enum TagCheckFailure: UInt8, CaseIterable, Sendable {
    /// 404: the upstream does not have the tag any more.
    case deleted
    /// 401 or 403, or the request is forbidden by this server's configuration.
    case denied
    /// 429, or the repository is paused after one.
    case rateLimited
    /// Any other status that is not a success.
    case badStatus
    /// Something that is no manifest, or that does not match its digest.
    case invalid
    /// No answer.
    case unreachable
    /// The tag has moved, and its manifest was not pulled, since the reserve of the upstream's quota is kept.
    case quota

    package var label: String {
        switch self {
        case .deleted: "deleted"
        case .denied: "denied"
        case .rateLimited: "rate_limited"
        case .badStatus: "bad_status"
        case .invalid: "invalid"
        case .unreachable: "unreachable"
        case .quota: "quota"
        }
    }
}

/// The result of a revalidation.
package enum TagCheckResult: Sendable, CaseIterable {
    case unchanged, moved, held
    case failed(TagCheckFailure)

    package static let allCases: [TagCheckResult] =
        [.unchanged, .moved, .held] + TagCheckFailure.allCases.map { .failed($0) }

    package var label: String {
        switch self {
        case .unchanged: "unchanged"
        case .moved: "moved"
        case .held: "held"
        case .failed(let failure): failure.label
        }
    }

    fileprivate var index: Int {
        switch self {
        case .unchanged: 0
        case .moved: 1
        case .held: 2
        case .failed(let failure): 3 + Int(failure.rawValue)
        }
    }
}

/// What `cooldown` holds back.
package enum CooldownKind: UInt8, CaseIterable, Sendable {
    /// A tag that serves an older manifest, and one that serves nothing.
    case olderTag, tag
    /// A manifest or a blob by its digest.
    case manifest, blob

    package var label: String {
        switch self {
        case .olderTag: "older_tag"
        case .tag: "tag"
        case .manifest: "manifest"
        case .blob: "blob"
        }
    }
}

/// Why a cached tag is served although its upstream has not confirmed it within `ttl`.
package enum StaleReason: Sendable, Hashable, CaseIterable {
    /// `staleWhileRevalidate`: the upstream is being asked.
    case revalidating
    /// The upstream has been asked, and has not answered in the time that a client waits.
    case slow
    case failed(TagCheckFailure)

    package static let allCases: [StaleReason] = [.revalidating, .slow] + TagCheckFailure.allCases.map { .failed($0) }

    package var label: String {
        switch self {
        case .revalidating: "revalidating"
        case .slow: "slow"
        case .failed(let failure): failure.label
        }
    }

    /// Its position in `allCases`.
    package var index: Int {
        switch self {
        case .revalidating: 0
        case .slow: 1
        case .failed(let failure): 2 + Int(failure.rawValue)
        }
    }
}

/// The counts of cached tags.
package struct TagCounts: Sendable {
    /// Ages of cached tags when they are served. Counted in seconds: a sum of nanoseconds would overflow.
    package private(set) var ages = HistogramTable(.ages)
    private var checks = Array(repeating: UInt64(0), count: TagCheckResult.allCases.count)
    private var held = Array(repeating: UInt64(0), count: CooldownKind.allCases.count)
    private var stale = Array(repeating: UInt64(0), count: StaleReason.allCases.count)

    /// Counts an answer from the cache. No allocation.
    @inline(__always)
    package mutating func served(ageMilliseconds: Int64) {
        ages.observe(UInt64(truncatingIfNeeded: max(0, ageMilliseconds)) / 1000)
    }

    /// Counts a revalidation that has ended.
    package mutating func checked(_ result: TagCheckResult) { checks[result.index] &+= 1 }

    package mutating func servedStale(_ reason: StaleReason) { stale[reason.index] &+= 1 }

    /// Counts an answer that `cooldown` has changed.
    package mutating func heldBack(_ kind: CooldownKind) { held[Int(kind.rawValue)] &+= 1 }

    package func heldCount(_ kind: CooldownKind) -> UInt64 { held[Int(kind.rawValue)] }

    package func checkCount(_ result: TagCheckResult) -> UInt64 { checks[result.index] }

    package func staleCount(_ reason: StaleReason) -> UInt64 { stale[reason.index] }
}

// How long a cached tag is served without asking its upstream, and what is served when the upstream does not confirm
// it: `tagPolicies`, `tagTTL` and `alwaysPullLatest`. Matching is bounded by `Expression`, but may take milliseconds
// for each expression: a server decides off the loop.

package import OCI

/// A time span of a tag policy, in milliseconds.
package struct TagSpan: Sendable, Hashable, BitwiseCopyable {
    package let milliseconds: Int64

    package init(milliseconds: Int64) { self.milliseconds = milliseconds }

    /// The span in seconds, rounded up.
    package var seconds: Int64 { milliseconds.addingSaturated(999) / 1000 }

    package static let zero = TagSpan(milliseconds: 0)
    /// Longer than any age: `never` as a ttl, `forever` otherwise.
    package static let forever = TagSpan(milliseconds: .max)
}

/// The policy of a tag. The age of a tag is the time since its upstream last confirmed it.
package struct TagPolicy: Sendable, Hashable, BitwiseCopyable {
    /// Up to this age a tag is served without asking.
    package var ttl = TagSpan(milliseconds: 5 * 60_000)
    /// For this time after `ttl` a tag is served while its upstream is asked.
    package var staleWhileRevalidate = TagSpan.zero
    /// Up to this age a tag is served when its upstream cannot be asked.
    package var staleIfError = TagSpan.forever
    /// For this time after the cache first learned of a manifest the tag does not serve it.
    package var cooldown = TagSpan.zero
    /// Whether a tag that its upstream no longer has is removed; otherwise it is served on.
    package var removesDeleted = false

    package init() {}

    /// The policy of tags that no setting concerns.
    package static let standard = TagPolicy()

    /// The policy where it cannot be known which one applies: the upstream is always asked.
    package static let strict: TagPolicy = {
        var policy = TagPolicy()
        policy.ttl = .zero
        return policy
    }()

    /// Up to this age a tag is served without waiting for its upstream.
    package var waitlessMilliseconds: Int64 {
        ttl.milliseconds.addingSaturated(staleWhileRevalidate.milliseconds)
    }
}

/// The tag policies of one configuration.
package struct TagPolicies: Sendable, Equatable {
    /// An entry of `tagPolicies`.
    package struct Entry: Sendable, Equatable {
        /// Matches anywhere in `host/repository:tag`.
        package let match: NameExpression
        package let policy: TagPolicy
    }

    private let entries: [Entry]
    /// The policy of tags that no entry matches.
    private let standard: TagPolicy
    /// The policy of `latest`, where there are no entries.
    private let latest: TagPolicy
    /// Whether the policy depends on more than whether the tag is `latest`.
    package let dependsOnName: Bool
    /// The longest cooldown of all policies.
    package let longestCooldown: TagSpan

    package init(_ entries: [Entry]) {
        self.entries = entries
        (standard, latest) = (.standard, .standard)
        dependsOnName = !entries.isEmpty
        let longest = entries.map(\.policy.cooldown.milliseconds).max() ?? 0
        longestCooldown = TagSpan(milliseconds: longest)
    }

    /// - Parameters:
    ///   - ttl: the ttl of all tags.
    ///   - checksLatest: whether `latest` is checked at each request.
    package init(ttl: TagSpan = TagPolicy.standard.ttl, checksLatest: Bool = false) {
        entries = []
        var policy = TagPolicy.standard
        policy.ttl = ttl
        standard = policy
        if checksLatest { policy.ttl = .zero }
        latest = policy
        dependsOnName = false
        longestCooldown = .zero
    }

    /// The policy of a tag where it does not depend on the name; nil where it does.
    @inline(__always)
    package func fixed(isLatest: Bool) -> TagPolicy? { dependsOnName ? nil : isLatest ? latest : standard }

    /// The policy of a tag. Must run off the loop.
    package func decide(host: RegistryHost, repository: RepositoryName, tag: String) -> TagPolicy {
        judge(host, repository, tag).policy
    }

    /// The policy where it cannot be known which one applies: the upstream is always asked, and the longest cooldown of
    /// all counts.
    package var strict: TagPolicy {
        var policy = TagPolicy.strict
        policy.cooldown = longestCooldown
        return policy
    }

    /// The policy of a tag in words, with what sets it.
    package func explanation(host: RegistryHost, repository: RepositoryName, tag: String) -> String {
        let (policy, reason) = judge(host, repository, tag)
        return "\(policy.text) (\(reason))"
    }

    private func judge(
        _ host: RegistryHost, _ repository: RepositoryName, _ tag: String
    ) -> (policy: TagPolicy, reason: String) {
        if let policy = fixed(isLatest: tag == "latest") {
            guard policy != .standard else { return (policy, "the default") }
            return (policy, tag == "latest" && latest != standard ? "alwaysPullLatest" : "tagTTL")
        }
        for (index, entry) in entries.enumerated() {
            let place = "tagPolicies[\(index)] \(entry.match.shown)"
            switch entry.match.match("\(host)/\(repository):\(tag)") {
            case .matches: return (entry.policy, place)
            // Whether a longer ttl is meant is unknown.
            case .unknown(let reason): return (strict, "\(place) \(reason), so that the strictest policy applies")
            case .differs: break
            }
        }
        return (standard, "the default: no entry of tagPolicies matches")
    }
}

extension TagPolicy {
    /// The policy as the configuration file has it.
    package var text: String {
        "ttl \(ttl.text("never")), staleWhileRevalidate \(staleWhileRevalidate.text("forever")), "
            + "staleIfError \(staleIfError.text("forever")), cooldown \(cooldown.text("forever")), "
            + "onUpstreamDelete \(removesDeleted ? "remove" : "keep")"
    }
}

extension TagSpan {
    private static let units: [(name: String, milliseconds: Int64)] = [
        ("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000),
    ]

    /// The span in its largest whole unit.
    /// - Parameter endless: the word for a span without an end.
    package func text(_ endless: String) -> String {
        if self == .forever { return endless }
        if self == .zero { return "0s" }
        let unit = TagSpan.units.first { milliseconds % $0.milliseconds == 0 }
        return unit.map { "\(milliseconds / $0.milliseconds)\($0.name)" } ?? "\(milliseconds)ms"
    }
}

extension Config {
    /// The tag policies. `conflictOfTags` says whether the settings contradict each other.
    package var tags: TagPolicies {
        guard tagPolicies.isEmpty else { return TagPolicies(tagPolicies) }
        return TagPolicies(ttl: tagTTL ?? TagPolicy.standard.ttl, checksLatest: alwaysPullLatest)
    }

    /// The key that contradicts `tagPolicies`, and the reason, which begins with it; nil when none does. The command
    /// line may have caused it.
    package var conflictOfTags: (key: String, refusal: Refusal)? {
        guard !tagPolicies.isEmpty else { return nil }
        let key: String? = tagTTL != nil ? "tagTTL" : alwaysPullLatest ? "alwaysPullLatest" : nil
        return key.map { ($0, Refusal("\($0): \(TagPolicyKeys.beside)")) }
    }
}

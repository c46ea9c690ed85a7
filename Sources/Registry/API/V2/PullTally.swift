// The counts of manifest requests, as the metrics of pulls have them.

internal import OCI

/// A counted manifest request that was not a hit: a pull from the upstream if it makes its own upstream request, and a
/// pull from the cache, when it is served, if it joins another request's.
struct PullTally {
    let host: RegistryHost
    let isJoined: Bool
    fileprivate let asked: UpstreamPullTally?
}

extension API {
    func countHit(_ host: RegistryHost) {
        metrics.countCachedPull(metrics.number(of: host) ?? Namespaces.other)
    }

    /// Counts the start of the wait.
    func countPull(_ source: PullSource, isJoined: Bool) -> PullTally {
        if isJoined { metrics.pulls.joined(.manifest) }
        return PullTally(
            host: source.host, isJoined: isJoined, asked: isJoined ? nil : metrics.upstreamPullBegan(source.host))
    }

    /// Counts the end of the wait, successful or not.
    func countEnd(_ tally: PullTally) {
        if let asked = tally.asked { metrics.upstreamPullEnded(asked) }
    }

    /// Counts a served manifest.
    func countServed(_ tally: PullTally) {
        if tally.isJoined { countHit(tally.host) }
    }
}

// How a manifest request that the cache could not answer at once is counted: as a pull from the upstream if it asks by
// itself, and as one from the cache, when it is served, if it waits for what another has asked.

internal import OCI

/// One such request.
struct PullTally {
    let host: RegistryHost
    let isJoined: Bool
    fileprivate let asked: UpstreamPullTally?
}

extension API {
    func countHit(_ host: RegistryHost) {
        metrics.countCachedPull(metrics.number(of: host) ?? Namespaces.other)
    }

    /// The request begins to wait.
    func countPull(_ source: PullSource, isJoined: Bool) -> PullTally {
        if isJoined { metrics.pulls.joined(.manifest) }
        return PullTally(
            host: source.host, isJoined: isJoined, asked: isJoined ? nil : metrics.upstreamPullBegan(source.host))
    }

    /// What it waited for has come, or has failed.
    func countEnd(_ tally: PullTally) {
        if let asked = tally.asked { metrics.upstreamPullEnded(asked) }
    }

    /// It is given a manifest.
    func countServed(_ tally: PullTally) {
        if tally.isJoined { countHit(tally.host) }
    }
}

// The pauses of repositories whose upstream answered 429. The scope is the repository: registries limit by account,
// address and repository, and one client's burst must not pause a whole registry.

package import OCI

/// One repository of one upstream.
package struct UpstreamRepository: Hashable, Sendable {
    package let host: RegistryHost
    package let repository: RepositoryName

    package init(host: RegistryHost, repository: RepositoryName) {
        self.host = host
        self.repository = repository
    }
}

/// The pauses after 429s, by repository. Times are the loop's milliseconds.
///
/// With a `Retry-After` from the upstream the pause has that length; without one, pauses double from one second to a
/// minute until the repository gives another answer.
package struct RateLimitMemory: Sendable {
    /// The longest time that an upstream can name: a wrong header must not block a repository for days.
    package static let maximumNamedSeconds = 3600
    /// Repositories remembered, a few hundred bytes each: clients can name any number.
    package static let maximumRepositories = 4096
    /// Largest remainder of this server's own pause for which a client gets a `Retry-After`. Some clients (podman) wait
    /// that long four times over, so an invented longer time would keep them away for nothing.
    static let announcedMilliseconds: UInt64 = 2_000

    private struct Entry {
        var pause: DoublingPause
        /// Whether the upstream named the time.
        var isNamed: Bool
    }

    private var entries: [UpstreamRepository: Entry] = [:]

    package init() {}

    package var count: Int { entries.count }

    /// Records a 429.
    /// - Parameters:
    ///   - retryAfterSeconds: the value of the answer's `Retry-After`; nil without one. 0 names no time.
    ///   - askedMilliseconds: when the request was sent. Requests sent before a pause began are refused together with
    ///     the one that caused it and do not double it.
    /// - Returns: the length in milliseconds of a new pause; nil if the 429 belongs to the previous pause.
    package mutating func refused(
        _ repository: UpstreamRepository, retryAfterSeconds: Int?, askedMilliseconds: UInt64, now: UInt64
    ) -> UInt64? {
        let named = retryAfterSeconds.flatMap { seconds in
            seconds > 0 ? UInt64(clamping: min(seconds, RateLimitMemory.maximumNamedSeconds)) * 1000 : nil
        }
        if var entry = entries[repository], askedMilliseconds <= entry.pause.startMilliseconds {
            if let named, now + named > entry.pause.endMilliseconds {
                entry.pause.extend(to: now + named)
                entry.isNamed = true
                entries[repository] = entry
            }
            return nil
        }
        let previous = entries[repository].flatMap { $0.pause.isForgotten(now: now) ? nil : $0.pause }
        if entries[repository] == nil, entries.count >= RateLimitMemory.maximumRepositories { makeRoom(now: now) }
        let pause = DoublingPause(after: previous, namedMilliseconds: named, now: now)
        entries[repository] = Entry(pause: pause, isNamed: named != nil)
        return pause.endMilliseconds - now
    }

    /// Records an answer other than 429: the next pause begins at the first step.
    /// - Parameter askedMilliseconds: when the request was sent. A request sent before the pause has no effect.
    package mutating func answered(_ repository: UpstreamRepository, askedMilliseconds: UInt64) {
        guard let entry = entries[repository], askedMilliseconds > entry.pause.startMilliseconds else { return }
        entries[repository] = nil
    }

    /// When the repository's pause ends; nil when it is not paused.
    package func pauseEnd(_ repository: UpstreamRepository, now: UInt64) -> UInt64? {
        guard let pause = entries[repository]?.pause, !pause.isOver(now: now) else { return nil }
        return pause.endMilliseconds
    }

    /// Whether a request may be sent now. After a pause requests are sent one at a time until one is answered.
    package mutating func takeTry(_ repository: UpstreamRepository, now: UInt64) -> Bool {
        guard var entry = entries[repository] else { return true }
        if entry.pause.isForgotten(now: now) {
            entries[repository] = nil
            return true
        }
        guard entry.pause.takeTry(now: now) else { return false }
        entries[repository] = entry
        return true
    }

    /// When the next request may be sent; nil if now.
    package func nextTry(_ repository: UpstreamRepository, now: UInt64) -> UInt64? {
        guard let next = entries[repository]?.pause.nextTryMilliseconds, next > now else { return nil }
        return next
    }

    /// The `Retry-After` for the client: the rest of the time that the upstream named, or 1 when this server's own
    /// pause ends soon; nil for no header.
    package func retryAfterSeconds(_ repository: UpstreamRepository, now: UInt64) -> Int? {
        guard let entry = entries[repository], !entry.pause.isOver(now: now) else { return nil }
        let left = entry.pause.endMilliseconds - now
        if entry.isNamed { return Int(clamping: (left + 999) / 1000) }
        return left <= RateLimitMemory.announcedMilliseconds ? 1 : nil
    }

    /// Whole seconds left of each host's longest pause; hosts without a pause are left out.
    package func secondsLeft(now: UInt64) -> [RegistryHost: Int] {
        var seconds: [RegistryHost: Int] = [:]
        for (repository, entry) in entries where !entry.pause.isOver(now: now) {
            let left = Int(clamping: (entry.pause.endMilliseconds - now + 999) / 1000)
            seconds[repository.host] = max(left, seconds[repository.host] ?? 0)
        }
        return seconds
    }

    /// Drops the pauses that have ended, or else the one that ends first.
    private mutating func makeRoom(now: UInt64) {
        entries = entries.filter { !$0.value.pause.isOver(now: now) }
        guard entries.count >= RateLimitMemory.maximumRepositories else { return }
        if let first = entries.min(by: { $0.value.pause.endMilliseconds < $1.value.pause.endMilliseconds }) {
            entries[first.key] = nil
        }
    }
}

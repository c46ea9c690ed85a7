// Which repositories' upstreams have answered 429, and for how long they are left alone. The scope is the repository:
// a registry limits by account, address and repository, and one client's burst must not pause a registry for all.

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

/// The pauses that 429s have caused, by repository. Times are the loop's milliseconds.
///
/// Where the upstream names a time (`Retry-After`), the pause is as long as that; where it does not, pauses double from
/// one second to a minute until the repository answers something else.
package struct RateLimitMemory: Sendable {
    /// The longest time that an upstream can name: a wrong header must not close a repository for days.
    package static let maximumNamedSeconds = 3600
    /// Repositories remembered, a few hundred bytes each: clients can name any number.
    package static let maximumRepositories = 4096
    /// A client gets a `Retry-After` where this server's own pause ends within this. Some clients wait that long four
    /// times over (podman), and an invented longer time would keep them away for nothing.
    static let announcedMilliseconds: UInt64 = 2_000

    private struct Entry {
        var pause: DoublingPause
        /// Whether the upstream named the time.
        var isNamed: Bool
    }

    private var entries: [UpstreamRepository: Entry] = [:]

    package init() {}

    package var count: Int { entries.count }

    /// A request was answered 429.
    /// - Parameters:
    ///   - retryAfterSeconds: what the answer's `Retry-After` came to; nil without one. 0 names no time.
    ///   - askedMilliseconds: when the request was sent. Requests sent before a pause began are refused together with
    ///     the one that caused it and do not double it.
    /// - Returns: the length of the pause in milliseconds if a new one begins; nil if it belongs to the one before.
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

    /// A request was answered, and not 429: the next pause begins at the first step.
    /// - Parameter askedMilliseconds: when the request was sent. One sent before the pause says nothing about its end.
    package mutating func answered(_ repository: UpstreamRepository, askedMilliseconds: UInt64) {
        guard let entry = entries[repository], askedMilliseconds > entry.pause.startMilliseconds else { return }
        entries[repository] = nil
    }

    /// When the repository's pause ends; nil when it is not paused.
    package func pauseEnd(_ repository: UpstreamRepository, now: UInt64) -> UInt64? {
        guard let pause = entries[repository]?.pause, !pause.isOver(now: now) else { return nil }
        return pause.endMilliseconds
    }

    /// Whether a request may be sent now. After a pause they are let through one at a time until one is answered.
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

    /// When the next request may be sent; nil: now.
    package func nextTry(_ repository: UpstreamRepository, now: UInt64) -> UInt64? {
        guard let next = entries[repository]?.pause.nextTryMilliseconds, next > now else { return nil }
        return next
    }

    /// The client's `Retry-After`: what is left of the time that the upstream named, or 1 where this server's own
    /// pause is about to end. Nil: nothing.
    package func retryAfterSeconds(_ repository: UpstreamRepository, now: UInt64) -> Int? {
        guard let entry = entries[repository], !entry.pause.isOver(now: now) else { return nil }
        let left = entry.pause.endMilliseconds - now
        if entry.isNamed { return Int(clamping: (left + 999) / 1000) }
        return left <= RateLimitMemory.announcedMilliseconds ? 1 : nil
    }

    /// Whole seconds left of the longest pause of each host that has one.
    package func secondsLeft(now: UInt64) -> [RegistryHost: Int] {
        var seconds: [RegistryHost: Int] = [:]
        for (repository, entry) in entries where !entry.pause.isOver(now: now) {
            let left = Int(clamping: (entry.pause.endMilliseconds - now + 999) / 1000)
            seconds[repository.host] = max(left, seconds[repository.host] ?? 0)
        }
        return seconds
    }

    /// Drops the pauses that are over, or else the one that ends first.
    private mutating func makeRoom(now: UInt64) {
        entries = entries.filter { !$0.value.pause.isOver(now: now) }
        guard entries.count >= RateLimitMemory.maximumRepositories else { return }
        if let first = entries.min(by: { $0.value.pause.endMilliseconds < $1.value.pause.endMilliseconds }) {
            entries[first.key] = nil
        }
    }
}

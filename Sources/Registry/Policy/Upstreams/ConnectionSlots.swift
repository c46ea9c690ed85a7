// The limit of concurrent requests to one upstream (`maxConnections`). Without a limit nothing is counted here: the
// limits over all upstreams are those of UpstreamClient and PullQueue.

internal import DequeModule

/// Hands out an upstream's slots for requests. A pure value: keys in, keys to start out. The number of waiting requests
/// is bounded by those who start them.
package struct ConnectionSlots<Host: Hashable & Sendable, Key: Hashable & Sendable>: Sendable {
    private struct State: Sendable {
        var running: Set<Key> = []
        /// Manifests and lists, which are short and which clients need first.
        var short: Deque<Key> = []
        /// Content of blobs.
        var long: Deque<Key> = []

        var isIdle: Bool { running.isEmpty && short.isEmpty && long.isEmpty }
    }

    private var states: [Host: State] = [:]

    package init() {}

    /// Takes a slot, or queues for one. A request that has a slot keeps it.
    /// - Returns: whether the request may start now.
    package mutating func enter(_ key: Key, of host: Host, isLong: Bool, limit: Int?) -> Bool {
        guard let limit else { return true }
        var state = states[host] ?? State()
        defer { states[host] = state }
        if state.running.contains(key) { return true }
        guard state.running.count < limit else {
            if isLong { state.long.append(key) } else { state.short.append(key) }
            return false
        }
        state.running.insert(key)
        return true
    }

    /// Gives the slot back, or leaves the queue.
    /// - Returns: a request that has a slot now and is to be started.
    package mutating func leave(_ key: Key, of host: Host, limit: Int?) -> Key? {
        guard var state = states[host] else { return nil }
        defer { states[host] = state.isIdle ? nil : state }
        guard state.running.remove(key) != nil else {
            state.short.removeAll { $0 == key }
            state.long.removeAll { $0 == key }
            return nil
        }
        // More may run than a limit that has become smaller allows.
        guard state.running.count < limit ?? .max, let next = state.short.popFirst() ?? state.long.popFirst() else {
            return nil
        }
        state.running.insert(next)
        return next
    }

    /// The waiting requests that have a slot now and are to be started, after the limits have changed.
    package mutating func startable(limit: (Host) -> Int?) -> [Key] {
        var keys: [Key] = []
        for (host, state) in states {
            var state = state
            let limit = limit(host) ?? .max
            while state.running.count < limit, let next = state.short.popFirst() ?? state.long.popFirst() {
                state.running.insert(next)
                keys.append(next)
            }
            states[host] = state
        }
        return keys
    }

    /// Whether a request could start at once.
    package func hasRoom(at host: Host, limit: Int?) -> Bool {
        limit.map { states[host]?.running.count ?? 0 < $0 } ?? true
    }
}

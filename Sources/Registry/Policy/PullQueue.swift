// Which blob pulls run now. What a client waits for goes first; what is fetched ahead runs in a small share, so that
// one image's layers cannot hold up another client's.

internal import DequeModule

/// Decides when pulls start. A pure value: keys in, keys to start out.
package struct PullQueue<Key: Hashable> {
    /// Why a pull was asked for.
    package enum Demand: Sendable {
        /// A client waits for it.
        case client
        /// It belongs to an image that a client is pulling.
        case ahead
    }

    /// Client-demanded transfers at once: each holds a descriptor or two and up to a few MiB of buffers.
    package static var maximumForClients: Int { 256 }
    /// Client-demanded transfers at once to one host, so that one slow upstream cannot use up all of them.
    package static var maximumForClientsPerHost: Int { 64 }
    /// Transfers ahead of demand at once.
    package static var maximumAhead: Int { 32 }
    /// Transfers ahead of demand to one host: about what clients themselves open (containerd 3, podman 6).
    package static var maximumAheadPerHost: Int { 4 }
    /// Pulls waiting before another client is refused: beyond this none would start within a client's patience.
    package static var maximumWaiting: Int { 4096 }
    /// Pulls ahead of demand, running and waiting: a manifest that names more layers than this (4 MiB can name 30,000)
    /// must not fill the places of clients.
    package static var maximumKnownAhead: Int { 1024 }

    private struct Entry {
        var host: RegistryHost
        var demand: Demand
        var isRunning: Bool
    }

    private struct Load {
        var forClients = 0
        var ahead = 0
    }

    private var entries: [Key: Entry] = [:]
    /// How many of the entries are ahead of demand.
    private var knownAhead = 0
    private var waitingForClients: Deque<Key> = []
    private var waitingAhead: Deque<Key> = []
    private var total = Load()
    private var perHost: [RegistryHost: Load] = [:]

    /// Pulls that may run, whoever wants them.
    package var running: Int { total.forClients + total.ahead }

    package init() {}

    /// Takes a pull in; false when too many wait already. A known key is promoted when a client now asks for it.
    package mutating func add(_ key: Key, host: RegistryHost, demand: Demand) -> Bool {
        if entries[key] != nil {
            promote(key, to: demand)
            return true
        }
        guard hasPlace(demand) else { return false }
        entries[key] = Entry(host: host, demand: demand, isRunning: false)
        if demand == .ahead { knownAhead += 1 }
        if demand == .client { waitingForClients.append(key) } else { waitingAhead.append(key) }
        return true
    }

    /// Whether no client has asked for it yet.
    package func isAhead(_ key: Key) -> Bool { entries[key]?.demand == .ahead }

    /// The pulls to start now. Each is running from here on, until `remove`.
    package mutating func startable() -> [Key] {
        var clients: Deque<Key> = []
        swap(&clients, &waitingForClients)
        var ahead: Deque<Key> = []
        swap(&ahead, &waitingAhead)
        let result = take(from: &clients, demand: .client) + take(from: &ahead, demand: .ahead)
        waitingForClients = clients
        waitingAhead = ahead
        return result
    }

    /// The pull has ended, or is given up.
    package mutating func remove(_ key: Key) {
        guard let entry = entries.removeValue(forKey: key) else { return }
        if entry.demand == .ahead { knownAhead -= 1 }
        if entry.isRunning { count(entry, -1) }
    }

    private mutating func promote(_ key: Key, to demand: Demand) {
        guard demand == .client, let entry = entries[key], entry.demand == .ahead else { return }
        knownAhead -= 1
        if entry.isRunning {
            count(entry, -1)
            entries[key]?.demand = .client
            count(Entry(host: entry.host, demand: .client, isRunning: true), 1)
        } else {
            // Its place among those ahead is passed over when its turn comes.
            entries[key]?.demand = .client
            waitingForClients.append(key)
        }
    }

    private mutating func take(from queue: inout Deque<Key>, demand: Demand) -> [Key] {
        var result: [Key] = []
        var heldBack: [Key] = []
        while hasRoom(demand), let key = queue.popFirst() {
            guard var entry = entries[key], !entry.isRunning, entry.demand == demand else { continue }
            guard hasRoom(demand, on: entry.host) else {
                heldBack.append(key)
                continue
            }
            entry.isRunning = true
            entries[key] = entry
            count(entry, 1)
            result.append(key)
        }
        for key in heldBack.reversed() { queue.prepend(key) }
        return result
    }

    /// Whether one more may be known, running or waiting.
    private func hasPlace(_ demand: Demand) -> Bool {
        switch demand {
        case .client: entries.count - knownAhead < PullQueue.maximumWaiting + PullQueue.maximumForClients
        case .ahead: knownAhead < PullQueue.maximumKnownAhead
        }
    }

    private func hasRoom(_ demand: Demand) -> Bool {
        switch demand {
        case .client: total.forClients < PullQueue.maximumForClients
        case .ahead: total.ahead < PullQueue.maximumAhead
        }
    }

    private func hasRoom(_ demand: Demand, on host: RegistryHost) -> Bool {
        let load = perHost[host] ?? Load()
        return switch demand {
        case .client: load.forClients < PullQueue.maximumForClientsPerHost
        case .ahead: load.ahead < PullQueue.maximumAheadPerHost
        }
    }

    private mutating func count(_ entry: Entry, _ difference: Int) {
        var load = perHost[entry.host] ?? Load()
        switch entry.demand {
        case .client:
            load.forClients += difference
            total.forClients += difference
        case .ahead:
            load.ahead += difference
            total.ahead += difference
        }
        perHost[entry.host] = load.forClients == 0 && load.ahead == 0 ? nil : load
    }
}

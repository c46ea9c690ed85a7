// Which blob pulls run now. What a client waits for goes first; what is fetched ahead runs in a small share, so that
// one image's layers cannot hold up another client's. Hosts take turns, and a host that has answered 429 gets less.

internal import DequeModule
package import OCI

/// Decides when pulls start. A pure value: keys in, keys to start out. Times are the loop's milliseconds.
///
/// What a call costs depends on how many pulls it starts, not on how many wait: each host has its own lines, and only
/// hosts with a waiting pull and room for it are in the rounds that `startable` goes through.
package struct PullQueue<Key: Hashable> {
    /// Why a pull was asked for.
    package enum Demand: Sendable {
        /// A client waits for it.
        case client
        /// It belongs to an image that a client is pulling.
        case prefetch
    }

    /// Client-demanded transfers at once: each holds a descriptor or two and up to a few MiB of buffers.
    package static var maximumForClients: Int { 256 }
    /// Client-demanded transfers at once to one host, so that one slow upstream cannot use up all of them.
    package static var maximumForClientsPerHost: Int { 64 }
    /// Transfers ahead of demand at once.
    package static var maximumPrefetch: Int { 32 }
    /// Transfers ahead of demand to one host: about what clients themselves open (containerd 3, podman 6).
    package static var maximumPrefetchPerHost: Int { 4 }
    /// Pulls waiting before another client is refused: beyond this none would start within a client's patience.
    package static var maximumWaiting: Int { 4096 }
    /// Pulls ahead of demand, running and waiting: a manifest that names more layers than this (4 MiB can name 30,000)
    /// must not fill the places of clients.
    package static var maximumPrefetchEntries: Int { 1024 }
    /// Hosts with less parallelism at a time; further ones are not slowed down. Each has answered 429 within a minute.
    package static var maximumSlowHosts: Int { 256 }

    private enum State { case waiting, running, held }

    private struct Entry {
        let host: RegistryHost
        var demand: Demand
        var state: State
        /// Its place in a line. Places that a pull has left, promoted or removed, are passed over.
        var ticket: UInt64
    }

    private var entries: [Key: Entry] = [:]
    /// How many of the entries are ahead of demand.
    private var prefetchCount = 0
    private var hosts: [RegistryHost: HostPulls<Key>] = [:]
    /// Hosts that may have something to start, in the order of their turns.
    private var rounds = (clients: Deque<RegistryHost>(), prefetch: Deque<RegistryHost>())
    private var total = (clients: 0, prefetch: 0)
    private var nextTicket: UInt64 = 0
    private var slowHosts: Set<RegistryHost> = []
    /// No host's slowdown ends before this.
    private var slowdownCheckMilliseconds = UInt64.max
    /// Places and hosts that `startable` has looked at since the start: its work.
    private(set) var examinedCount = 0

    /// Pulls that run, for clients and ahead of them.
    package var running: Int { total.clients + total.prefetch }

    package init() {}

    /// Takes a pull in; false when too many wait already. A known key is promoted when a client now asks for it.
    package mutating func add(_ key: Key, host: RegistryHost, demand: Demand) -> Bool {
        if entries[key] != nil {
            promote(key, to: demand)
            return true
        }
        guard hasPlace(demand) else { return false }
        if demand == .prefetch { prefetchCount += 1 }
        entries[key] = Entry(host: host, demand: demand, state: .waiting, ticket: 0)
        line(up: key)
        return true
    }

    /// Whether no client has asked for it yet.
    package func isPrefetch(_ key: Key) -> Bool { entries[key]?.demand == .prefetch }

    /// The pulls to start now. Each is running from here on, until `remove` or `hold`.
    package mutating func startable(now: UInt64) -> [Key] {
        endSlowdowns(now: now)
        return take(.client) + take(.prefetch)
    }

    /// The pull has ended, or is given up.
    package mutating func remove(_ key: Key) {
        guard let entry = entries.removeValue(forKey: key) else { return }
        if entry.demand == .prefetch { prefetchCount -= 1 }
        leave(entry)
    }

    /// A running pull waits for something outside the queue: its place is free for another.
    package mutating func hold(_ key: Key) {
        guard let entry = entries[key], entry.state == .running else { return }
        entries[key]?.state = .held
        leave(entry)
    }

    /// A running pull gives its place away and waits again, as the next of its host.
    package mutating func putBack(_ key: Key) {
        hold(key)
        resume(key)
    }

    /// A pull that was held may run again: it is the next of its host.
    package mutating func resume(_ key: Key) {
        guard entries[key]?.state == .held else { return }
        entries[key]?.state = .waiting
        line(up: key, atFront: true)
    }

    // MARK: Slow hosts

    /// The host has answered 429: nothing is fetched ahead from it for a minute, and the number of transfers for
    /// clients is halved, down to what one client opens by itself.
    package mutating func slowDown(_ host: RegistryHost, now: UInt64) {
        endSlowdowns(now: now)
        guard slowHosts.contains(host) || slowHosts.count < PullQueue.maximumSlowHosts else { return }
        slowHosts.insert(host)
        let end = hosts[host, default: HostPulls()].slowDown(now: now)
        slowdownCheckMilliseconds = min(slowdownCheckMilliseconds, end)
    }

    package func isSlow(_ host: RegistryHost) -> Bool { slowHosts.contains(host) }

    /// When `startable` may have more to start although no pull has ended; nil: never.
    package var nextSlowdownCheck: UInt64? { slowHosts.isEmpty ? nil : slowdownCheckMilliseconds }

    private mutating func endSlowdowns(now: UInt64) {
        guard now >= slowdownCheckMilliseconds else { return }
        slowdownCheckMilliseconds = .max
        for host in slowHosts {
            if let end = hosts[host]?.slowdownEnd(now: now) {
                slowdownCheckMilliseconds = min(slowdownCheckMilliseconds, end)
            } else {
                slowHosts.remove(host)
                join(host, .client)
                join(host, .prefetch)
                forgetIfIdle(host)
            }
        }
    }

    // MARK: Lines

    private mutating func promote(_ key: Key, to demand: Demand) {
        guard demand == .client, let entry = entries[key], entry.demand == .prefetch else { return }
        prefetchCount -= 1
        entries[key]?.demand = .client
        switch entry.state {
        case .held: break
        case .waiting:
            line(up: key)
            leaveLine(entry)
        case .running:
            count(entry.host, .client, 1)
            leave(entry)
        }
    }

    /// Gives a waiting pull a place.
    private mutating func line(up key: Key, atFront: Bool = false) {
        guard let entry = entries[key] else { return }
        nextTicket += 1
        entries[key]?.ticket = nextTicket
        hosts[entry.host, default: HostPulls()].line(up: key, nextTicket, entry.demand, atFront: atFront)
        join(entry.host, entry.demand)
    }

    /// A pull has left its line or its place among those that run.
    private mutating func leave(_ entry: Entry) {
        switch entry.state {
        case .held: return
        case .waiting: leaveLine(entry)
        case .running:
            count(entry.host, entry.demand, -1)
            join(entry.host, entry.demand)
        }
        forgetIfIdle(entry.host)
    }

    /// A waiting pull's place stays where it is; when most places of a line are such, they are taken out.
    private mutating func leaveLine(_ entry: Entry) {
        guard hosts[entry.host]?.leftLine(entry.demand) == true else { return }
        let places = hosts[entry.host]?.takePlaces(entry.demand) ?? []
        let live = Deque(places.filter { isLive($0) })
        hosts[entry.host]?.putBack(live, entry.demand)
    }

    private func isLive(_ place: HostPulls<Key>.Place) -> Bool {
        entries[place.key].map { $0.ticket == place.ticket && $0.state == .waiting } ?? false
    }

    /// Takes the host into a round, if it has a pull for it and room.
    private mutating func join(_ host: RegistryHost, _ demand: Demand) {
        guard hosts[host]?.joinRound(demand) == true else { return }
        if demand == .client { rounds.clients.append(host) } else { rounds.prefetch.append(host) }
    }

    /// One pull of each host in turn, while there is room.
    private mutating func take(_ demand: Demand) -> [Key] {
        var started: [Key] = []
        while hasRoom(demand) {
            let next = demand == .client ? rounds.clients.popFirst() : rounds.prefetch.popFirst()
            guard let host = next else { break }
            examinedCount &+= 1
            if let key = nextKey(of: host, demand) {
                entries[key]?.state = .running
                count(host, demand, 1)
                started.append(key)
            }
            join(host, demand)
            forgetIfIdle(host)
        }
        return started
    }

    /// The first pull of a host whose turn it is. Since then it may have been slowed down.
    private mutating func nextKey(of host: RegistryHost, _ demand: Demand) -> Key? {
        guard hosts[host]?.leaveRound(demand) == true else { return nil }
        while let place = hosts[host]?.popFirst(demand) {
            examinedCount &+= 1
            guard isLive(place) else { continue }
            hosts[host]?.started(demand)
            return place.key
        }
        return nil
    }

    private mutating func forgetIfIdle(_ host: RegistryHost) {
        if hosts[host]?.isIdle == true { hosts[host] = nil }
    }

    // MARK: Limits

    /// Whether one more may be known, running or waiting.
    private func hasPlace(_ demand: Demand) -> Bool {
        switch demand {
        case .client: entries.count - prefetchCount < PullQueue.maximumWaiting + PullQueue.maximumForClients
        case .prefetch: prefetchCount < PullQueue.maximumPrefetchEntries
        }
    }

    private func hasRoom(_ demand: Demand) -> Bool {
        switch demand {
        case .client: total.clients < PullQueue.maximumForClients
        case .prefetch: total.prefetch < PullQueue.maximumPrefetch
        }
    }

    private mutating func count(_ host: RegistryHost, _ demand: Demand, _ difference: Int) {
        hosts[host]?.count(demand, difference)
        if demand == .client { total.clients += difference } else { total.prefetch += difference }
    }
}

// The order in which blob pulls run. Pulls that a client waits for run first. Prefetches get a small share, so that the
// layers of one image cannot delay another client's. Hosts take turns, and a host that answered 429 gets less.

internal import DequeModule
package import OCI

/// Decides when pulls start. A pure value: keys in, keys to start out. Times are the loop's milliseconds.
///
/// The cost of a call depends on how many pulls it starts, not on how many wait: each host has its own lines, and the
/// rounds of `startable` contain only hosts with a waiting pull and room for it.
package struct PullQueue<Key: Hashable> {
    /// The reason for a pull.
    package enum Demand: Sendable {
        /// A client waits for the blob.
        case client
        /// The blob belongs to an image that a client is pulling.
        case prefetch
    }

    /// Concurrent client transfers: each holds a descriptor or two and up to a few MiB of buffers.
    package static var maximumForClients: Int { 256 }
    /// Concurrent client transfers to one host, so that one slow upstream cannot use up all of them.
    package static var maximumForClientsPerHost: Int { 64 }
    /// Concurrent prefetch transfers.
    package static var maximumPrefetch: Int { 32 }
    /// Concurrent prefetch transfers to one host: about what clients themselves open (containerd 3, podman 6).
    package static var maximumPrefetchPerHost: Int { 4 }
    /// Waiting pulls before another client is refused: a later one would not start within a client's patience.
    package static var maximumWaiting: Int { 4096 }
    /// Prefetches, running and waiting: a manifest that names more layers than this (4 MiB can name 30,000) must not
    /// use up the capacity for clients.
    package static var maximumPrefetchEntries: Int { 1024 }
    /// Hosts that are slowed down at once; each has answered 429 within a minute. Further hosts are not slowed down.
    package static var maximumSlowHosts: Int { 256 }

    private enum State { case waiting, running, held }

    private struct Entry {
        let host: RegistryHost
        var demand: Demand
        var state: State
        /// Identifies its place in a line. Places of pulls that were promoted or removed have another ticket and are
        /// skipped.
        var ticket: UInt64
    }

    private var entries: [Key: Entry] = [:]
    /// Entries whose demand is `prefetch`.
    private var prefetchCount = 0
    private var hosts: [RegistryHost: HostPulls<Key>] = [:]
    /// Hosts that may have a pull to start, in the order of their turns.
    private var rounds = (clients: Deque<RegistryHost>(), prefetch: Deque<RegistryHost>())
    private var total = (clients: 0, prefetch: 0)
    private var nextTicket: UInt64 = 0
    private var slowHosts: Set<RegistryHost> = []
    /// The earliest possible end of a slowdown.
    private var slowdownCheckMilliseconds = UInt64.max
    /// Places and hosts examined by `startable` since the start, as a measure of its work.
    private(set) var examinedCount = 0

    /// Running pulls, client pulls and prefetches together.
    package var running: Int { total.clients + total.prefetch }

    /// Where hosts have limits of their own. Running pulls above a lowered limit end by themselves.
    package var limits: HostLimits {
        didSet {
            for host in Array(hosts.keys) {
                let limit = clientLimit(of: host)
                hosts[host]?.clientLimit = limit
                join(host, .client)
                join(host, .prefetch)
            }
        }
    }

    package init(limits: HostLimits = HostLimits()) { self.limits = limits }

    private func newHost(_ host: RegistryHost) -> HostPulls<Key> { HostPulls(clientLimit: clientLimit(of: host)) }

    private func clientLimit(of host: RegistryHost) -> Int {
        let limit = limits.byHost[host] ?? limits.all ?? PullQueue.maximumForClientsPerHost
        return min(limit, PullQueue.maximumForClients)
    }

    /// Adds a pull; false when too many wait already. A known prefetch is promoted when a client asks for it.
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

    /// Whether no client has asked for the blob yet.
    package func isPrefetch(_ key: Key) -> Bool { entries[key]?.demand == .prefetch }

    /// The pulls to start now. Each counts as running until `remove` or `hold`.
    package mutating func startable(now: UInt64) -> [Key] {
        endSlowdowns(now: now)
        return take(.client) + take(.prefetch)
    }

    /// Removes a pull that has ended or was given up.
    package mutating func remove(_ key: Key) {
        guard let entry = entries.removeValue(forKey: key) else { return }
        if entry.demand == .prefetch { prefetchCount -= 1 }
        leave(entry)
    }

    /// Frees the slot of a running pull that waits for something outside the queue.
    package mutating func hold(_ key: Key) {
        guard let entry = entries[key], entry.state == .running else { return }
        entries[key]?.state = .held
        leave(entry)
    }

    /// Frees the slot of a running pull, which waits again as the first of its host.
    package mutating func putBack(_ key: Key) {
        hold(key)
        resume(key)
    }

    /// Lets a held pull run again, as the first of its host.
    package mutating func resume(_ key: Key) {
        guard entries[key]?.state == .held else { return }
        entries[key]?.state = .waiting
        line(up: key, atFront: true)
    }

    // MARK: Slow hosts

    /// Handles a 429 of the host: for a minute nothing is prefetched from it, and the limit of client transfers is
    /// halved, down to what one client opens by itself.
    package mutating func slowDown(_ host: RegistryHost, now: UInt64) {
        endSlowdowns(now: now)
        guard slowHosts.contains(host) || slowHosts.count < PullQueue.maximumSlowHosts else { return }
        slowHosts.insert(host)
        let new = newHost(host)
        let end = hosts[host, default: new].slowDown(now: now)
        slowdownCheckMilliseconds = min(slowdownCheckMilliseconds, end)
    }

    package func isSlow(_ host: RegistryHost) -> Bool { slowHosts.contains(host) }

    /// When `startable` may have more to start although no pull has ended; nil if there is no slowdown.
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

    /// Adds a waiting pull to its host's line.
    private mutating func line(up key: Key, atFront: Bool = false) {
        guard let entry = entries[key] else { return }
        nextTicket += 1
        entries[key]?.ticket = nextTicket
        let new = newHost(entry.host)
        hosts[entry.host, default: new].line(up: key, nextTicket, entry.demand, atFront: atFront)
        join(entry.host, entry.demand)
    }

    /// Updates the counts for a pull that has left its line or stopped running.
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

    /// Leaves a waiting pull's place in the line as a stale one; stale places are removed once most of them are stale.
    private mutating func leaveLine(_ entry: Entry) {
        guard hosts[entry.host]?.leftLine(entry.demand) == true else { return }
        let places = hosts[entry.host]?.takePlaces(entry.demand) ?? []
        let live = Deque(places.filter { isLive($0) })
        hosts[entry.host]?.putBack(live, entry.demand)
    }

    private func isLive(_ place: HostPulls<Key>.Place) -> Bool {
        entries[place.key].map { $0.ticket == place.ticket && $0.state == .waiting } ?? false
    }

    /// Adds the host to a round, if it has a waiting pull and room.
    private mutating func join(_ host: RegistryHost, _ demand: Demand) {
        guard hosts[host]?.joinRound(demand) == true else { return }
        if demand == .client { rounds.clients.append(host) } else { rounds.prefetch.append(host) }
    }

    /// Starts one pull of each host in turn, while there is room.
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

    /// The first pull of a host whose turn it is; nil if the host was slowed down meanwhile.
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

    /// Whether one more pull may be added, running or waiting.
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

/// Limits of concurrent pulls for all hosts, and for single ones; nil: `PullQueue`'s own.
package struct HostLimits: Sendable, Equatable {
    package var all: Int?
    package var byHost: [RegistryHost: Int]

    package init(all: Int? = nil, byHost: [RegistryHost: Int] = [:]) {
        self.all = all
        self.byHost = byHost
    }
}

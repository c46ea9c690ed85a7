// The order in which name lookups run. The C library's resolver takes a thread for each name, for up to half a minute
// where no name server answers, and clients can invent names (`ns`). Without limits per kind a few of those names would
// block the lookups of every upstream.

internal import DequeModule

/// The name to look up, and the client that caused the lookup.
package struct LookupOwner: Sendable, Equatable {
    /// How far a name is known, which decides its limits.
    package enum Standing: Sendable {
        /// For a registry that the configuration names.
        case configured
        /// No configuration names it, but the name was found before.
        case found
        /// The name is known only from a client's request.
        case unknown
    }

    /// The name that is looked up.
    package var name: String
    package var standing: Standing
    /// The client that caused it, as `NetworkAddress.clientNetwork`; nil for the server's own requests.
    package var client: NetworkAddress?

    package init(name: String, standing: Standing, client: NetworkAddress?) {
        self.name = name
        self.standing = standing
        self.client = client
    }
}

/// Hands out the slots for name lookups. A pure value: keys in, keys to start out.
package struct LookupShares<Key: Hashable & Sendable>: Sendable {
    package struct Limits: Sendable {
        /// Running lookups: each holds one or two of the resolver's threads.
        package var all = 64
        /// Running lookups for registries without configuration; the rest is reserved for configured ones.
        package var unconfigured = 32
        /// Running lookups of names that were never found; the rest is reserved for registries in use.
        package var unknown = 24
        /// Running lookups of never-found names caused by one client: an image takes three (the registry, its token
        /// service and its blob store). Half of `unknown`, since behind a balancer all clients have one address.
        package var unknownPerClient = 12
        /// Concurrent lookups of one name: a second helps when the first was unlucky, a third would not.
        package var perName = 2
        /// Lookups that wait for a slot: about as many as requests to upstreams that wait for an answer.
        package var waiting = 1024
        /// Waiting lookups of never-found names; a later one would not start within a client's 15 s.
        package var waitingUnknown = 128
        package var waitingUnknownPerClient = 32

        package init() {}
    }

    /// Counts of lookups, over all owners.
    private struct Count: Sendable {
        var all = 0
        var unconfigured = 0
        var unknown = 0
        /// Lookups of never-found names.
        var perClient: [NetworkAddress: Int] = [:]

        mutating func add(_ owner: LookupOwner, _ difference: Int) {
            all += difference
            if owner.standing != .configured { unconfigured += difference }
            guard owner.standing == .unknown else { return }
            unknown += difference
            guard let client = owner.client else { return }
            let count = perClient[client, default: 0] + difference
            perClient[client] = count == 0 ? nil : count
        }

        func ofClient(_ owner: LookupOwner) -> Int { owner.client.flatMap { perClient[$0] } ?? 0 }
    }

    private let limits: Limits
    private var running: [Key: LookupOwner] = [:]
    private var runningCount = Count()
    private var perName: [String: Int] = [:]
    private var waiting: Deque<Key> = []
    private var waitingOwners: [Key: LookupOwner] = [:]
    private var waitingCount = Count()

    package init(limits: Limits = Limits()) { self.limits = limits }

    package var runningTotal: Int { runningCount.all }
    package var waitingTotal: Int { waitingCount.all }

    /// Takes a slot, unless `key` has one.
    /// - Returns: false when none is free.
    package mutating func begin(_ key: Key, _ owner: LookupOwner) -> Bool {
        if running[key] != nil { return true }
        guard hasPlace(owner) else { return false }
        start(key, owner)
        return true
    }

    /// Queues a lookup for a slot.
    /// - Returns: false when too many are waiting.
    package mutating func wait(_ key: Key, _ owner: LookupOwner) -> Bool {
        guard waitingCount.all < limits.waiting else { return false }
        if owner.standing == .unknown {
            guard waitingCount.unknown < limits.waitingUnknown,
                waitingCount.ofClient(owner) < limits.waitingUnknownPerClient
            else { return false }
        }
        waiting.append(key)
        waitingOwners[key] = owner
        waitingCount.add(owner, 1)
        return true
    }

    /// Ends a running or waiting lookup.
    /// - Returns: whether there was one.
    @discardableResult
    package mutating func end(_ key: Key) -> Bool {
        if let owner = running.removeValue(forKey: key) {
            runningCount.add(owner, -1)
            let count = perName[owner.name, default: 0] - 1
            perName[owner.name] = count > 0 ? count : nil
            return true
        }
        guard let owner = waitingOwners.removeValue(forKey: key) else { return false }
        waitingCount.add(owner, -1)
        waiting.removeAll { $0 == key }
        return true
    }

    /// The waiting lookups that get a slot now, and keep it until `end`. At most `Limits.waiting` are examined.
    package mutating func startable() -> [Key] {
        guard !waiting.isEmpty, runningCount.all < limits.all else { return [] }
        var started: [Key] = []
        var left: Deque<Key> = []
        for key in waiting {
            guard let owner = waitingOwners[key] else { continue }
            guard hasPlace(owner) else {
                left.append(key)
                continue
            }
            waitingOwners[key] = nil
            waitingCount.add(owner, -1)
            start(key, owner)
            started.append(key)
        }
        waiting = left
        return started
    }

    private mutating func start(_ key: Key, _ owner: LookupOwner) {
        running[key] = owner
        runningCount.add(owner, 1)
        perName[owner.name, default: 0] += 1
    }

    private func hasPlace(_ owner: LookupOwner) -> Bool {
        guard runningCount.all < limits.all, perName[owner.name, default: 0] < limits.perName else { return false }
        if owner.standing == .configured { return true }
        guard runningCount.unconfigured < limits.unconfigured else { return false }
        if owner.standing == .found { return true }
        return runningCount.unknown < limits.unknown && runningCount.ofClient(owner) < limits.unknownPerClient
    }
}

extension NetworkAddress {
    /// The network that counts as one client: an IPv4 address, or the /64 that an IPv6 subscriber gets (RFC 6177 §2).
    package var clientNetwork: NetworkAddress {
        guard bytes.count == 16, !isFourInSix else { return self }
        return NetworkAddress(bytes: Array(bytes[..<8]) + [UInt8](repeating: 0, count: 8)) ?? self
    }

    /// Whether it is in ::ffff:0:0/96, as a dual-stack socket shows IPv4 clients.
    private var isFourInSix: Bool { bytes[..<10].allSatisfy { $0 == 0 } && bytes[10] == 0xFF && bytes[11] == 0xFF }
}

// The name lookups of all transfers: their slots, the attempts that wait for one, and recent failures.

/// Keeps the lookups within their limits (Policy/Upstreams/LookupShares.swift).
final class NameLookups {
    /// Names remembered as found, and as not found: clients can name any number.
    private static let maximumNames = 1024

    private typealias Name = TransferRequest.Peer

    private var shares: LookupShares<ObjectIdentifier>
    /// Attempts that wait for a slot. The dictionary retains them, since their keys are object identities.
    private var waiting: [ObjectIdentifier: TransferAttempt] = [:]
    /// When lookups failed, in the loop's milliseconds.
    private var failures: [Name: UInt64] = [:]
    /// Hosts found since the start.
    private var foundHosts: Set<String> = []
    /// Attempts refused because too many were waiting.
    private(set) var refusedTotal: UInt64 = 0

    init(_ limits: LookupShares<ObjectIdentifier>.Limits) { shares = LookupShares(limits: limits) }

    var runningCount: Int { shares.runningTotal }
    var waitingCount: Int { shares.waitingTotal }

    /// Takes a slot, unless the attempt has one already.
    /// - Returns: false when no slot is free.
    func begin(_ attempt: TransferAttempt) -> Bool {
        shares.begin(ObjectIdentifier(attempt), owner(attempt.request))
    }

    /// Queues the attempt for a slot.
    /// - Returns: false when too many are waiting.
    func wait(_ attempt: TransferAttempt) -> Bool {
        guard shares.wait(ObjectIdentifier(attempt), owner(attempt.request)) else {
            refusedTotal &+= 1
            return false
        }
        waiting[ObjectIdentifier(attempt)] = attempt
        return true
    }

    /// Ends the attempt's lookup, or its wait for one.
    /// - Returns: the waiting attempts that have a slot now.
    func end(_ attempt: TransferAttempt) -> [TransferAttempt] {
        guard shares.end(ObjectIdentifier(attempt)) else { return [] }
        waiting[ObjectIdentifier(attempt)] = nil
        return ready()
    }

    /// The waiting attempts that have a slot now.
    func ready() -> [TransferAttempt] { shares.startable().compactMap { waiting.removeValue(forKey: $0) } }

    /// Ends all waiting attempts.
    func close() {
        for attempt in waiting.values { attempt.drop() }
        waiting.removeAll()
    }

    private func owner(_ request: TransferRequest) -> LookupOwner {
        let host = request.peer.host
        return LookupOwner(
            name: host,
            standing: request.isConfigured || request.proxy != nil
                ? .configured : foundHosts.contains(host) ? .found : .unknown,
            client: request.client)
    }

    // MARK: Names that were found, or not

    /// Records that a name was not found, by the resolver or in libcurl's cache.
    func failed(_ name: TransferRequest.Peer, now: UInt64) {
        if failures.count >= NameLookups.maximumNames { failures.removeAll() }
        if failures[name] == nil { failures[name] = now }
    }

    func found(_ name: TransferRequest.Peer) {
        failures[name] = nil
        guard !foundHosts.contains(name.host) else { return }
        if foundHosts.count >= NameLookups.maximumNames { foundHosts.removeAll() }
        foundHosts.insert(name.host)
    }

    /// Whether libcurl must forget that a name was not found; checked before each attempt.
    func forgetsFailure(of name: TransferRequest.Peer, afterMilliseconds: UInt64, now: UInt64) -> Bool {
        guard let time = failures[name], now >= time, now - time >= afterMilliseconds else { return false }
        failures[name] = nil
        return true
    }
}

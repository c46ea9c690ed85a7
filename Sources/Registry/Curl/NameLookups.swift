// The name lookups of all transfers: their places, the attempts that wait for one, and names lately not found.

/// Keeps the lookups within their shares (Policy/LookupShares.swift).
final class NameLookups {
    /// Names that are remembered for having been found, and for not having been found: clients can name any number.
    private static let maximumNames = 1024

    private struct Name: Hashable {
        let host: String
        let port: UInt16

        init(_ url: UpstreamURL) { (host, port) = (url.host, url.port) }
    }

    private var shares: LookupShares<ObjectIdentifier>
    /// Attempts that wait for a place. They are kept alive by this: their keys are their identities.
    private var waiting: [ObjectIdentifier: TransferAttempt] = [:]
    /// When names were not found, in the loop's milliseconds.
    private var failures: [Name: UInt64] = [:]
    /// Hosts that were found since the start.
    private var foundHosts: Set<String> = []
    /// Attempts that were refused because too many waited.
    private(set) var refusedTotal: UInt64 = 0

    init(_ limits: LookupShares<ObjectIdentifier>.Limits) { shares = LookupShares(limits: limits) }

    var runningCount: Int { shares.runningTotal }
    var waitingCount: Int { shares.waitingTotal }

    /// Takes a place, unless the attempt has one already.
    /// - Returns: false when there is none.
    func begin(_ attempt: TransferAttempt) -> Bool {
        shares.begin(ObjectIdentifier(attempt), owner(attempt.request))
    }

    /// Waits for a place.
    /// - Returns: false when too many wait already.
    func wait(_ attempt: TransferAttempt) -> Bool {
        guard shares.wait(ObjectIdentifier(attempt), owner(attempt.request)) else {
            refusedTotal &+= 1
            return false
        }
        waiting[ObjectIdentifier(attempt)] = attempt
        return true
    }

    /// The attempt neither looks up nor waits any more.
    /// - Returns: those that waited and have a place from here on.
    func end(_ attempt: TransferAttempt) -> [TransferAttempt] {
        guard shares.end(ObjectIdentifier(attempt)) else { return [] }
        waiting[ObjectIdentifier(attempt)] = nil
        return ready()
    }

    /// Those that waited and have a place from here on.
    func ready() -> [TransferAttempt] { shares.startable().compactMap { waiting.removeValue(forKey: $0) } }

    /// Ends all waiting attempts.
    func close() {
        for attempt in waiting.values { attempt.drop() }
        waiting.removeAll()
    }

    private func owner(_ request: TransferRequest) -> LookupOwner {
        let host = request.url.host
        return LookupOwner(
            name: host, standing: request.isConfigured ? .configured : foundHosts.contains(host) ? .found : .unknown,
            client: request.client)
    }

    // MARK: Names that were found, or not

    /// A name was not found, as the resolver or libcurl's memory of it says.
    func failed(_ url: UpstreamURL, now: UInt64) {
        if failures.count >= NameLookups.maximumNames { failures.removeAll() }
        let name = Name(url)
        if failures[name] == nil { failures[name] = now }
    }

    func found(_ url: UpstreamURL) {
        failures[Name(url)] = nil
        guard !foundHosts.contains(url.host) else { return }
        if foundHosts.count >= NameLookups.maximumNames { foundHosts.removeAll() }
        foundHosts.insert(url.host)
    }

    /// Whether libcurl is to forget that a name was not found; asked before an attempt.
    func forgetsFailure(of url: UpstreamURL, afterMilliseconds: UInt64, now: UInt64) -> Bool {
        guard let time = failures[Name(url)], now >= time, now - time >= afterMilliseconds else { return false }
        failures[Name(url)] = nil
        return true
    }
}

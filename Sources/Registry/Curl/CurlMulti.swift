// The running attempts of all transfers, in the current pool of connections or in one that a reload has replaced.

internal import CCurl

/// Runs attempts on curl's connections.
package final class CurlMulti {
    /// Requests that run on two connections at once because a reused one was silent. An upstream that is only slow gets
    /// at most this many requests twice.
    static let maximumHedges = 64
    /// Upstreams whose idle connections may be dead; at this number the whole list is cleared.
    static let maximumSuspects = 256

    /// Name and version of libcurl.
    package static var libraryVersion: String {
        // The versions of its own libraries follow, each after a space.
        String(String(cString: curl_version()).prefix { $0 != " " })
    }

    let limits: ConnectLimits
    /// curl's connections, as far as this process has recorded them.
    var connections = UpstreamConnections()
    /// Requests that run on two connections.
    var hedgeCount = 0
    /// Requests repeated on a new connection because a reused one did not answer.
    var reconnects: UInt64 = 0

    private let loop: EventLoop
    private let lookups: NameLookups
    /// The pool of new attempts; set until `close`.
    private var pool: ConnectionPool?
    /// Replaced pools with attempts that have not ended, so at most one for each running attempt.
    private var replacedPools: [ConnectionPool] = []
    /// Running attempts, by easy handle. Deferred actions refer to an attempt, never to a handle, since a later attempt
    /// may get the same handle.
    private var attempts: [UnsafeMutableRawPointer: TransferAttempt] = [:]
    /// The time at which a reused connection was silent while a new one answered, by host and port.
    private var suspects: [String: UInt64] = [:]
    private var isClosed = false

    /// Nil when curl cannot be set up, for lack of memory.
    package init?(
        on loop: EventLoop, limits: ConnectLimits = ConnectLimits(),
        lookups: LookupShares<ObjectIdentifier>.Limits = .init()
    ) {
        self.loop = loop
        self.limits = limits
        self.lookups = NameLookups(lookups)
        pool = makePool()
        // Nothing to close then.
        isClosed = pool == nil
        if isClosed { return nil }
    }

    private func makePool() -> ConnectionPool? {
        ConnectionPool(on: loop) { [unowned self] easy, code in
            guard let attempt = attempts[easy] else { return }
            attempt.isDone = true
            loop.deferred.enqueue { [self] in end(attempt, code) }
        }
    }

    /// Number of running attempts.
    package var transferCount: Int { attempts.count }

    var reading: ConnectReading {
        ConnectReading(
            reconnects: reconnects, lookupsRunning: lookups.runningCount, lookupsWaiting: lookups.waitingCount,
            lookupsRefused: lookups.refusedTotal)
    }

    deinit { precondition(isClosed, "a CurlMulti must be closed before it goes") }

    /// Starts an attempt in a deferred action.
    func start(_ attempt: TransferAttempt) {
        loop.deferred.enqueue { [self] in add(attempt) }
    }

    /// Makes attempts that start from now on use new connections, and read certificates, keys and authorities anew.
    /// Running attempts end on the connections that they have. Must not be called from a callback of curl.
    package func renewConnections() {
        // Without memory for another pool the present one stays in use.
        guard !isClosed, let replaced = pool, let fresh = makePool() else { return }
        pool = fresh
        suspects.removeAll()
        replacedPools.append(replaced)
        closeUnused()
    }

    private func closeUnused() {
        for pool in replacedPools where pool.transferCount == 0 { pool.close() }
        replacedPools.removeAll { $0.transferCount == 0 }
    }

    /// Ends every transfer without a callback to its owner, and closes all connections. Must not be called from a
    /// callback.
    package func close() {
        guard !isClosed else { return }
        isClosed = true
        for (easy, attempt) in attempts {
            attempt.pool?.remove(easy)
            attempt.drop()
        }
        attempts.removeAll()
        lookups.close()
        for pool in replacedPools { pool.close() }
        replacedPools.removeAll()
        pool?.close()
        pool = nil
    }

    // MARK: Deferred actions

    private func add(_ attempt: TransferAttempt) {
        guard !isClosed, !attempt.isOver, let pool else { return }
        guard let easy = attempt.prepare(in: pool), pool.add(easy) else {
            attempt.release()
            startWaiting(lookups.end(attempt))
            return attempt.finish(.init(CURLE_FAILED_INIT))
        }
        attempts[easy] = attempt
        pool.settle()
    }

    /// Removes an attempt in any state; the attempt calls this in a deferred action.
    func remove(_ attempt: TransferAttempt) {
        guard !isClosed else { return }
        guard let easy = runningHandle(of: attempt) else { return startWaiting(lookups.end(attempt)) }
        // The resolver cannot be stopped: its thread and the lookup's slot stay in use until the lookup has ended. Then
        // curl asks for a socket, is refused one, and the attempt ends.
        guard attempt.lookup != .running else { return }
        take(out: attempt, easy)
    }

    /// Resumes a paused attempt; the attempt calls this in a deferred action.
    func unpause(_ attempt: TransferAttempt) {
        guard !isClosed, let easy = runningHandle(of: attempt) else { return }
        // This delivers curl's buffered bytes through callbacks; only its result reports a failure.
        let code = curl_easy_pause(easy, CURLPAUSE_CONT)
        if code != CURLE_OK { return end(attempt, code) }
        attempt.pool?.settle()
    }

    private func end(_ attempt: TransferAttempt, _ code: CURLcode) {
        guard !isClosed, let easy = runningHandle(of: attempt) else { return }
        let outcome = attempt.outcome(code)
        let mustWait = attempt.lookup == .denied && !attempt.isOver
        if attempt.lookup == .running, CurlError.isLookup(code) {
            lookups.failed(attempt.request.peer, now: loop.nowMilliseconds)
        }
        take(out: attempt, easy)
        guard mustWait else { return attempt.finish(outcome) }
        guard lookups.wait(attempt) else { return attempt.finish(.tooManyLookups) }
        attempt.isDone = false
        // A slot may have become free meanwhile.
        startWaiting(lookups.ready())
    }

    private func take(out attempt: TransferAttempt, _ easy: UnsafeMutableRawPointer) {
        attempts[easy] = nil
        let pool = attempt.pool
        pool?.remove(easy)
        attempt.release()
        pool?.settle()
        startWaiting(lookups.end(attempt))
        if !replacedPools.isEmpty { closeUnused() }
    }

    /// The attempt's easy handle, while it is in the multi handle.
    private func runningHandle(of attempt: TransferAttempt) -> UnsafeMutableRawPointer? {
        guard let easy = attempt.easy, attempts[easy] === attempt else { return nil }
        return easy
    }

    private func startWaiting(_ ready: [TransferAttempt]) {
        for attempt in ready { start(attempt) }
    }
}

// MARK: - For the attempts

extension CurlMulti {
    /// Whether libcurl knows the address without the resolver: the host is numeric, or a name of this machine.
    static func needsNoLookup(_ host: String) -> Bool {
        NetworkAddress(literal: host) != nil || host == "localhost" || host.hasSuffix(".localhost")
    }

    /// Takes a slot for the attempt's name lookup; false when none is free.
    func beginLookup(_ attempt: TransferAttempt) -> Bool { lookups.begin(attempt) }

    /// The lookup has found an address.
    func lookupEnded(_ attempt: TransferAttempt) {
        lookups.found(attempt.request.peer)
        startWaiting(lookups.end(attempt))
    }

    /// Whether libcurl must forget that the name was not found.
    func forgetsFailure(of name: TransferRequest.Peer) -> Bool {
        lookups.forgetsFailure(
            of: name, afterMilliseconds: limits.failedNameMilliseconds, now: loop.nowMilliseconds)
    }

    // MARK: Idle connections

    private static func origin(_ url: UpstreamURL) -> String { "\(url.host):\(url.port)" }

    /// Called when a reused connection was silent while a new one answered: connections idle at that time are not
    /// reused.
    func suspectIdleConnections(to url: UpstreamURL) {
        if suspects.count >= CurlMulti.maximumSuspects { suspects.removeAll() }
        suspects[CurlMulti.origin(url)] = loop.nowMilliseconds
    }

    /// How long a connection to this host may have been idle and still be reused, in whole seconds, at least 1.
    func maximumIdleSeconds(for url: UpstreamURL) -> Int {
        guard !suspects.isEmpty, let time = suspects[CurlMulti.origin(url)] else { return limits.maximumIdleSeconds }
        let seconds = Int((loop.nowMilliseconds - time) / 1000)
        if seconds < limits.maximumIdleSeconds { return max(1, seconds) }
        suspects[CurlMulti.origin(url)] = nil
        return limits.maximumIdleSeconds
    }
}

// libcurl on the loop: its sockets become SocketPolls, its one timeout a Timer. curl calls back from inside its own
// functions, where it must not be called; such calls wait in the loop's deferred queue.

internal import CCurl
internal import Glibc

/// A curl multi handle driven by the loop (libcurl's "curl_multi_socket_action").
package final class CurlMulti {
    /// Idle connections kept for reuse, over all hosts: a few for each upstream that is in use.
    static let maximumIdleConnections = 64
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
    private let handle: UnsafeMutableRawPointer
    private let lookups: NameLookups
    private var timer: Timer?
    /// Whether curl has asked to be called again as soon as other events have been handled.
    private var isTimeoutDue = false
    private var sockets: CurlSockets?
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
        // Reference-counted, so safe to call again; never undone, since resolver threads may outlive every handle.
        guard curl_global_init(Int(CURL_GLOBAL_DEFAULT)) == CURLE_OK, let handle = curl_multi_init() else { return nil }
        self.loop = loop
        self.handle = handle
        self.limits = limits
        self.lookups = NameLookups(lookups)
        timer = Timer(on: loop) { [unowned self] in timedOut() }
        sockets = CurlSockets(on: loop) { [unowned self] in act($0, $1) }
        // Unretained: `close` ends all callbacks before this object is freed.
        let context = Unmanaged.passUnretained(self).toOpaque()
        ccurl_multi_set_pointer(handle, CURLMOPT_SOCKETDATA, context)
        ccurl_multi_set_socket(handle) { _, socket, what, context, _ in
            CurlMulti.from(context).sockets?.watch(socket, what)
            return 0
        }
        ccurl_multi_set_pointer(handle, CURLMOPT_TIMERDATA, context)
        ccurl_multi_set_timer(handle) { _, milliseconds, context in
            CurlMulti.from(context).setTimeout(milliseconds)
            return 0
        }
        ccurl_multi_set_long(handle, CURLMOPT_MAXCONNECTS, CurlMulti.maximumIdleConnections)
        ccurl_multi_set_long(handle, CURLMOPT_PIPELINING, CURLPIPE_NOTHING)
        MultiOptions.apply(to: handle)
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

    /// Ends every transfer without a callback to its owner, and closes all connections. Must not be called from a
    /// callback.
    package func close() {
        guard !isClosed else { return }
        isClosed = true
        for (easy, attempt) in attempts {
            curl_multi_remove_handle(handle, easy)
            attempt.drop()
        }
        attempts.removeAll()
        lookups.close()
        curl_multi_cleanup(handle)
        sockets?.close()
        timer?.close()
        timer = nil
    }

    // MARK: Deferred actions

    private func add(_ attempt: TransferAttempt) {
        guard !isClosed, !attempt.isOver else { return }
        guard let easy = attempt.prepare(), curl_multi_add_handle(handle, easy) == CURLM_OK else {
            attempt.release()
            startWaiting(lookups.end(attempt))
            return attempt.finish(.init(CURLE_FAILED_INIT))
        }
        attempts[easy] = attempt
        settle()
    }

    /// Removes an attempt in any state; the attempt calls this in a deferred action.
    func remove(_ attempt: TransferAttempt) {
        guard !isClosed else { return }
        guard let easy = runningHandle(of: attempt) else { return startWaiting(lookups.end(attempt)) }
        // The resolver cannot be stopped: its thread and the lookup's slot stay in use until the lookup has ended. Then
        // curl asks for a socket, is refused one, and the attempt ends.
        guard attempt.lookup != .running else { return }
        take(out: attempt, easy)
        settle()
    }

    /// Resumes a paused attempt; the attempt calls this in a deferred action.
    func unpause(_ attempt: TransferAttempt) {
        guard !isClosed, let easy = runningHandle(of: attempt) else { return }
        // This delivers curl's buffered bytes through callbacks; only its result reports a failure.
        let code = curl_easy_pause(easy, CURLPAUSE_CONT)
        if code != CURLE_OK { return end(attempt, code) }
        settle()
    }

    private func end(_ attempt: TransferAttempt, _ code: CURLcode) {
        guard !isClosed, let easy = runningHandle(of: attempt) else { return }
        let outcome = attempt.outcome(code)
        let mustWait = attempt.lookup == .denied && !attempt.isOver
        if attempt.lookup == .running, CurlError.isLookup(code) {
            lookups.failed(attempt.request.peer, now: loop.nowMilliseconds)
        }
        take(out: attempt, easy)
        settle()
        guard mustWait else { return attempt.finish(outcome) }
        guard lookups.wait(attempt) else { return attempt.finish(.tooManyLookups) }
        attempt.isDone = false
        // A slot may have become free meanwhile.
        startWaiting(lookups.ready())
    }

    private func take(out attempt: TransferAttempt, _ easy: UnsafeMutableRawPointer) {
        attempts[easy] = nil
        curl_multi_remove_handle(handle, easy)
        attempt.release()
        startWaiting(lookups.end(attempt))
    }

    /// The attempt's easy handle, while it is in the multi handle.
    private func runningHandle(of attempt: TransferAttempt) -> UnsafeMutableRawPointer? {
        guard let easy = attempt.easy, attempts[easy] === attempt else { return nil }
        return easy
    }

    private func startWaiting(_ ready: [TransferAttempt]) {
        for attempt in ready { start(attempt) }
    }

    // MARK: Driving curl

    private func act(_ socket: Int32, _ events: Int32) {
        guard !isClosed else { return }
        var running: Int32 = 0
        curl_multi_socket_action(handle, socket, events, &running)
        settle()
    }

    /// Reads which transfers have finished; must follow every call that may have made curl work.
    private func settle() {
        var left: Int32 = 0
        while let message = curl_multi_info_read(handle, &left) {
            // The message is freed with the handle, so both fields are copied first.
            guard message.pointee.msg == CURLMSG_DONE, let easy = message.pointee.easy_handle else { continue }
            let code = message.pointee.data.result
            guard let attempt = attempts[easy] else { continue }
            attempt.isDone = true
            loop.deferred.enqueue { [self] in end(attempt, code) }
        }
    }

    private func timedOut() { act(CURL_SOCKET_BAD, 0) }

    private static func from(_ context: UnsafeMutableRawPointer?) -> CurlMulti {
        // Set in `init`, before curl can call back.
        Unmanaged<CurlMulti>.fromOpaque(context.unsafelyUnwrapped).takeUnretainedValue()
    }
}

// MARK: - Called by curl, from inside its own functions: curl must not be called from here

extension CurlMulti {
    /// curl has opened a socket.
    func opened(_ socket: Int32) { sockets?.opened(socket) }

    /// Makes curl close sockets through a callback, since it does not report every close to the code that watches them.
    /// A connection may outlive the attempt that opened it, so the callback gets this object, which outlives all
    /// connections.
    func setClosingCallback(_ easy: UnsafeMutableRawPointer) -> Bool {
        let context = Unmanaged.passUnretained(self).toOpaque()
        guard ccurl_set_pointer(easy, CURLOPT_CLOSESOCKETDATA, context) == CURLE_OK else { return false }
        return ccurl_set_closesocket(easy) { context, socket in
            CurlMulti.from(context).sockets?.closing(socket)
            return Glibc.close(socket)
        } == CURLE_OK
    }

    private func setTimeout(_ milliseconds: Int) {
        isTimeoutDue = milliseconds == 0
        guard milliseconds <= 0 else {
            timer?.start(afterMilliseconds: UInt64(clamping: milliseconds))
            return
        }
        timer?.stop()
        // 0 means that curl wants to be called after other events. libuv (1.44) would run a timer restarted in its own
        // callback before anything else, so the call is deferred.
        guard isTimeoutDue else { return }
        loop.deferred.enqueue { [self] in
            guard isTimeoutDue else { return }
            isTimeoutDue = false
            timedOut()
        }
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

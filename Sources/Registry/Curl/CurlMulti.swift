// libcurl on the loop: its sockets become SocketPolls, its one timeout a Timer. curl calls us from inside its own
// calls; whatever would have to call it back waits in the loop's deferred queue.

internal import CCurl

/// A curl multi handle driven by the loop (libcurl's "curl_multi_socket_action").
///
/// Proxies: curl's environment variables work as everywhere (`http_proxy`, `https_proxy`, `all_proxy`, `no_proxy`).
package final class CurlMulti {
    /// Idle connections kept for reuse, over all hosts: some for each of the upstreams in use at a time.
    static let maximumIdleConnections = 64

    /// Name and version of libcurl.
    package static var libraryVersion: String {
        // What it was built with follows, each after a space.
        String(String(cString: curl_version()).prefix { $0 != " " })
    }

    private let loop: EventLoop
    private let handle: UnsafeMutableRawPointer
    private var timer: Timer?
    /// Whether curl wants to be called as soon as others have had their turn.
    private var isTimeoutDue = false
    private var polls: [Int32: SocketPoll] = [:]
    /// Running transfers, by easy handle.
    private var transfers: [UnsafeMutableRawPointer: Transfer] = [:]
    private var isClosed = false

    /// Nil when curl cannot be set up: no memory.
    package init?(on loop: EventLoop) {
        // Counted, and safe to call more than once; never undone, since resolver threads may outlive every handle.
        guard curl_global_init(Int(CURL_GLOBAL_DEFAULT)) == CURLE_OK, let handle = curl_multi_init() else { return nil }
        self.loop = loop
        self.handle = handle
        timer = Timer(on: loop) { [unowned self] in timedOut() }
        // Unretained: `close` ends every call back before this object can go.
        let context = Unmanaged.passUnretained(self).toOpaque()
        ccurl_multi_set_pointer(handle, CURLMOPT_SOCKETDATA, context)
        ccurl_multi_set_socket(handle) { _, socket, what, context, _ in
            CurlMulti.from(context).watch(socket, what)
            return 0
        }
        ccurl_multi_set_pointer(handle, CURLMOPT_TIMERDATA, context)
        ccurl_multi_set_timer(handle) { _, milliseconds, context in
            CurlMulti.from(context).setTimeout(milliseconds)
            return 0
        }
        ccurl_multi_set_long(handle, CURLMOPT_MAXCONNECTS, CurlMulti.maximumIdleConnections)
        ccurl_multi_set_long(handle, CURLMOPT_PIPELINING, CURLPIPE_NOTHING)
    }

    /// Transfers under way.
    package var transferCount: Int { transfers.count }

    deinit { precondition(isClosed, "a CurlMulti must be closed before it goes") }

    /// Starts a transfer; soon, not now.
    package func start(_ transfer: Transfer) {
        loop.deferred.enqueue { [self] in add(transfer) }
    }

    /// Ends every transfer without a word to its owner, closes all connections. Not to be called from a callback.
    package func close() {
        guard !isClosed else { return }
        isClosed = true
        for (easy, transfer) in transfers {
            curl_multi_remove_handle(handle, easy)
            transfer.release()
        }
        transfers.removeAll()
        curl_multi_cleanup(handle)
        for poll in polls.values { poll.close() }
        polls.removeAll()
        timer?.close()
        timer = nil
    }

    // MARK: Deferred actions

    private func add(_ transfer: Transfer) {
        guard !isClosed, !transfer.isOver else { return }
        guard let easy = transfer.prepare(on: self) else { return transfer.finish(.init(CURLE_FAILED_INIT)) }
        transfers[easy] = transfer
        let code = curl_multi_add_handle(handle, easy)
        if code != CURLM_OK {
            transfers[easy] = nil
            return transfer.finish(.init(CURLE_FAILED_INIT))
        }
        settle()
    }

    /// Takes a transfer out, whatever it is doing; the transfer asks for this in a deferred action.
    func remove(_ easy: UnsafeMutableRawPointer) {
        guard let transfer = transfers.removeValue(forKey: easy) else { return }
        curl_multi_remove_handle(handle, easy)
        transfer.release()
        settle()
    }

    /// Lets a paused transfer go on; the transfer asks for this in a deferred action.
    func unpause(_ easy: UnsafeMutableRawPointer) {
        guard let transfer = transfers[easy] else { return }
        // This delivers what curl had kept, by calling back from here; curl does not report its failure by itself.
        let code = curl_easy_pause(easy, CURLPAUSE_CONT)
        if code != CURLE_OK { return end(transfer, easy, code) }
        settle()
    }

    // MARK: Driving curl

    private func act(_ socket: Int32, _ events: Int32) {
        guard !isClosed else { return }
        var running: Int32 = 0
        curl_multi_socket_action(handle, socket, events, &running)
        settle()
    }

    /// Reads what has finished; after everything that may have made curl work.
    private func settle() {
        var left: Int32 = 0
        while let message = curl_multi_info_read(handle, &left) {
            // The message does not survive the handle's removal, so both are copied first.
            guard message.pointee.msg == CURLMSG_DONE, let easy = message.pointee.easy_handle else { continue }
            let code = message.pointee.data.result
            guard let transfer = transfers[easy] else { continue }
            transfer.isDone = true
            loop.deferred.enqueue { [self] in end(transfer, easy, code) }
        }
    }

    private func end(_ transfer: Transfer, _ easy: UnsafeMutableRawPointer, _ code: CURLcode) {
        guard !isClosed, transfers.removeValue(forKey: easy) != nil else { return }
        let outcome = transfer.outcome(code)
        curl_multi_remove_handle(handle, easy)
        transfer.release()
        settle()
        transfer.finish(outcome)
    }

    private func timedOut() { act(CURL_SOCKET_BAD, 0) }

    // MARK: Called by curl, from inside its own calls: nothing of curl's from here

    private func setTimeout(_ milliseconds: Int) {
        isTimeoutDue = milliseconds == 0
        guard milliseconds <= 0 else {
            timer?.start(afterMilliseconds: UInt64(clamping: milliseconds))
            return
        }
        timer?.stop()
        // At once is how curl lets others go first. libuv (1.44) would run a timer that is started anew within its
        // callback before anything else.
        guard isTimeoutDue else { return }
        loop.deferred.enqueue { [self] in
            guard isTimeoutDue else { return }
            isTimeoutDue = false
            timedOut()
        }
    }

    private func watch(_ socket: Int32, _ what: Int32) {
        if what == CURL_POLL_REMOVE {
            polls.removeValue(forKey: socket)?.close()
            return
        }
        guard let poll = polls[socket] ?? open(socket) else { return }
        poll.watch(readable: what & CURL_POLL_IN != 0, writable: what & CURL_POLL_OUT != 0)
    }

    private func open(_ socket: Int32) -> SocketPoll? {
        let poll = SocketPoll(on: loop, descriptor: socket) { [unowned self] readable, writable, _ in
            let events = (readable ? CURL_CSELECT_IN : 0) | (writable ? CURL_CSELECT_OUT : 0)
            // Told of an error, curl would end the transfer without reading what came before it.
            act(socket, events == 0 ? CURL_CSELECT_ERR : events)
        }
        polls[socket] = poll
        if poll == nil { loop.deferred.enqueue { [self] in act(socket, CURL_CSELECT_ERR) } }
        return poll
    }

    private static func from(_ context: UnsafeMutableRawPointer?) -> CurlMulti {
        // Set in `init`, before curl could call.
        Unmanaged<CurlMulti>.fromOpaque(context.unsafelyUnwrapped).takeUnretainedValue()
    }
}

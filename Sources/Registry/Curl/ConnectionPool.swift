// libcurl on the loop: its sockets become SocketPolls, its one timeout a Timer. curl calls back from inside its own
// functions, where it must not be called; such calls wait in the loop's deferred queue.
//
// A multi handle holds what curl keeps between requests: idle connections, TLS sessions, authorities that it has read
// (CURLOPT_CA_CACHE_TIMEOUT(3)) and addresses of names. CurlMulti replaces the pool where all of it must be renewed.

internal import CCurl
internal import Glibc

/// A curl multi handle driven by the loop (libcurl's "curl_multi_socket_action").
final class ConnectionPool {
    /// Idle connections kept for reuse, over all hosts: a few for each upstream that is in use.
    static let maximumIdleConnections = 64

    /// Running attempts in this pool.
    private(set) var transferCount = 0

    private let loop: EventLoop
    private let handle: UnsafeMutableRawPointer
    private let onDone: (UnsafeMutableRawPointer, CURLcode) -> Void
    private var timer: Timer?
    /// Whether curl has asked to be called again as soon as other events have been handled.
    private var isTimeoutDue = false
    private var sockets: CurlSockets?
    private var isClosed = false

    /// Nil when curl cannot be set up, for lack of memory.
    /// - Parameter onDone: called with a finished easy handle and its result; curl must not be called from it.
    init?(on loop: EventLoop, onDone: @escaping (UnsafeMutableRawPointer, CURLcode) -> Void) {
        // Reference-counted, so safe to call again; never undone, since resolver threads may outlive every handle.
        guard curl_global_init(Int(CURL_GLOBAL_DEFAULT)) == CURLE_OK, let handle = curl_multi_init() else { return nil }
        self.loop = loop
        self.handle = handle
        self.onDone = onDone
        timer = Timer(on: loop) { [unowned self] in timedOut() }
        sockets = CurlSockets(on: loop) { [unowned self] in act($0, $1) }
        // Unretained: `close` ends all callbacks before this object is freed.
        let context = Unmanaged.passUnretained(self).toOpaque()
        ccurl_multi_set_pointer(handle, CURLMOPT_SOCKETDATA, context)
        ccurl_multi_set_socket(handle) { _, socket, what, context, _ in
            ConnectionPool.from(context).sockets?.watch(socket, what)
            return 0
        }
        ccurl_multi_set_pointer(handle, CURLMOPT_TIMERDATA, context)
        ccurl_multi_set_timer(handle) { _, milliseconds, context in
            ConnectionPool.from(context).setTimeout(milliseconds)
            return 0
        }
        ccurl_multi_set_long(handle, CURLMOPT_MAXCONNECTS, ConnectionPool.maximumIdleConnections)
        ccurl_multi_set_long(handle, CURLMOPT_PIPELINING, CURLPIPE_NOTHING)
        MultiOptions.apply(to: handle)
    }

    deinit { precondition(isClosed, "a ConnectionPool must be closed before it goes") }

    /// Starts a transfer; false when curl refuses it.
    func add(_ easy: UnsafeMutableRawPointer) -> Bool {
        guard curl_multi_add_handle(handle, easy) == CURLM_OK else { return false }
        transferCount += 1
        return true
    }

    /// Ends a transfer in any state.
    func remove(_ easy: UnsafeMutableRawPointer) {
        transferCount -= 1
        curl_multi_remove_handle(handle, easy)
    }

    /// Reads which transfers have finished; must follow every call that may have made curl work.
    func settle() {
        var left: Int32 = 0
        while let message = curl_multi_info_read(handle, &left) {
            // The message is freed with the handle, so both fields are copied first.
            guard message.pointee.msg == CURLMSG_DONE, let easy = message.pointee.easy_handle else { continue }
            onDone(easy, message.pointee.data.result)
        }
    }

    /// Closes all connections. There must be no transfers. Must not be called from a callback of curl.
    func close() {
        guard !isClosed else { return }
        isClosed = true
        curl_multi_cleanup(handle)
        sockets?.close()
        timer?.close()
        timer = nil
    }

    private func act(_ socket: Int32, _ events: Int32) {
        guard !isClosed else { return }
        var running: Int32 = 0
        curl_multi_socket_action(handle, socket, events, &running)
        settle()
    }

    private func timedOut() { act(CURL_SOCKET_BAD, 0) }

    private static func from(_ context: UnsafeMutableRawPointer?) -> ConnectionPool {
        // Set in `init`, before curl can call back.
        Unmanaged<ConnectionPool>.fromOpaque(context.unsafelyUnwrapped).takeUnretainedValue()
    }
}

// MARK: - Called by curl, from inside its own functions: curl must not be called from here

extension ConnectionPool {
    /// curl has opened a socket.
    func opened(_ socket: Int32) { sockets?.opened(socket) }

    /// Makes curl close sockets through a callback, since it does not report every close to the code that watches them.
    /// A connection may outlive the attempt that opened it, so the callback gets this object, which outlives all
    /// connections.
    func setClosingCallback(_ easy: UnsafeMutableRawPointer) -> Bool {
        let context = Unmanaged.passUnretained(self).toOpaque()
        guard ccurl_set_pointer(easy, CURLOPT_CLOSESOCKETDATA, context) == CURLE_OK else { return false }
        return ccurl_set_closesocket(easy) { context, socket in
            ConnectionPool.from(context).sockets?.closing(socket)
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

// The sockets that curl wants watched (libcurl's "CURLMOPT_SOCKETFUNCTION"), by descriptor. curl closes descriptors
// without always reporting it at once, so a deferred action first checks that its descriptor is still the same socket.

internal import CCurl

/// Watches curl's sockets on the loop.
final class CurlSockets {
    private let loop: EventLoop
    /// Called when a socket is ready, with curl's bits (`CURL_CSELECT_IN` and so on); from the loop.
    private let onReady: (Int32, Int32) -> Void
    private var polls: [Int32: SocketPoll] = [:]
    /// Sockets that could not be watched, each with a sequence number for its failure.
    private var failures: [Int32: UInt64] = [:]
    private var failureTotal: UInt64 = 0

    init(on loop: EventLoop, onReady: @escaping (Int32, Int32) -> Void) {
        self.loop = loop
        self.onReady = onReady
    }

    /// Watches a socket as curl asks; called from inside curl.
    /// - Parameter what: `CURL_POLL_IN` and so on.
    func watch(_ socket: Int32, _ what: Int32) {
        if what == CURL_POLL_REMOVE {
            failures[socket] = nil
            polls.removeValue(forKey: socket)?.close()
            return
        }
        guard let poll = polls[socket] ?? open(socket) else { return }
        poll.watch(readable: what & CURL_POLL_IN != 0, writable: what & CURL_POLL_OUT != 0)
    }

    /// curl has opened a socket. If its descriptor is watched already, curl has closed the old socket and will not ask
    /// for the new one to be watched, so it is watched in its place.
    func opened(_ socket: Int32) { polls[socket]?.watchAnew() }

    /// curl is about to close a socket, which it does not always report by `CURL_POLL_REMOVE`.
    func closing(_ socket: Int32) { polls[socket]?.suspend() }

    func close() {
        for poll in polls.values { poll.close() }
        polls.removeAll()
        failures.removeAll()
    }

    private func open(_ socket: Int32) -> SocketPoll? {
        let poll = SocketPoll(on: loop, descriptor: socket) { [unowned self] readable, writable, _ in
            let events = (readable ? CURL_CSELECT_IN : 0) | (writable ? CURL_CSELECT_OUT : 0)
            // On CURL_CSELECT_ERR curl would end the transfer without reading what came before the error.
            onReady(socket, events == 0 ? CURL_CSELECT_ERR : events)
        }
        polls[socket] = poll
        if poll == nil { reportFailure(socket) }
        return poll
    }

    private func reportFailure(_ socket: Int32) {
        failureTotal &+= 1
        let number = failureTotal
        failures[socket] = number
        loop.deferred.enqueue { [self] in
            guard failures[socket] == number else { return }
            failures[socket] = nil
            onReady(socket, CURL_CSELECT_ERR)
        }
    }
}

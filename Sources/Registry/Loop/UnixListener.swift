// Listening Unix sockets. An accepted connection is a `TCPStream` like any other, and `Connection` serves both kinds.

internal import Glibc

/// Accepts connections on a path, from processes of this user and of root.
package final class UnixListener {
    /// Enough for the operator's few commands.
    static let backlog: Int32 = 64

    private let path: String
    private let acceptor: Acceptor
    private var isClosed = false

    /// Binds and listens. An existing socket is replaced: the caller knows that its owner is gone.
    /// - Parameter connected: gets each connection's descriptor, and owns it from then on.
    package init(on loop: EventLoop, path: String, connected: @escaping (Int32) -> Void) throws(LoopError) {
        self.path = path
        let address = try UnixAddress(path)
        address.remove()
        let descriptor = try address.socket(.bind)
        do throws(LoopError) {
            // Connecting fails before `listen`, so other users cannot connect before this restriction.
            try address.restrict()
            let flags = fcntl(descriptor, F_GETFL)
            guard fcntl(descriptor, F_SETFL, flags | O_NONBLOCK) == 0, listen(descriptor, UnixListener.backlog) == 0
            else { throw LoopError(call: "listen on \(path)", code: -errno) }
        } catch {
            Glibc.close(descriptor)
            throw error
        }
        acceptor = try Acceptor(on: loop, descriptor: descriptor, connected: connected)
    }

    /// Stops listening, and removes the socket's name.
    package func close() {
        guard !isClosed else { return }
        isClosed = true
        acceptor.close()
        if let address = try? UnixAddress(path) { address.remove() }
    }
}

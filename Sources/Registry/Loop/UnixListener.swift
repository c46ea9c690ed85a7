// A listening Unix socket: what is accepted here is a `TCPStream` like any other, and one `Connection` serves both.

internal import Glibc

/// Accepts connections on a name in the file system, of processes of this user and of root.
package final class UnixListener {
    /// The operator's own few commands.
    static let backlog: Int32 = 64

    private let path: String
    private let acceptor: Acceptor
    private var isClosed = false

    /// Binds and listens. A socket that is there already is replaced: the caller knows that its owner has gone.
    /// - Parameter connected: given each connection's descriptor, which is then its own.
    package init(on loop: EventLoop, path: String, connected: @escaping (Int32) -> Void) throws(LoopError) {
        self.path = path
        let address = try UnixAddress(path)
        address.remove()
        let descriptor = try address.socket(.bind)
        do throws(LoopError) {
            // Until somebody listens nobody can connect, so there is no moment at which others could.
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

    /// Stops listening, and takes the name away.
    package func close() {
        guard !isClosed else { return }
        isClosed = true
        acceptor.close()
        if let address = try? UnixAddress(path) { address.remove() }
    }
}

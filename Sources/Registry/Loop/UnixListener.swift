// A listening Unix socket. libuv's TCP handle is a stream on any connection-oriented socket that it is handed
// (`uv_tcp_open`), so that what is accepted here is a `TCPStream` like any other, and one `Connection` serves both.

internal import CLibuv
internal import Glibc

/// Accepts connections on a name in the file system, of processes of this user and of root.
package final class UnixListener {
    /// The operator's own few commands.
    static let backlog: Int32 = 64

    private let path: String
    private let handle: Handle<uv_tcp_t>
    private let connected: (UnixListener) -> Void

    /// Binds and listens. A socket that is there already is replaced: the caller knows that its owner has gone.
    /// - Parameter connected: called for each connection; must call `accept(into:)`.
    package init(
        on loop: EventLoop, path: String, connected: @escaping (UnixListener) -> Void
    ) throws(LoopError) {
        self.path = path
        self.connected = connected
        handle = try Handle("uv_tcp_init") { uv_tcp_init(loop.pointer, $0) }
        handle.owner = self
        do throws(LoopError) {
            let address = try UnixAddress(path)
            address.remove()
            let descriptor = try address.socket(.bind)
            let opened = uv_tcp_open(handle.pointer, descriptor)
            if opened != 0 { Glibc.close(descriptor) }
            try LoopError.check(opened, "uv_tcp_open")
            // Until somebody listens nobody can connect, so there is no moment at which others could.
            try address.restrict()
            let code = uv_listen(stream, UnixListener.backlog) { raw, status in
                guard status == 0, let raw else { return }
                let tcp = UnsafeMutableRawPointer(raw).assumingMemoryBound(to: uv_tcp_t.self)
                let listener = Handle.owner(of: tcp, as: UnixListener.self)
                listener.connected(listener)
            }
            try LoopError.check(code, "listen on \(path)")
        } catch {
            handle.close()
            throw error
        }
    }

    /// Hands the waiting connection to `stream`; false when it has gone in the meantime.
    package func accept(into stream: TCPStream) -> Bool { stream.accept(from: self.stream) }

    /// Stops listening, and takes the name away.
    package func close() {
        guard !handle.isClosed else { return }
        handle.close()
        if let address = try? UnixAddress(path) { address.remove() }
    }

    private var stream: UnsafeMutablePointer<uv_stream_t> {
        UnsafeMutableRawPointer(handle.pointer).assumingMemoryBound(to: uv_stream_t.self)
    }
}

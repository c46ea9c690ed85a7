// Readiness of sockets that are not connections of this server: curl's, and listening ones.

internal import CLibuv

/// Watches one descriptor (docs.libuv.org, "uv_poll_t"). It keeps itself alive until `close`.
package final class SocketPoll {
    private let handle: Handle<uv_poll_t>
    private let loop: EventLoop
    private let ready: (_ readable: Bool, _ writable: Bool, _ failed: Bool) -> Void

    /// Nil when the descriptor cannot be polled.
    package init?(
        on loop: EventLoop, descriptor: Int32,
        _ ready: @escaping (_ readable: Bool, _ writable: Bool, _ failed: Bool) -> Void
    ) {
        guard let handle = try? Handle<uv_poll_t>("uv_poll_init", { uv_poll_init(loop.pointer, $0, descriptor) })
        else { return nil }
        self.handle = handle
        self.loop = loop
        self.ready = ready
        handle.owner = self
    }

    /// Says what to wait for; neither stops the watch.
    package func watch(readable: Bool, writable: Bool) {
        guard !handle.isClosed else { return }
        let events = (readable ? Int32(UV_READABLE.rawValue) : 0) | (writable ? Int32(UV_WRITABLE.rawValue) : 0)
        guard events != 0 else {
            uv_poll_stop(handle.pointer)
            return
        }
        uv_poll_start(handle.pointer, events) { raw, status, events in
            let readable = events & Int32(UV_READABLE.rawValue) != 0
            let writable = events & Int32(UV_WRITABLE.rawValue) != 0
            Handle.withOwner(of: raw, as: SocketPoll.self) { poll in
                poll.loop.wake()
                poll.ready(readable, writable, status < 0)
            }
        }
    }

    /// Unregisters the descriptor at once, so that whoever is given the same number next is not disturbed; only the
    /// memory waits for libuv.
    package func close() {
        guard !handle.isClosed else { return }
        uv_poll_stop(handle.pointer)
        handle.close()
    }
}

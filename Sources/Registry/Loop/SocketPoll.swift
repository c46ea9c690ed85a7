// Readiness of sockets other than this server's connections: curl's sockets and listening sockets.

internal import CLibuv

/// Watches one descriptor (docs.libuv.org, "uv_poll_t") and reports its readiness in every iteration for as long as it
/// lasts. It keeps itself alive until `close`.
package final class SocketPoll {
    /// A socket with an error is reported as ready for everything that is watched, and as `failed`: the owner can still
    /// read what came before the error, and the failing call returns the error. `failed` alone means that the
    /// descriptor cannot be watched.
    package typealias OnReady = (_ readable: Bool, _ writable: Bool, _ failed: Bool) -> Void

    private let handle: Handle<uv_poll_t>
    private let loop: EventLoop
    private let onReady: OnReady
    /// The events that the owner waits for, as libuv's flags.
    private var wanted: Int32 = 0

    /// Nil when the descriptor cannot be watched.
    package init?(on loop: EventLoop, descriptor: Int32, _ onReady: @escaping OnReady) {
        guard let handle = try? Handle<uv_poll_t>("uv_poll_init", { uv_poll_init(loop.pointer, $0, descriptor) })
        else { return nil }
        self.handle = handle
        self.loop = loop
        self.onReady = onReady
        handle.owner = self
    }

    /// Sets the events to wait for; false for both stops the watch.
    package func watch(readable: Bool, writable: Bool) {
        guard !handle.isClosed else { return }
        wanted =
            (readable ? Int32(UV_READABLE.rawValue | UV_DISCONNECT.rawValue) : 0)
            | (writable ? Int32(UV_WRITABLE.rawValue) : 0)
        start()
    }

    /// Stops the watch before the descriptor is closed: libuv aborts the process when it has to watch a closed
    /// descriptor.
    func suspend() {
        if !handle.isClosed { uv_poll_stop(handle.pointer) }
    }

    /// Watches another socket that got the same descriptor, for the same events as before.
    func watchAnew() {
        if !handle.isClosed { start() }
    }

    /// Stops the watch at once, so that the next owner of the descriptor number is not affected; the memory is freed in
    /// libuv's close callback.
    package func close() {
        guard !handle.isClosed else { return }
        uv_poll_stop(handle.pointer)
        handle.close()
    }

    private func start() {
        guard wanted != 0 else {
            uv_poll_stop(handle.pointer)
            return
        }
        let code = uv_poll_start(handle.pointer, wanted) { raw, status, events in
            Handle.withOwner(of: raw, as: SocketPoll.self) { poll in
                poll.loop.wake()
                poll.report(failed: status < 0, events)
            }
        }
        if code < 0 { loop.deferred.enqueue { [self] in refused() } }
    }

    private func report(failed: Bool, _ events: Int32) {
        // On an error libuv reports no events and stops watching.
        let ready = failed ? wanted : events & wanted
        onReady(
            ready & Int32(UV_READABLE.rawValue | UV_DISCONNECT.rawValue) != 0,
            ready & Int32(UV_WRITABLE.rawValue) != 0, failed)
        if failed, wanted != 0, !handle.isClosed { start() }
    }

    private func refused() {
        guard !handle.isClosed else { return }
        onReady(false, false, true)
    }
}

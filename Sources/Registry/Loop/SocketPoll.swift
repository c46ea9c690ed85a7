// Readiness of sockets that are not connections of this server: curl's, and listening ones.

internal import CLibuv

/// Watches one descriptor (docs.libuv.org, "uv_poll_t") and reports what it is ready for, as long as it is ready and
/// the owner waits for it. It keeps itself alive until `close`.
package final class SocketPoll {
    /// A socket in error is reported ready for everything that is waited for, and `failed`: what came before the error
    /// can still be read, and the call that meets the error says which it is. `failed` alone: the descriptor cannot be
    /// watched.
    package typealias OnReady = (_ readable: Bool, _ writable: Bool, _ failed: Bool) -> Void

    private let handle: Handle<uv_poll_t>
    private let loop: EventLoop
    private let onReady: OnReady
    /// What the owner waits for, as libuv's flags.
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

    /// Sets what to wait for; neither stops the watch.
    package func watch(readable: Bool, writable: Bool) {
        guard !handle.isClosed else { return }
        wanted =
            (readable ? Int32(UV_READABLE.rawValue | UV_DISCONNECT.rawValue) : 0)
            | (writable ? Int32(UV_WRITABLE.rawValue) : 0)
        start()
    }

    /// Stops the watch, since the descriptor is about to be closed: libuv ends the process when it has to watch a
    /// descriptor that is not open.
    func suspend() {
        if !handle.isClosed { uv_poll_stop(handle.pointer) }
    }

    /// Continues with another socket that has been given the same descriptor, for what was waited for last.
    func watchAnew() {
        if !handle.isClosed { start() }
    }

    /// Stops the watch at once, so that another owner of the same descriptor number is not disturbed; only the memory
    /// waits for libuv.
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
        // Upon an error libuv names no events, and watches no longer.
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

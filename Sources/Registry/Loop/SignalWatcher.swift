// POSIX signals as events of the loop.

internal import CLibuv

/// Watches one signal (docs.libuv.org, "uv_signal_t"). It does not keep the loop running.
package final class SignalWatcher {
    private let handle: Handle<uv_signal_t>
    private let received: () -> Void

    package init(on loop: EventLoop, signal: Int32, _ received: @escaping () -> Void) throws(LoopError) {
        self.received = received
        handle = try Handle("uv_signal_init") { uv_signal_init(loop.pointer, $0) }
        handle.owner = self
        let code = uv_signal_start(
            handle.pointer, { raw, _ in Handle.withOwner(of: raw, as: SignalWatcher.self) { $0.received() } }, signal)
        guard code == 0 else {
            handle.close()
            throw LoopError(call: "uv_signal_start", code: code)
        }
        handle.unreference()
        // Its signals come through a pipe that libuv begins to watch when its loop next runs.
        loop.letLibuvRun()
    }

    package func close() { handle.close() }
}

// POSIX signals as events of the loop.

internal import CLibuv

/// Watches one signal (docs.libuv.org, "uv_signal_t"). It does not keep the loop running.
package final class SignalWatcher {
    private let handle: Handle<uv_signal_t>
    private let loop: EventLoop
    private let onSignal: () -> Void

    package init(on loop: EventLoop, signal: Int32, _ onSignal: @escaping () -> Void) throws(LoopError) {
        self.loop = loop
        self.onSignal = onSignal
        handle = try Handle("uv_signal_init") { uv_signal_init(loop.pointer, $0) }
        handle.owner = self
        let code = uv_signal_start(
            handle.pointer,
            { raw, _ in
                Handle.withOwner(of: raw, as: SignalWatcher.self) { watcher in
                    watcher.loop.wake()
                    watcher.onSignal()
                }
            }, signal)
        guard code == 0 else {
            handle.close()
            throw LoopError(call: "uv_signal_start", code: code)
        }
        handle.unreference()
    }

    package func close() { handle.close() }
}

// How long the loop works at a time. Callbacks run inside libuv's poll phase, so the time between two polls says
// nothing: busy time is the wall's time less what libuv says it spent waiting.

internal import CLibuv

/// Measures each iteration of a loop (docs.libuv.org, "uv_metrics_idle_time").
final class TurnMeter {
    private let loop: UnsafeMutablePointer<uv_loop_t>
    private let handle: Handle<uv_prepare_t>
    private var lastNanoseconds: UInt64
    private var lastIdleNanoseconds: UInt64 = 0
    private(set) var turns = HistogramTable(.turns)

    /// Before the loop runs for the first time. Costs each iteration two clock readings, and one that waits a second
    /// call of `epoll_wait`: libuv first asks without waiting.
    init(on loop: UnsafeMutablePointer<uv_loop_t>) throws(LoopError) {
        // Variadic in C; this option takes no argument.
        try LoopError.check(clibuv_measure_idle_time(loop), "uv_loop_configure")
        self.loop = loop
        lastNanoseconds = uv_hrtime()
        handle = try Handle("uv_prepare_init") { uv_prepare_init(loop, $0) }
        handle.owner = self
        uv_prepare_start(handle.pointer) { Handle.owner(of: $0, as: TurnMeter.self).turn() }
        handle.unreference()
    }

    var idleNanoseconds: UInt64 { uv_metrics_idle_time(loop) }

    func close() { handle.close() }

    private func turn() {
        let (now, idle) = (uv_hrtime(), uv_metrics_idle_time(loop))
        let waited = idle &- lastIdleNanoseconds
        let wall = now &- lastNanoseconds
        // Two clock readings, so that the difference can be a little below zero.
        turns.observe(wall > waited ? wall - waited : 0)
        (lastNanoseconds, lastIdleNanoseconds) = (now, idle)
    }
}

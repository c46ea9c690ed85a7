// The busy time of loop iterations, and the clock that requests are timed by. libuv can measure its waits
// (UV_METRICS_IDLE_TIME), but then waits in two system calls and takes a lock twice an iteration. Here every callback
// calls `EventLoop.wake`, and the first call after a wait marks its end.

internal import CLibuv

/// Measures each iteration of a loop: from the first callback after a wait to the next wait.
final class LoopMetrics {
    private(set) var iterations = HistogramTable(.iterations)
    /// Time spent waiting for events.
    private(set) var idleNanoseconds: UInt64 = 0
    /// The latest reading of the clock; not older than the start of the current iteration.
    private(set) var recentNanoseconds = uv_hrtime()
    private var wokeNanoseconds: UInt64
    private var sleptNanoseconds: UInt64 = 0
    private var isAsleep = false

    init() { wokeNanoseconds = recentNanoseconds }

    /// Must be called when the loop is about to wait for events.
    func sleep() {
        let now = read()
        iterations.observe(now &- wokeNanoseconds)
        sleptNanoseconds = now
        isAsleep = true
    }

    /// Must be called when the wait has ended, with or without an event.
    @inline(__always)
    func wake() {
        if isAsleep { begin() }
    }

    private func begin() {
        isAsleep = false
        wokeNanoseconds = read()
        idleNanoseconds &+= wokeNanoseconds &- sleptNanoseconds
    }

    /// Reads the clock and stores the reading.
    func read() -> UInt64 {
        recentNanoseconds = uv_hrtime()
        return recentNanoseconds
    }
}

/// Hooks that run in each iteration: before the loop waits for events, and after their callbacks have run.
///
/// Source: docs.libuv.org, "uv_prepare_t", "uv_check_t".
final class LoopHooks {
    private let deferred: DeferredQueue
    private let metrics: LoopMetrics
    private let prepare: Handle<uv_prepare_t>
    private let check: Handle<uv_check_t>

    init(
        on loop: UnsafeMutablePointer<uv_loop_t>, deferred: DeferredQueue, metrics: LoopMetrics
    ) throws(LoopError) {
        self.deferred = deferred
        self.metrics = metrics
        prepare = try Handle("uv_prepare_init") { uv_prepare_init(loop, $0) }
        check = try Handle("uv_check_init") { uv_check_init(loop, $0) }
        prepare.owner = self
        check.owner = self
        uv_prepare_start(prepare.pointer) { raw in
            Handle.withOwner(of: raw, as: LoopHooks.self) { hooks in
                hooks.deferred.drain()
                hooks.metrics.sleep()
            }
        }
        uv_check_start(check.pointer) { raw in
            Handle.withOwner(of: raw, as: LoopHooks.self) { hooks in
                // Needed for a wait that ended by its timeout, without an event.
                hooks.metrics.wake()
                hooks.deferred.drain()
            }
        }
        // The hooks run in every iteration and must not keep the loop running.
        prepare.unreference()
        check.unreference()
    }

    func close() {
        prepare.close()
        check.close()
    }
}

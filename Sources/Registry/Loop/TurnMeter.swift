// How long the loop works at a time, and the clock that requests are timed by. libuv can measure how long it waits
// (UV_METRICS_IDLE_TIME), but then waits in two calls, and takes a lock twice a turn. Here the wait ends with the first
// callback that comes out of it: each says so (`EventLoop.wake`), and all but the first of a turn do nothing by it.

internal import CLibuv

/// Measures each iteration of a loop: from the first callback after a wait to the next wait.
final class TurnMeter {
    private(set) var turns = HistogramTable(.turns)
    /// Time spent waiting for events.
    private(set) var idleNanoseconds: UInt64 = 0
    /// When somebody last looked at the clock; in a turn, not before the turn began.
    private(set) var recentNanoseconds = uv_hrtime()
    private var wokeNanoseconds: UInt64
    private var sleptNanoseconds: UInt64 = 0
    private var isAsleep = false

    init() { wokeNanoseconds = recentNanoseconds }

    /// The loop is about to wait for events.
    func sleep() {
        let now = read()
        turns.observe(now &- wokeNanoseconds)
        sleptNanoseconds = now
        isAsleep = true
    }

    /// Something has happened.
    @inline(__always)
    func wake() {
        if isAsleep { begin() }
    }

    private func begin() {
        isAsleep = false
        wokeNanoseconds = read()
        idleNanoseconds &+= wokeNanoseconds &- sleptNanoseconds
    }

    /// Looks at the clock.
    func read() -> UInt64 {
        recentNanoseconds = uv_hrtime()
        return recentNanoseconds
    }
}

/// What is done in each turn of a loop: before it waits for events, and when those have been dealt with.
final class TurnHooks {
    private let deferred: DeferredQueue
    private let meter: TurnMeter
    private let prepare: Handle<uv_prepare_t>
    private let check: Handle<uv_check_t>

    init(
        on loop: UnsafeMutablePointer<uv_loop_t>, deferred: DeferredQueue, meter: TurnMeter
    ) throws(LoopError) {
        self.deferred = deferred
        self.meter = meter
        prepare = try Handle("uv_prepare_init") { uv_prepare_init(loop, $0) }
        check = try Handle("uv_check_init") { uv_check_init(loop, $0) }
        prepare.owner = self
        check.owner = self
        uv_prepare_start(prepare.pointer) { raw in
            Handle.withOwner(of: raw, as: TurnHooks.self) { hooks in
                hooks.deferred.drain()
                hooks.meter.sleep()
            }
        }
        uv_check_start(check.pointer) { raw in
            Handle.withOwner(of: raw, as: TurnHooks.self) { hooks in
                // A wait that ended without an event: by its time.
                hooks.meter.wake()
                hooks.deferred.drain()
            }
        }
        prepare.unreference()
        check.unreference()
    }

    func close() {
        prepare.close()
        check.close()
    }
}

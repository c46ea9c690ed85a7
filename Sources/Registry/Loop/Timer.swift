// Timers of the loop, in milliseconds.

internal import CLibuv

/// A one-shot or repeating timer (docs.libuv.org, "uv_timer_t"). It keeps itself alive until `close`.
package final class Timer {
    private let handle: Handle<uv_timer_t>
    private let loop: EventLoop
    private let fire: () -> Void

    /// Makes a stopped timer. `uv_timer_init` cannot fail (it only fills in the struct), hence no throws.
    package init(on loop: EventLoop, _ fire: @escaping () -> Void) {
        self.loop = loop
        self.fire = fire
        do {
            handle = try Handle("uv_timer_init") { uv_timer_init(loop.pointer, $0) }
        } catch {
            preconditionFailure("uv_timer_init returned an error, which libuv documents it never does: \(error)")
        }
        handle.owner = self
    }

    /// Starts or restarts it; the delay counts from the start of the current iteration. `everyMilliseconds` 0 means
    /// once.
    package func start(afterMilliseconds: UInt64, everyMilliseconds: UInt64 = 0) {
        guard !handle.isClosed else { return }
        // Outside `run`, libuv's time does not advance.
        if !loop.isRunning { uv_update_time(loop.pointer) }
        // At least 1: libuv 1.44 runs a timer without delay in the same pass over timers that started it, so a timer
        // that restarts itself would never let that pass end.
        uv_timer_start(
            handle.pointer,
            { raw in
                Handle.withOwner(of: raw, as: Timer.self) { timer in
                    timer.loop.wake()
                    timer.fire()
                }
            }, max(1, afterMilliseconds), everyMilliseconds)
    }

    package func stop() {
        guard !handle.isClosed else { return }
        uv_timer_stop(handle.pointer)
    }

    /// Lets the loop end while this timer is active.
    package func unreference() { handle.unreference() }

    package func close() { handle.close() }
}

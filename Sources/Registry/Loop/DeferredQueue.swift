// The one named place for what happens once a turn of the loop. C callbacks record what they saw and enqueue; here
// connections are closed, curl is un-paused, easy handles are removed, always from a clean stack.

internal import CLibuv
internal import DequeModule

/// Actions to run soon, on the loop, outside anybody's callback.
///
/// Drained after the poll phase and again before it (`TurnHooks`), so that what a timer enqueues does not wait for the
/// next input. An action may enqueue others; those run in the same drain up to `maximumActionsPerDrain`.
package final class DeferredQueue {
    /// Actions run in one drain before the loop gets to poll again: enough for any real burst, small enough that a
    /// queue which feeds itself cannot starve the sockets.
    static let maximumActionsPerDrain = 4096

    private var actions: Deque<() -> Void> = []
    /// Active only while actions are left over: an active idle handle keeps the poll from blocking.
    private let idle: Handle<uv_idle_t>
    private var idleIsActive = false

    init(on loop: UnsafeMutablePointer<uv_loop_t>) throws(LoopError) {
        idle = try Handle("uv_idle_init") { uv_idle_init(loop, $0) }
    }

    /// Runs `action` on the loop, soon, after the current callback has returned.
    package func enqueue(_ action: @escaping () -> Void) {
        actions.append(action)
        wake()
    }

    func close() {
        drain()
        idle.close()
    }

    @inline(__always)
    func drain() {
        // Twice a turn, and nearly always so.
        if idleIsActive { runActions() }
    }

    private func runActions() {
        var budget = DeferredQueue.maximumActionsPerDrain
        while budget > 0, let action = actions.popFirst() {
            action()
            budget -= 1
        }
        if actions.isEmpty, idleIsActive {
            uv_idle_stop(idle.pointer)
            idleIsActive = false
        }
    }

    private func wake() {
        guard !idleIsActive, !idle.isClosed else { return }
        idleIsActive = true
        uv_idle_start(idle.pointer) { _ in }
    }
}

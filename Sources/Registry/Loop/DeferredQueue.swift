// The one place for work that has to wait until the current callback has returned. C callbacks record what they saw and
// enqueue; here connections are closed, curl is un-paused and easy handles are removed, always from a clean stack.

internal import CLibuv
internal import DequeModule

/// Actions to run soon, on the loop, outside every callback.
///
/// Drained before the loop polls and again after it (`LoopHooks`), so that an action enqueued by a timer does not wait
/// for the next input. An action enqueued during a drain runs in the next one: an action that enqueues itself cannot
/// starve sockets and timers.
package final class DeferredQueue {
    /// Actions run in one drain before the loop gets to poll again: enough for any real burst, few enough that the
    /// sockets do not starve.
    static let maximumActionsPerDrain = 4096

    private var actions: Deque<() -> Void> = []
    /// Active only while actions are pending: an active idle handle keeps the poll from blocking
    /// (docs.libuv.org, "uv_idle_t").
    private let idle: Handle<uv_idle_t>
    private var idleIsActive = false

    init(on loop: UnsafeMutablePointer<uv_loop_t>) throws(LoopError) {
        idle = try Handle("uv_idle_init") { uv_idle_init(loop, $0) }
    }

    /// Whether actions are left over.
    var isPending: Bool { !actions.isEmpty }

    /// Runs `action` on the loop, soon, after the current callback has returned.
    package func enqueue(_ action: @escaping () -> Void) {
        actions.append(action)
        if !idleIsActive { keepAwake() }
    }

    /// Completes a call whose result is known already: `then` runs soon, never inside the call that asked.
    package func complete<Value>(_ then: @escaping (Value) -> Void, _ value: Value) { enqueue { then(value) } }

    @inline(__always)
    func drain() {
        // Twice an iteration, and nearly always without actions.
        if idleIsActive { runActions() }
    }

    func close() { idle.close() }

    /// Calls made in one iteration for one list of callbacks that all wait for the same thing. Each may write an
    /// answer, some 10 µs, so a list of ten thousand would hold up every connection for a tenth of a second.
    package static let maximumCallsPerIteration = 64

    /// Calls `body` for each element, in order: the first ones now, the others in the next iterations.
    /// - Parameter limit: how many in an iteration.
    package func forEach<Element>(
        _ elements: [Element], atMost limit: Int = DeferredQueue.maximumCallsPerIteration,
        _ body: @escaping (Element) -> Void
    ) {
        call(elements[...], limit, body)
    }

    private func call<Element>(_ elements: ArraySlice<Element>, _ limit: Int, _ body: @escaping (Element) -> Void) {
        for element in elements.prefix(limit) { body(element) }
        let rest = elements.dropFirst(limit)
        if !rest.isEmpty { enqueue { [self] in call(rest, limit, body) } }
    }

    private func runActions() {
        var budget = min(actions.count, DeferredQueue.maximumActionsPerDrain)
        while budget > 0, let action = actions.popFirst() {
            action()
            budget -= 1
        }
        guard actions.isEmpty else { return }
        idleIsActive = false
        if !idle.isClosed { uv_idle_stop(idle.pointer) }
    }

    private func keepAwake() {
        idleIsActive = true
        if !idle.isClosed { uv_idle_start(idle.pointer) { _ in } }
    }
}

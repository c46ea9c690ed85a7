// Work that must wait until the current callback has returned. C callbacks only record and enqueue; connections are
// closed, curl is un-paused and easy handles are removed here, from a clean stack.

internal import CLibuv
internal import DequeModule

/// Actions to run soon, on the loop, outside every callback.
///
/// The queue is drained before each poll and again after it (`LoopHooks`), so that an action enqueued by a timer does
/// not wait for the next input. An action enqueued during a drain runs in the next one: an action that enqueues itself
/// cannot starve sockets and timers.
package final class DeferredQueue {
    /// Actions run in one drain before the loop polls again: enough for any real burst, few enough that the sockets do
    /// not starve.
    static let maximumActionsPerDrain = 4096

    private var actions: Deque<() -> Void> = []
    /// Active only while actions are pending: an active idle handle keeps the poll from blocking
    /// (docs.libuv.org, "uv_idle_t").
    private let idle: Handle<uv_idle_t>
    private var idleIsActive = false

    init(on loop: UnsafeMutablePointer<uv_loop_t>) throws(LoopError) {
        idle = try Handle("uv_idle_init") { uv_idle_init(loop, $0) }
    }

    /// Whether actions are waiting.
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
        // Called twice an iteration, nearly always with an empty queue.
        if idleIsActive { runActions() }
    }

    func close() { idle.close() }

    /// Calls per iteration for a list of callbacks that wait for the same result. Each may write a response, some 10
    /// µs, so ten thousand at once would delay every connection by a tenth of a second.
    package static let maximumCallsPerIteration = 64

    /// Calls `body` for each element, in order: the first `limit` now, the others in the next iterations.
    /// - Parameter limit: calls per iteration.
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

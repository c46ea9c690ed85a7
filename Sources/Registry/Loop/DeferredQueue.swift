// The one named place for what happens between the callbacks of a turn. C callbacks record what they saw and enqueue;
// here connections are closed, curl is un-paused, easy handles are removed, always from a clean stack.

internal import DequeModule

/// Actions to run soon, on the loop, outside anybody's callback.
///
/// Drained before the loop waits, behind sockets and timers alike (`EventLoop.turn`), so that what those enqueue does
/// not wait for the next input. An action may enqueue others; those run in the next drain, when sockets and timers have
/// had their turn: who enqueues itself lets the others go first.
package final class DeferredQueue {
    /// Actions run in one drain before the loop gets to poll again: enough for any real burst, few enough that the
    /// sockets do not starve.
    static let maximumActionsPerDrain = 4096

    private var actions: Deque<() -> Void> = []

    /// Whether actions are left over.
    var isPending: Bool { !actions.isEmpty }

    /// Runs `action` on the loop, soon, after the current callback has returned.
    package func enqueue(_ action: @escaping () -> Void) { actions.append(action) }

    @inline(__always)
    func drain() {
        if !actions.isEmpty { runActions() }
    }

    private func runActions() {
        var budget = min(actions.count, DeferredQueue.maximumActionsPerDrain)
        while budget > 0, let action = actions.popFirst() {
            action()
            budget -= 1
        }
    }
}

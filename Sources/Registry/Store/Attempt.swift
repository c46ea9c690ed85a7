// `Offload` with the store's typed errors, and a gate that limits concurrent jobs.

internal import DequeModule
internal import Glibc

extension Offload {
    /// Runs work that throws only `StoreError`.
    func attempt<R: Sendable>(
        _ work: @escaping @Sendable () throws(StoreError) -> R, then: @escaping (Result<R, StoreError>) -> Void
    ) {
        run({ Result(catching: work) }) { then(Result.flatten($0)) }
    }
}

extension SerialOffload {
    /// Runs work like `Offload.attempt`, one job at a time, in the order of the calls.
    func attempt<R: Sendable>(
        _ work: @escaping @Sendable () throws(StoreError) -> R, then: @escaping (Result<R, StoreError>) -> Void
    ) {
        run({ Result(catching: work) }) { then(Result.flatten($0)) }
    }
}

extension Result where Failure == StoreError {
    /// The outer failure comes from the pool and means that the job did not run.
    fileprivate static func flatten(_ nested: Result<Self, any Error>) -> Self {
        switch nested {
        case .success(let result): result
        case .failure: .failure(.system(call: "offload", path: "", code: ECANCELED))
        }
    }
}

/// Limits concurrent actions; further ones wait in order.
final class Gate {
    private let limit: Int
    private var inside = 0
    private var waiting: Deque<() -> Void> = []
    private var isStarting = false

    init(limit: Int) { self.limit = limit }

    /// Runs `action` at once, or when another action has left. Each action must call `leave` when it ends.
    func enter(_ action: @escaping () -> Void) {
        waiting.append(action)
        startNext()
    }

    func leave() {
        inside -= 1
        startNext()
    }

    /// A loop, since actions may end at once: calls within calls would need stack for each of them.
    private func startNext() {
        guard !isStarting else { return }
        isStarting = true
        defer { isStarting = false }
        while inside < limit, let action = waiting.popFirst() {
            inside += 1
            action()
        }
    }
}

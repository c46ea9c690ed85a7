// Offload with this layer's typed errors, and the two small queues that order its jobs.

internal import DequeModule
internal import Glibc

extension Offload {
    /// Runs work whose only errors are the store's.
    func attempt<R: Sendable>(
        _ work: @escaping @Sendable () throws(StoreError) -> R, then: @escaping (Result<R, StoreError>) -> Void
    ) {
        run({ Result(catching: work) }) { then(Result.flatten($0)) }
    }
}

extension SerialOffload {
    /// As `Offload.attempt`, one at a time in the order given.
    func attempt<R: Sendable>(
        _ work: @escaping @Sendable () throws(StoreError) -> R, then: @escaping (Result<R, StoreError>) -> Void
    ) {
        run({ Result(catching: work) }) { then(Result.flatten($0)) }
    }
}

extension Result where Failure == StoreError {
    /// The outer failure is the pool's own: the job did not run.
    fileprivate static func flatten(_ nested: Result<Self, any Error>) -> Self {
        switch nested {
        case .success(let result): result
        case .failure: .failure(.system(call: "offload", path: "", code: ECANCELED))
        }
    }
}

/// Lets so many pass at a time; the rest wait in order.
final class Gate {
    private let limit: Int
    private var inside = 0
    private var waiting: Deque<() -> Void> = []

    init(limit: Int) { self.limit = limit }

    /// Runs `action` at once or when somebody has left. Who is in must `leave`.
    func enter(_ action: @escaping () -> Void) {
        guard inside < limit else {
            waiting.append(action)
            return
        }
        inside += 1
        action()
    }

    func leave() {
        if let next = waiting.popFirst() { next() } else { inside -= 1 }
    }
}

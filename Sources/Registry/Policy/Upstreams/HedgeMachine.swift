// The rule for sending a request a second time, on a new connection ("hedged request"). A reused connection may be dead
// without either end knowing: a firewall dropped it, or the upstream closed it while the request was on its way. A
// second attempt distinguishes a dead connection from a slow upstream; the first answer counts.
//
// This is safe for GET and HEAD (RFC 9110 §9.2.2), and for the requests for credentials that are sent by POST and PUT:
// they change nothing at the service.

/// Decides between the two attempts of one request. A pure value: events in, actions out.
package struct HedgeMachine: Sendable {
    package enum Attempt: Sendable { case first, second }

    package enum Event: Sendable {
        /// The request is about to be sent. This may come again for one attempt: libcurl connects again by itself when
        /// a reused connection was closed.
        case connected(Attempt, isReused: Bool)
        /// `ConnectLimits.reusedSilenceMilliseconds` have passed without a byte of an answer.
        case silence
        /// An answer's head is complete.
        case answered(Attempt, status: Int)
        /// The attempt ended without a head.
        case failed(Attempt, TransferFailure)
    }

    package enum Action: Sendable, Equatable {
        /// Begin to measure the silence.
        case watch
        case stopWatching
        /// Send the request again, on a new connection.
        case startSecond
        /// The reused connection was silent while a new one answered: other idle connections may be dead as well.
        case suspectIdleConnections
        case cancel(Attempt)
        /// This attempt's answer is the final one.
        case deliver(Attempt)
        case fail(TransferFailure)
    }

    private enum State: Sendable {
        case first
        case both
        case second
        /// The second attempt failed; the first may still answer.
        case firstAgain
        case over(Attempt?)
    }

    private var state = State.first
    /// Whether the first attempt is on a connection that was used before.
    private var isReused = false

    package init() {}

    /// The attempt whose answer counts, once that is known.
    package var winner: Attempt? {
        if case .over(let winner) = state { winner } else { nil }
    }

    package mutating func handle(_ event: Event) -> [Action] {
        switch (state, event) {
        case (.over, _): []
        case (_, .connected(.first, let isReused)): connected(isReused)
        case (_, .connected(.second, _)): []
        case (.first, .silence): hedge()
        case (_, .silence): []
        case (_, .answered(let attempt, let status)): answered(attempt, status)
        case (_, .failed(let attempt, let failure)): failed(attempt, failure)
        }
    }

    private mutating func connected(_ isReused: Bool) -> [Action] {
        self.isReused = isReused
        guard case .first = state else { return [] }
        return [isReused ? .watch : .stopWatching]
    }

    private mutating func hedge() -> [Action] {
        guard isReused else { return [] }
        state = .both
        return [.startSecond]
    }

    private mutating func answered(_ attempt: Attempt, _ status: Int) -> [Action] {
        switch (state, attempt) {
        case (.first, .first) where isStale(status):
            state = .second
            return [.stopWatching, .cancel(.first), .startSecond]
        case (.both, .first) where isStale(status):
            state = .second
            return [.cancel(.first)]
        case (.both, .first): return decide(.first, [.cancel(.second)])
        case (.both, .second):
            return decide(.second, (isReused ? [.suspectIdleConnections] : []) + [.cancel(.first)])
        case (.first, _), (.firstAgain, _), (.second, _): return decide(attempt, [.stopWatching])
        case (.over, _): return []
        }
    }

    /// Whether a status is stale: a 408 on a reused connection was written before the request arrived, so it ends the
    /// connection, not the request (RFC 9110 §15.5.9).
    private func isStale(_ status: Int) -> Bool { isReused && status == 408 }

    private mutating func decide(_ attempt: Attempt, _ first: [Action]) -> [Action] {
        state = .over(attempt)
        return first + [.deliver(attempt)]
    }

    private mutating func failed(_ attempt: Attempt, _ failure: TransferFailure) -> [Action] {
        switch (state, attempt) {
        case (.first, .first) where isReused && !failure.hadAnswer && [.broken, .timedOut].contains(failure.kind):
            state = .second
            return [.stopWatching, .startSecond]
        case (.both, .first):
            state = .second
            return []
        case (.both, .second):
            state = .firstAgain
            return []
        default:
            state = .over(nil)
            return [.stopWatching, .fail(failure)]
        }
    }
}

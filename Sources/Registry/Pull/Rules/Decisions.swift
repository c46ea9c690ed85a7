// Rules that are regular expressions can take milliseconds for one name: they run off the loop, and their decisions are
// kept for the requests that follow.

internal import Configuration
internal import DequeModule
internal import OCI

/// Rules of the configuration that decide about names.
protocol NameRules: Sendable {
    associatedtype Name: DecidableName
    associatedtype Decision: Hashable, Sendable

    /// Decides about a name. Must run off the loop.
    func decide(_ name: Name) -> Decision
}

/// A name that rules decide about.
protocol DecidableName: Hashable, Sendable {
    /// Calls `body` with the text by which requests find the decision.
    func withText<R>(_ body: (UnsafeRawBufferPointer) -> R) -> R
}

/// The limits of all `Decisions`.
enum DecisionLimits {
    /// Requests that may wait for decisions. More than the connections of a busy node: after a reload each may ask for
    /// a name that has to be decided anew.
    static let maximumWaiting = 16_384
    /// Requests of one client among them, so that one cannot take all places.
    static let maximumWaitingPerClient = 4096
    /// Memory of the requests that wait: a request's head has some 500 bytes, and 32 KiB at most.
    static let maximumWaitingBytes = 64 << 20
}

/// A request that waits for a decision.
struct DecisionRequest {
    /// Memory that it holds.
    var bytes = 0
    /// Whose it is; nil for the server's own.
    var client: NetworkAddress?
    /// Whether the decision is still of use: a client that has waited too long has got its answer. A name that no
    /// request needs any more is not decided.
    var isNeeded: () -> Bool = { true }
}

/// The decisions about names under the rules of the present configuration.
final class Decisions<Rules: NameRules> {
    private struct Waiter {
        let request: DecisionRequest
        let then: (Rules.Decision) -> Void
    }

    private(set) var rules: Rules
    private let usual: Rules.Decision
    /// One job at a time: slow patterns occupy one thread of the pool.
    private let chain: SerialOffload
    private let loop: EventLoop
    var table: DecisionTable<Rules.Decision>
    private var waiting: [Rules.Name: [Waiter]] = [:]
    private var waitingPerClient: [NetworkAddress: Int] = [:]
    /// Names to decide about after the present one, in order.
    private var queue: Deque<Rules.Name> = []
    private var isDeciding = false
    private(set) var waitingCount = 0
    private var waitingBytes = 0
    /// Counts the replacements of the rules: a job decides under those that were in force when it started.
    private var generation: UInt64 = 0

    /// - Parameter usual: the decision that the table finds fastest.
    init(_ rules: Rules, usual: Rules.Decision, loop: EventLoop, offload: Offload) {
        self.rules = rules
        self.usual = usual
        self.loop = loop
        chain = SerialOffload(offload)
        table = DecisionTable(usual: usual)
    }

    /// Replaces the rules. Names are decided anew, also those that requests wait for now.
    func replace(with rules: Rules) {
        self.rules = rules
        generation &+= 1
        table = DecisionTable(usual: usual)
    }

    /// Decides about a name. Calls for the same name share a decision.
    /// - Parameter then: called later, when the decision is in the table.
    /// - Returns: false if too many requests wait; `then` is not called.
    func decide(
        _ name: Rules.Name, for request: DecisionRequest, then: @escaping (Rules.Decision) -> Void
    ) -> Bool {
        let ofClient = request.client.map { waitingPerClient[$0, default: 0] } ?? 0
        guard waitingCount < DecisionLimits.maximumWaiting, ofClient < DecisionLimits.maximumWaitingPerClient,
            request.bytes <= DecisionLimits.maximumWaitingBytes - waitingBytes
        else { return false }
        waitingCount += 1
        waitingBytes += request.bytes
        if let client = request.client { waitingPerClient[client] = ofClient + 1 }
        let waiter = Waiter(request: request, then: then)
        guard waiting[name] == nil else {
            waiting[name]?.append(waiter)
            return true
        }
        waiting[name] = [waiter]
        queue.append(name)
        decideNext()
        return true
    }

    private func decideNext() {
        guard !isDeciding else { return }
        while let name = queue.popFirst() {
            guard waiting[name, default: []].contains(where: { $0.request.isNeeded() }) else {
                for waiter in waiting.removeValue(forKey: name) ?? [] { leave(waiter) }
                continue
            }
            return start(name)
        }
    }

    private func start(_ name: Rules.Name) {
        isDeciding = true
        let (rules, generation) = (rules, generation)
        chain.run {
            rules.decide(name)
        } then: { [self] (result: Result<Rules.Decision, any Error>) in
            // A job never fails; one that was under way for former rules is repeated.
            guard generation == self.generation, case .success(let decision) = result else { return start(name) }
            isDeciding = false
            finish(name, decision)
            decideNext()
        }
    }

    private func finish(_ name: Rules.Name, _ decision: Rules.Decision) {
        name.withText { table.insert($0, decision) }
        loop.deferred.forEach(waiting.removeValue(forKey: name) ?? []) { [self] waiter in
            leave(waiter)
            waiter.then(decision)
        }
    }

    private func leave(_ waiter: Waiter) {
        waitingCount -= 1
        waitingBytes -= waiter.request.bytes
        guard let client = waiter.request.client else { return }
        let left = waitingPerClient[client, default: 1] - 1
        waitingPerClient[client] = left > 0 ? left : nil
    }
}

/// Limits log lines whose number clients or upstreams decide.
struct LogLineBudget {
    /// Lines about one name are this far apart.
    static let pauseMilliseconds: UInt64 = 60_000
    /// Lines about all names in `pauseMilliseconds`: clients choose names freely.
    static let maximumLines = 60

    private var windowMilliseconds: UInt64 = 0
    private var lines = 0

    /// Whether a line may be written; `take` counts it.
    mutating func hasRoom(now: UInt64) -> Bool {
        if lines == 0 || now &- windowMilliseconds >= LogLineBudget.pauseMilliseconds {
            (windowMilliseconds, lines) = (now, 0)
        }
        return lines < LogLineBudget.maximumLines
    }

    mutating func take() { lines += 1 }
}

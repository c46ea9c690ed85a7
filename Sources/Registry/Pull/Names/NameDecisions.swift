// Which names may be pulled. The rules are regular expressions, which can take milliseconds: they run off the loop, and
// their decisions are kept for the requests that follow.

package import Configuration
internal import DequeModule
internal import OCI

/// The decisions of one server about names, under the policy of its present configuration.
package final class NameDecisions {
    /// Requests that may wait for decisions. More than the connections of a busy node: after a reload each may ask for
    /// a name that has to be decided anew.
    static let maximumWaiting = 16_384
    /// Requests of one client among them, so that one cannot take all places.
    static let maximumWaitingPerClient = 4096
    /// Memory of the requests that wait: a request's head has some 500 bytes, and 32 KiB at most.
    static let maximumWaitingBytes = 64 << 20
    /// The refusals of one name are logged once in this time.
    static let logPauseMilliseconds: UInt64 = 60_000
    /// Lines about refusals in `logPauseMilliseconds`: clients choose names freely.
    static let maximumLogLines = 60

    private struct Name: Hashable {
        let host: RegistryHost
        let repository: RepositoryName

        /// Calls `body` with the name as the table has it.
        func withText<R>(_ body: (UnsafeRawBufferPointer) -> R) -> R {
            var text = "\(host)/\(repository)"
            return text.withUTF8 { body(UnsafeRawBufferPointer($0)) }
        }
    }

    private struct Waiter {
        let bytes: Int
        let client: NetworkAddress?
        /// Whether the decision is still of use: a client that has waited too long has got its answer.
        let isNeeded: () -> Bool
        let then: (NameDecision) -> Void
    }

    package private(set) var policy: NamePolicy
    /// Whether every name is allowed, so that nothing has to be decided.
    package private(set) var isOpen: Bool
    private let loop: EventLoop
    /// One job at a time: slow patterns occupy one thread of the pool.
    private let chain: SerialOffload
    private var table = DecisionTable()
    private var waiting: [Name: [Waiter]] = [:]
    private var waitingPerClient: [NetworkAddress: Int] = [:]
    /// Names to decide about after the present one, in order.
    private var queue: Deque<Name> = []
    private var isDeciding = false
    private(set) var waitingCount = 0
    private var waitingBytes = 0
    /// Counts the policies: a job decides under the one that was in force when it started.
    private(set) var generation: UInt64 = 0
    private var logWindowMilliseconds: UInt64 = 0
    private var logLines = 0

    package init(_ policy: NamePolicy, loop: EventLoop, offload: Offload) {
        self.policy = policy
        isOpen = policy.isOpen
        self.loop = loop
        chain = SerialOffload(offload)
    }

    /// Names with a decision.
    var count: Int { table.count }

    /// What is known about a name. Allocates nothing.
    @inline(__always)
    func find(_ name: RepositoryBytes) -> DecisionTable.Found { name.withText { table.find($0) } }

    /// Replaces the policy. Names are decided anew, also those that requests wait for now.
    package func replace(with policy: NamePolicy) {
        self.policy = policy
        isOpen = policy.isOpen
        generation &+= 1
        table = DecisionTable()
    }

    /// Decides about a name. Calls for the same name share a decision.
    /// - Parameters:
    ///   - bytes: memory that `then` holds.
    ///   - client: whose request it is; nil for the server's own.
    ///   - isNeeded: whether `then` would do anything. A name that no call needs any more is not decided.
    ///   - then: called later, when the decision is in the table.
    /// - Returns: false if too many calls wait; `then` is not called.
    func decide(
        _ host: RegistryHost, _ repository: RepositoryName, holding bytes: Int = 0, client: NetworkAddress? = nil,
        isNeeded: @escaping () -> Bool = { true }, then: @escaping (NameDecision) -> Void
    ) -> Bool {
        if isOpen {
            loop.deferred.complete(then, .allowed)
            return true
        }
        let ofClient = client.map { waitingPerClient[$0, default: 0] } ?? 0
        guard waitingCount < NameDecisions.maximumWaiting, ofClient < NameDecisions.maximumWaitingPerClient,
            bytes <= NameDecisions.maximumWaitingBytes - waitingBytes
        else { return false }
        waitingCount += 1
        waitingBytes += bytes
        if let client { waitingPerClient[client] = ofClient + 1 }
        let name = Name(host: host, repository: repository)
        let waiter = Waiter(bytes: bytes, client: client, isNeeded: isNeeded, then: then)
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
            guard waiting[name, default: []].contains(where: { $0.isNeeded() }) else {
                for waiter in waiting.removeValue(forKey: name) ?? [] { leave(waiter) }
                continue
            }
            return start(name)
        }
    }

    private func start(_ name: Name) {
        isDeciding = true
        let (policy, generation) = (policy, generation)
        chain.run {
            policy.decide(host: name.host, repository: name.repository)
        } then: { [self] (result: Result<NameDecision, any Error>) in
            // A job never fails; one that was under way for a former policy is repeated.
            guard generation == self.generation, case .success(let decision) = result else { return start(name) }
            isDeciding = false
            finish(name, decision)
            decideNext()
        }
    }

    private func finish(_ name: Name, _ decision: NameDecision) {
        name.withText { table.insert($0, decision) }
        loop.deferred.forEach(waiting.removeValue(forKey: name) ?? []) { [self] waiter in
            leave(waiter)
            waiter.then(decision)
        }
    }

    private func leave(_ waiter: Waiter) {
        waitingCount -= 1
        waitingBytes -= waiter.bytes
        guard let client = waiter.client else { return }
        let left = waitingPerClient[client, default: 1] - 1
        waitingPerClient[client] = left > 0 ? left : nil
    }

    // MARK: Refusals

    /// The rule of a decision that `find` has returned.
    func denial(at position: Int) -> (rule: NameRule, text: String) {
        guard case .denied(let rule, let text) = table.denial(at: position) else { return (.deny, "") }
        return (rule, text)
    }

    /// Whether a refusal is to be logged, which is then counted as done.
    func takeLogLine(at position: Int) -> Bool {
        let now = loop.nowMilliseconds
        if logLines == 0 || now &- logWindowMilliseconds >= NameDecisions.logPauseMilliseconds {
            (logWindowMilliseconds, logLines) = (now, 0)
        }
        guard logLines < NameDecisions.maximumLogLines,
            table.noteLog(at: position, now: now, pause: NameDecisions.logPauseMilliseconds)
        else { return false }
        logLines += 1
        return true
    }
}

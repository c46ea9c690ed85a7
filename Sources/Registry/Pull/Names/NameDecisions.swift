// Which names may be pulled. The rules are regular expressions, which can take milliseconds: they run off the loop, and
// their decisions are kept for the requests that follow.

package import Configuration
internal import OCI

/// The decisions of one server about names, under the policy of its present configuration.
package final class NameDecisions {
    /// Requests that may wait for decisions. More than the connections of a busy node: after a reload each may ask for
    /// a name that has to be decided anew.
    static let maximumWaiting = 16_384
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
    ///   - then: called later, when the decision is in the table.
    /// - Returns: false if too many calls wait; `then` is not called.
    func decide(
        _ host: RegistryHost, _ repository: RepositoryName, holding bytes: Int = 0,
        then: @escaping (NameDecision) -> Void
    ) -> Bool {
        if isOpen {
            loop.deferred.complete(then, .allowed)
            return true
        }
        guard waitingCount < NameDecisions.maximumWaiting, bytes <= NameDecisions.maximumWaitingBytes - waitingBytes
        else { return false }
        waitingCount += 1
        waitingBytes += bytes
        let name = Name(host: host, repository: repository)
        let waiter = Waiter(bytes: bytes, then: then)
        guard waiting[name] == nil else {
            waiting[name]?.append(waiter)
            return true
        }
        waiting[name] = [waiter]
        start(name)
        return true
    }

    private func start(_ name: Name) {
        let (policy, generation) = (policy, generation)
        chain.run {
            policy.decide(host: name.host, repository: name.repository)
        } then: { [self] (result: Result<NameDecision, any Error>) in
            // A job never fails; one that was under way for a former policy is repeated.
            guard generation == self.generation, case .success(let decision) = result else { return start(name) }
            finish(name, decision)
        }
    }

    private func finish(_ name: Name, _ decision: NameDecision) {
        name.withText { table.insert($0, decision) }
        loop.deferred.forEach(waiting.removeValue(forKey: name) ?? []) { [self] waiter in
            waitingCount -= 1
            waitingBytes -= waiter.bytes
            waiter.then(decision)
        }
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

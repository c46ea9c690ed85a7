// Which names may be pulled: the decisions about repositories, and the log lines about refusals.

package import Configuration
internal import OCI

/// The decisions of one server about names, under the policy of its present configuration.
package final class NameDecisions {
    /// Whether every name is allowed, so that nothing has to be decided.
    package private(set) var isOpen: Bool
    private let decisions: Decisions<NamePolicy>
    private let loop: EventLoop
    private var logLines = LogLineBudget()

    package init(_ policy: NamePolicy, loop: EventLoop, offload: Offload) {
        decisions = Decisions(policy, usual: .allowed, loop: loop, offload: offload)
        isOpen = policy.isOpen
        self.loop = loop
    }

    package var policy: NamePolicy { decisions.rules }
    /// Counts the policies.
    private(set) var generation: UInt64 = 0
    /// Names with a decision.
    var count: Int { decisions.table.count }
    var waitingCount: Int { decisions.waitingCount }

    /// What is known about a name. Allocates nothing.
    @inline(__always)
    func find(_ name: RepositoryBytes) -> DecisionTable<NameDecision>.Found {
        name.withText { decisions.table.find($0) }
    }

    /// Replaces the policy. Names are decided anew, also those that requests wait for now.
    package func replace(with policy: NamePolicy) {
        isOpen = policy.isOpen
        generation &+= 1
        decisions.replace(with: policy)
    }

    /// Decides about a name. Calls for the same name share a decision.
    /// - Parameter then: called later, when the decision is in the table.
    /// - Returns: false if too many requests wait; `then` is not called.
    func decide(
        _ host: RegistryHost, _ repository: RepositoryName, for request: DecisionRequest = DecisionRequest(),
        then: @escaping (NameDecision) -> Void
    ) -> Bool {
        if isOpen {
            loop.deferred.complete(then, .allowed)
            return true
        }
        return decisions.decide(UpstreamRepository(host: host, repository: repository), for: request, then: then)
    }

    // MARK: Refusals

    /// The rule of a decision that `find` has returned.
    func denial(at position: Int) -> (rule: NameRule, text: String) {
        guard case .denied(let rule, let text) = decisions.table.decision(at: position) else { return (.deny, "") }
        return (rule, text)
    }

    /// Whether a refusal is to be logged, which is then counted as done.
    func takeLogLine(at position: Int) -> Bool {
        let now = loop.nowMilliseconds
        guard logLines.hasRoom(now: now),
            decisions.table.noteLog(at: position, now: now, pause: LogLineBudget.pauseMilliseconds)
        else { return false }
        logLines.take()
        return true
    }
}

extension NamePolicy: NameRules {
    func decide(_ name: UpstreamRepository) -> NameDecision { decide(host: name.host, repository: name.repository) }
}

extension UpstreamRepository: DecidableName {
    func withText<R>(_ body: (UnsafeRawBufferPointer) -> R) -> R {
        var text = "\(host)/\(repository)"
        return text.withUTF8 { body(UnsafeRawBufferPointer($0)) }
    }
}

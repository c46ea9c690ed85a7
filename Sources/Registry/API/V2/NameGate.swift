// The rules on names, applied to a request before its endpoint runs: cached content is refused as well, and nothing has
// been asked upstream.

package import Configuration
internal import Logging
internal import OCI

extension API {
    /// Replaces the rules on names. Answers that were given under the former ones are not repeated from memory.
    package func replaceNamePolicy(_ policy: NamePolicy) {
        guard policy != names.policy else { return }
        names.replace(with: policy)
        store.requiresProofs = !policy.isOpen
        recentAnswers = RecentAnswers()
        catalogScan.policyChanged()
    }

    /// Whether a request's name may be pulled. False while that is being decided: the request is then answered later.
    /// - Throws: 403 for a denied name, 503 when too many requests wait for decisions.
    func passesNameRules(_ connection: Connection, _ request: Request) throws(RegistryError) -> Bool {
        switch request.target.withBytes({ names.find($0) }) {
        case .usual: return true
        case .other(let position): throw refusal(connection, request, position)
        case .undecided:
            try decide(connection, request)
            return false
        }
    }

    private func refusal(_ connection: Connection, _ request: Request, _ position: Int) -> RegistryError {
        let (rule, text) = names.denial(at: position)
        let name = request.target.withBytes { $0.withText { String(decoding: $0, as: UTF8.self) } }
        metrics.requests.denied(by: DenyingRule(rule))
        if names.takeLogLine(at: position) {
            logger.warning(
                "request denied",
                metadata: [
                    "name": "\(name)", "rule": "\(text)", "client": "\(connection.peerName)",
                    "id": "\(connection.requestID)",
                ])
        }
        return RegistryError(status: 403, code: .denied, message: "\(name) may not be pulled here: \(text)")
    }

    /// Decides about the request's name, then handles a copy of the request.
    private func decide(_ connection: Connection, _ request: Request) throws(RegistryError) {
        guard let repository = request.target.repository else {
            throw RegistryError(status: 400, code: .nameInvalid, message: "invalid repository name")
        }
        let head = request.head
        let copy = Array(request.bytes.prefix(head.length))
        let pending = PendingResponse(
            connection, deadlineMilliseconds: policy.answerDeadlineMilliseconds, waitsForUpstream: false
        ) { $0.respond(.unavailable("the rules on names have not been applied in time")) }
        let decisionRequest = DecisionRequest(
            bytes: copy.count, client: connection.peerAddress?.clientNetwork, isNeeded: { !pending.isAnswered })
        let isWaiting = names.decide(request.target.host.host, repository, for: decisionRequest) { [self] _ in
            // The request is handled from its bytes, so that a policy or a default host that was replaced meanwhile
            // counts.
            pending.answer { connection in copy.withUnsafeBytes { resumeContent(connection, head, $0) } }
        }
        guard isWaiting else {
            return pending.answer { $0.respond(.unavailable("too many requests wait for a decision on their names")) }
        }
    }
}

extension DenyingRule {
    /// The label of a rule.
    init(_ rule: NameRule) {
        self =
            switch rule {
            case .deny: .deny
            case .allow: .allow
            case .registriesOnly: .registriesOnly
            }
    }
}

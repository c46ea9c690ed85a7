// The images that tags have moved to and do not serve yet, for the operator.

package import Configuration
package import OCI

/// A tag with an image that it does not serve yet.
package struct WaitingTag: Sendable, Equatable {
    /// `host/repository:tag`
    package let name: String
    /// What it serves meanwhile; nil for nothing.
    package let served: Digest?
    package let waiting: Digest
    /// When the cache first learned of the image, and when its wait ends, in seconds since 1970; nil when that is not
    /// known.
    package let seenSeconds: Int64?
    package let endSeconds: Int64?
}

extension TagName {
    /// Parses `host/name:tag`.
    init?(_ text: String) {
        guard let slash = text.firstIndex(of: "/"), let colon = text.lastIndex(of: ":"), slash < colon,
            let host = RegistryHost(String(text[..<slash])),
            let repository = RepositoryName(String(text[text.index(after: slash)..<colon]))
        else { return nil }
        self.init(host: host, repository: repository, tag: String(text[text.index(after: colon)...]))
    }
}

extension Store {
    /// Calls `body` off the loop with the tags that wait, by name, and `then` with its result.
    /// - Parameter policies: what the ends of the waits are calculated with.
    package func waitingTags<R: Sendable>(
        policies: TagPolicies, _ body: @escaping @Sendable ([WaitingTag]) throws -> R,
        then: @escaping (Result<R, any Error>) -> Void
    ) {
        whenLedgerKnown { [self] in
            let ledger = ledger ?? CooldownLedger()
            var waiting: [(TagName, CooldownLedger.Candidate, served: Digest?)] = []
            ledger.forEachPending { text, candidates in

                guard let name = TagName(text) else { return }
                let served = tag(host: name.host, repository: name.repository, tag: name.tag)?.digest
                for candidate in candidates {
                    waiting.append((name, candidate, served == candidate.digest ? nil : served))
                }
            }
            let (all, now) = (waiting, ledgerAndNow?.now ?? 0)
            offload.run {
                try body(
                    all.compactMap { name, candidate, served in
                        let policy = policies.decide(host: name.host, repository: name.repository, tag: name.tag)
                        let seconds = policy.cooldown.seconds
                        // The next request for the tag takes it.
                        guard !ledger.isOver(candidate.digest, cooldownSeconds: seconds, now: now) else { return nil }
                        return WaitingTag(
                            name: "\(name)", served: served, waiting: candidate.digest,
                            seenSeconds: ledger.firstSeen(candidate.digest),
                            endSeconds: ledger.end(of: candidate.digest, cooldownSeconds: seconds))
                    }.sorted { $0.name < $1.name })
            } then: {
                then($0)
            }
        }
    }
}

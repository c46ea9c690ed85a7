// Tags under `cooldown`: what their upstreams have moved them to, and what they serve meanwhile.

internal import Configuration
internal import Logging
internal import OCI

/// What a tag got that has nothing to serve.
struct HeldTag {
    let hold: CooldownHold
    /// When its upstream was asked, on the store's `tagClock`.
    let checkedMilliseconds: Int64
}

extension Cooldown {
    /// Tags whose hold is remembered.
    private static let maximumHeldTags = 16_384

    /// What a tag shall serve.
    enum Choice {
        /// What its upstream means.
        case newest
        /// An older manifest, whose wait is over; the newest one waits.
        case older(Digest)
        case none(CooldownHold)
    }

    /// Chooses what a tag serves, after its upstream has said what it means.
    /// - Parameter then: called later.
    func choose(
        _ name: TagName, means digest: Digest, _ policy: TagPolicy, from source: PullSource,
        then: @escaping (Choice) -> Void
    ) {
        let cooldown = policy.cooldown.seconds
        store.whenLedgerKnown { [self] in
            guard store.ledger != nil else { return then(.newest) }
            whenFirstSeenKnown(digest) { [self] in
                recordFirstSeen(digest)
                if isOver(digest, cooldown) || isExempt(digest, name) { return then(.newest) }
                guard let subject = ReferrersIndex.subject(ofTag: name.tag) else {
                    return then(wait(name, digest, cooldown))
                }
                // A signature of an image that is served is not held back.
                find(digest, from: source) { [self] manifest in
                    guard let manifest else { return then(wait(name, digest, cooldown)) }
                    let scope = scope(name.host, name.repository)
                    examine(manifest, subject, scope, cooldown) { [self] verdict in
                        guard case .admitted = verdict else { return then(wait(name, digest, cooldown)) }
                        store.record(.signature(digest, repository: scope.text))
                        then(.newest)
                    }
                }
            }
        }
    }

    private func find(_ digest: Digest, from source: PullSource, then: @escaping (CachedManifest?) -> Void) {
        store.findManifest(digest) { [self] found in
            if let found { return then(found) }
            puller.manifest(.digest(digest), from: source) { result, _ in then(try? result.get()) }
        }
    }

    /// Whether a manifest does not wait in the tag's repository.
    private func isExempt(_ digest: Digest, _ name: TagName) -> Bool {
        store.ledger?.isExempt(digest, in: "\(name.host)/\(name.repository)") == true
    }

    private func wait(_ name: TagName, _ digest: Digest, _ cooldown: Int64) -> Choice {
        let stamp = store.cooldownStamp
        guard let (ledger, now) = store.ledgerAndNow else { return .newest }
        let (choice, changes) = ledger.choose(
            "\(name)", means: digest, cooldownSeconds: cooldown, now: now, stamp: stamp)
        if !changes.isEmpty { recordWait(changes, name, digest, cooldown) }
        switch choice {
        case .newest: return .newest
        case .older(let older): return .older(older)
        case .none: return .none(hold(digest, cooldown))
        }
    }

    private func recordWait(_ changes: [LedgerChange], _ name: TagName, _ digest: Digest, _ cooldown: Int64) {
        for change in changes { store.record(change) }
        onWait()
        guard logLines.hasRoom(now: loop.nowMilliseconds) else { return }
        logLines.take()
        puller.context.logger.info(
            "a tag has moved to an image that is held back (cooldown)",
            metadata: name.metadata(["digest": "\(digest)", "until": "\(hold(digest, cooldown).until)"]))
    }

    /// Records what a tag serves from now on.
    func tagSet(_ name: TagName, to digest: Digest) {
        heldTags[name] = nil
        if let change = store.ledger?.changeWhenServed(digest, by: "\(name)") { store.record(change) }
    }

    /// Remembers what a tag without a served manifest got.
    func tagHeld(_ name: TagName, _ hold: CooldownHold, asked: Int64) {
        if heldTags.count >= Cooldown.maximumHeldTags { heldTags = [:] }
        heldTags[name] = HeldTag(hold: hold, checkedMilliseconds: asked)
    }

    /// The newest manifest that a tag may not serve yet; nil when there is none.
    func waiting(for name: TagName, _ policy: TagPolicy) -> CooldownHold? {
        let cooldown = policy.cooldown.seconds
        guard let newest = store.ledger?.candidates(of: "\(name)").last, !isOver(newest.digest, cooldown) else {
            return nil
        }
        return hold(newest.digest, cooldown)
    }

    /// The newest manifest that a tag does not serve yet and whose wait is over; nil when there is none.
    func newer(_ name: TagName, _ policy: TagPolicy) -> Digest? { newer(name, policy.cooldown.seconds) }

    private func newer(_ name: TagName, _ cooldownSeconds: Int64) -> Digest? {
        store.ledgerAndNow.flatMap { $0.choice(of: "\(name)", cooldownSeconds: cooldownSeconds, now: $1) }
    }

    /// Whether a cached tag may serve its manifest.
    /// - Parameter then: called later. After true, the manifest and what it names are admitted.
    func whenPastCooldown(
        _ digest: Digest, _ name: TagName, _ policy: TagPolicy, _ scope: CooldownScope, then: @escaping (Bool) -> Void
    ) {
        let cooldown = policy.cooldown.seconds
        store.whenLedgerKnown { [self] in
            whenFirstSeenKnown(digest) { [self] in
                let isServed = cooldown == 0 || isOver(digest, cooldown) || isExempt(digest, name)
                if isServed { tagServes(digest, policy, scope) }
                then(isServed)
            }
        }
    }

    /// Admits what a tag serves. Where its repository holds it back by digest, that is kept over restarts, also when
    /// the tag has moved on: clients have begun to pull it.
    /// - Parameter scope: the tag's repository, under the policies that `policy` is of.
    func tagServes(_ digest: Digest, _ policy: TagPolicy, _ scope: CooldownScope) {
        admit(digest, in: scope)
        guard policy.cooldown == .zero, !isOver(digest, tags.policies.longestCooldown.seconds),
            store.ledger?.isAdmitted(digest, in: scope.text) == false
        else { return }
        tags.whenPolicyKnown(scope.name(tag: "")) { [self] policy in
            let hasWaitingTags = store.ledger.map { !$0.waitingTags(in: scope.text).isEmpty } ?? false
            guard scope == self.scope(scope.host, scope.repository), policy.cooldown != .zero || hasWaitingTags else {
                return
            }
            store.record(.admitted(digest, repository: scope.text))
        }
    }
}

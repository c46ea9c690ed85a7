// `cooldown`: an image is not served in the first time after the cache has learned of it. When it was published is not
// known: upstreams do not prove that.
//
// A manifest is served in a repository when its wait is over, when the operator has approved or loaded it, when a tag
// of the repository whose policy does not hold it back means it, or when a manifest that is served there names it. A
// blob is served when such a manifest names it. Tags have their own part (CooldownTags).

internal import Configuration
internal import Logging
internal import OCI

/// Which manifests and blobs may be served although policies have a cooldown.
package final class Cooldown {
    /// Manifests of one repository that have not been read for what they name, and repositories with some. Beyond these
    /// limits everything is forgotten, and found again by requests.
    private static let maximumUnread = 131_072
    private static let maximumScopes = 16_384
    /// What is known to be served, over all repositories. Clients can ask for any digest of a repository without a
    /// cooldown.
    private static let maximumAdmitted = 2_000_000
    /// Time between two searches of one repository's names on the disk.
    static let scanPauseMilliseconds: UInt64 = 60_000
    static let maximumScans = 16_384
    /// Tags whose policies are asked for one repository; with more, the longest cooldown of all counts.
    private static let maximumPolicies = 64
    /// 2020-01-01: an earlier time of a file was written by a clock that was not right.
    private static let earliestFileSeconds: Int64 = 1_577_836_800
    /// Largest manifest of a referrer, in bytes.
    static let maximumReferrerBytes = 1 << 20

    let store: Store
    let puller: Puller
    unowned let tags: TagChecks
    /// What may be served, by digest and repository, since the start or the last change of the policies.
    private(set) var admitted = ProofTable()
    /// Manifests whose parts have to be added to `admitted`.
    var unread: [CooldownScope: Set<Digest>] = [:]
    /// Repositories whose manifests are being read, with what waits for that.
    var reads: [CooldownScope: [() -> Void]] = [:]
    var scanned: [CooldownScope: UInt64] = [:]
    /// Repositories whose names are being searched, with what waits for that.
    var scanning: [CooldownScope: [() -> Void]] = [:]
    private var generation: UInt64 = 0
    var logLines = LogLineBudget()
    /// Called when content waits that may have been served without a decision: such answers must not be repeated from
    /// memory.
    var onWait: () -> Void = {}
    /// What tags without a served manifest got, for their ttl.
    var heldTags: [TagName: HeldTag] = [:]

    init(tags: TagChecks, puller: Puller) {
        self.tags = tags
        self.puller = puller
        store = puller.context.store
    }

    var loop: EventLoop { puller.context.loop }

    /// Whether some policy has a cooldown.
    package var isActive: Bool { store.keepsLedger }

    /// Takes the policies of `tags` into use.
    func policiesChanged() {
        generation &+= 1
        store.setLongestCooldown(tags.policies.longestCooldown.seconds)
        forget()
        (heldTags, scanned) = ([:], [:])
    }

    private func forget() {
        let former = admitted
        admitted = ProofTable()
        unread = [:]
        scanned = [:]
        store.freeLater(former)
    }

    /// A repository under the present policies.
    func scope(_ host: RegistryHost, _ repository: RepositoryName) -> CooldownScope {
        CooldownScope(host, repository, generation: generation)
    }

    // MARK: What is admitted

    /// Whether something is known to be served in a repository. Allocates nothing.
    func isAdmitted(_ digest: Digest, in repository: UnsafeRawBufferPointer) -> Bool {
        admitted.contains(digest, repository)
    }

    /// - Parameter namesParts: whether what the manifest names is served too.
    func admit(_ digest: Digest, in scope: CooldownScope, namesParts: Bool = true) {
        guard scope.generation == generation, !admitted.contains(digest, scope.text) else { return }
        if admitted.count >= Cooldown.maximumAdmitted || (namesParts && !hasRoom(scope)) { forget() }
        admitted.apply(.add(digest, repository: scope.text))
        if namesParts { addUnread(digest, scope) }
    }

    func addUnread(_ digest: Digest, _ scope: CooldownScope) { unread[scope, default: []].insert(digest) }

    private func hasRoom(_ scope: CooldownScope) -> Bool {
        unread[scope].map { $0.count < Cooldown.maximumUnread } ?? (unread.count < Cooldown.maximumScopes)
    }

    /// Whether content passes without a decision: its repository's policy has no cooldown, nothing waits there, and the
    /// manifest does not wait elsewhere.
    /// - Parameter name: the repository with an empty tag.
    func passesAtOnce(_ digest: Digest, _ name: TagBytes, _ repository: UnsafeRawBufferPointer) -> Bool {
        if admitted.contains(digest, repository) { return true }
        guard let policy = tags.policy(of: name, isLatest: false), policy.cooldown == .zero,
            let ledger = store.ledger, !waitsElsewhere(digest, ledger)
        else { return false }
        return ledger.pendingTagCount == 0
            || ledger.waitingTags(in: String(decoding: repository, as: UTF8.self)).isEmpty
    }

    /// Whether a manifest is held back in some repository.
    private func waitsElsewhere(_ digest: Digest, _ ledger: CooldownLedger) -> Bool {
        guard !ledger.isApproved(digest) else { return false }
        if !ledger.tags(waitingFor: digest).isEmpty { return true }
        return ledger.firstSeen(digest) != nil && !isOver(digest, tags.policies.longestCooldown.seconds)
    }

    /// Whether a manifest's wait is over.
    func isOver(_ digest: Digest, _ cooldownSeconds: Int64) -> Bool {
        store.ledgerAndNow.map { $0.isOver(digest, cooldownSeconds: cooldownSeconds, now: $1) } ?? false
    }

    /// What a manifest gets whose wait is not over.
    func hold(_ digest: Digest, _ cooldownSeconds: Int64) -> CooldownHold {
        CooldownHold(digest: digest, endSeconds: store.ledger?.end(of: digest, cooldownSeconds: cooldownSeconds))
    }

    // MARK: Decisions

    /// Decides whether a manifest may be served in the source's repository.
    /// - Parameters:
    ///   - mayFetch: whether the upstream may be asked.
    ///   - then: called later.
    func decide(
        manifest digest: Digest, from source: PullSource, mayFetch: Bool, then: @escaping (CooldownDecision) -> Void
    ) {
        let scope = scope(source.host, source.repository)
        let then = repeating(scope, then) { [self] in
            decide(manifest: digest, from: source, mayFetch: mayFetch, then: then)
        }
        whenCooldownKnown(scope) { [self] cooldown in
            guard cooldown > 0 else { return decideWithoutCooldown(digest, scope, mayFetch ? source : nil, then) }
            whenFirstSeenKnown(digest) { [self] in
                if isOver(digest, cooldown) || store.ledger?.isAdmitted(digest, in: scope.text) == true {
                    admit(digest, in: scope)
                    return then(.admitted)
                }
                whenNamed(digest, scope, cooldown) { [self] isNamed in
                    guard !isNamed else { return then(.admitted) }
                    decideByContent(digest, scope, cooldown, mayFetch ? source : nil, then)
                }
            }
        }
    }

    /// Decides whether a blob may be served in the source's repository, as `decide(manifest:…)`.
    func decide(blob digest: Digest, from source: PullSource, then: @escaping (CooldownDecision) -> Void) {
        let scope = scope(source.host, source.repository)
        let then = repeating(scope, then) { [self] in decide(blob: digest, from: source, then: then) }
        whenCooldownKnown(scope) { [self] cooldown in
            guard cooldown > 0 else { return then(.admitted) }
            whenNamed(digest, scope, cooldown) { isNamed in
                then(isNamed ? .admitted : .held(CooldownHold(digest: digest, endSeconds: nil)))
            }
        }
    }

    /// What `then` does, unless the policies have changed meanwhile: then it is decided again.
    private func repeating(
        _ scope: CooldownScope, _ then: @escaping (CooldownDecision) -> Void, _ again: @escaping () -> Void
    ) -> (CooldownDecision) -> Void {
        { [self] verdict in
            guard scope.generation != generation else { return then(verdict) }
            guard isActive else { return then(.admitted) }
            loop.deferred.enqueue(again)
        }
    }

    /// Decides about a manifest in a repository without a cooldown. One that waits elsewhere is served when this
    /// repository's own registry has it.
    private func decideWithoutCooldown(
        _ digest: Digest, _ scope: CooldownScope, _ source: PullSource?, _ then: @escaping (CooldownDecision) -> Void
    ) {
        guard let ledger = store.ledger, waitsElsewhere(digest, ledger), !ledger.isAdmitted(digest, in: scope.text)
        else { return then(.admitted) }
        guard let source else { return then(.held(hold(digest, tags.policies.longestCooldown.seconds))) }
        store.findManifest(digest) { [self] found in
            guard let found else { return admitPulled(digest, scope, source, then) }
            puller.prove(digest, .manifest, sizeBytes: Int64(found.sizeBytes), from: source) { [self] answer in
                switch answer {
                case .proven:
                    admit(digest, in: scope)
                    then(.admitted)
                case .refused(let error): then(.failed(error))
                case .needsContent: admitPulled(digest, scope, source, then)
                }
            }
        }
    }

    /// Admits a manifest if its registry sends it.
    private func admitPulled(
        _ digest: Digest, _ scope: CooldownScope, _ source: PullSource, _ then: @escaping (CooldownDecision) -> Void
    ) {
        puller.manifest(.digest(digest), from: source) { [self] result, _ in
            if let error = result.failure { return then(.failed(error)) }
            admit(digest, in: scope)
            then(.admitted)
        }
    }

    /// Calls `then` later with the cooldown in seconds that content of a repository has by digest: that of the policy
    /// of the repository's name with an empty tag, or the longest of its tags that wait.
    private func whenCooldownKnown(_ scope: CooldownScope, then: @escaping (Int64) -> Void) {
        store.whenLedgerKnown { [self] in
            guard let ledger = store.ledger else { return then(0) }
            let names = ledger.waitingTags(in: scope.text)
            guard names.count < Cooldown.maximumPolicies else { return then(tags.policies.longestCooldown.seconds) }
            longestCooldown([scope.name(tag: "")] + names.compactMap { TagName($0) }, 0, then)
        }
    }

    private func longestCooldown(_ names: [TagName], _ longest: Int64, _ then: @escaping (Int64) -> Void) {
        guard let name = names.last else { return then(longest) }
        tags.whenPolicyKnown(name) { [self] policy in
            let cooldown = policy.cooldown.seconds
            // A tag that nobody has asked for since its wait was over does not wait.
            let counts =
                name.tag.isEmpty
                || (store.ledger?.candidates(of: "\(name)") ?? []).contains {
                    !isOver($0.digest, cooldown)
                }
            longestCooldown(names.dropLast(), counts ? max(longest, cooldown) : longest, then)
        }
    }

    /// Calls `then`, at once or later, when a cached manifest has a time in the ledger: that of its file if there was
    /// none. Does nothing for a manifest that is not cached.
    func whenFirstSeenKnown(_ digest: Digest, then: @escaping () -> Void) {
        guard store.ledger?.firstSeen(digest) == nil else { return then() }
        store.manifestFileSeconds(digest) { [self] seconds in
            if let seconds { recordFirstSeen(digest, fileSeconds: seconds) }
            then()
        }
    }

    func recordFirstSeen(_ digest: Digest, fileSeconds: Int64) {
        guard store.ledger?.firstSeen(digest) == nil, let now = store.cooldownStamp else { return }
        let seconds = fileSeconds < Cooldown.earliestFileSeconds ? now : min(fileSeconds, now)
        store.record(.seen(digest, seconds: seconds))
    }

    /// Records that the cache has learned of a manifest now, unless it has known it.
    func recordFirstSeen(_ digest: Digest) {
        guard store.ledger?.firstSeen(digest) == nil, let now = store.cooldownStamp else { return }
        store.record(.seen(digest, seconds: now))
    }
}

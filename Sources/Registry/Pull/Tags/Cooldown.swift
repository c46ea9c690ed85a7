// `cooldown`: an image is not served in the first time after it was published. The cache cannot know when that was, so
// the wait begins when it first learns of the manifest.
//
// A manifest is served in a repository when its wait is over, when the operator has approved or loaded it, when a tag
// of the repository whose policy does not hold it back means it, or when a manifest that is served there names it. A
// blob is served when such a manifest names it. Tags have their own part (CooldownTags).

internal import Configuration
internal import Logging
internal import OCI

/// Which manifests and blobs may be served although policies have a cooldown.
package final class Cooldown {
    /// Manifests of one repository whose parts have not been read yet, and repositories with some. The parts of those
    /// beyond are found once a manifest that names them is requested again.
    private static let maximumRoots = 131_072
    private static let maximumPlaces = 16_384
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
    var roots: [CooldownPlace: Set<Digest>] = [:]
    /// Repositories whose roots are being read, with what waits for that.
    var reading: [CooldownPlace: [() -> Void]] = [:]
    var scanned: [CooldownPlace: UInt64] = [:]
    /// Repositories whose names are being searched, with what waits for that.
    var scanning: [CooldownPlace: [() -> Void]] = [:]
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
        roots = [:]
        scanned = [:]
        store.freeLater(former)
    }

    /// A repository under the present policies.
    func place(_ host: RegistryHost, _ repository: RepositoryName) -> CooldownPlace {
        CooldownPlace(host, repository, generation: generation)
    }

    // MARK: What is admitted

    /// Whether something is known to be served in a repository. Allocates nothing.
    func isAdmitted(_ digest: Digest, in repository: UnsafeRawBufferPointer) -> Bool {
        admitted.contains(digest, repository)
    }

    /// - Parameter namesParts: whether what the manifest names is served too.
    func admit(_ digest: Digest, in place: CooldownPlace, namesParts: Bool = true) {
        guard place.generation == generation, !admitted.contains(digest, place.text) else { return }
        if admitted.count >= Cooldown.maximumAdmitted { forget() }
        admitted.apply(.add(digest, repository: place.text))
        if namesParts { addRoot(digest, place) }
    }

    func addRoot(_ digest: Digest, _ place: CooldownPlace) {
        if roots[place] == nil, roots.count >= Cooldown.maximumPlaces { roots = [:] }
        guard roots[place, default: []].count < Cooldown.maximumRoots else { return }
        roots[place, default: []].insert(digest)
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
    func judge(
        manifest digest: Digest, from source: PullSource, mayFetch: Bool, then: @escaping (CooldownVerdict) -> Void
    ) {
        let place = place(source.host, source.repository)
        let then = repeating(place, then) { [self] in
            judge(manifest: digest, from: source, mayFetch: mayFetch, then: then)
        }
        whenCooldownKnown(place) { [self] cooldown in
            guard cooldown > 0 else { return judgeWithoutCooldown(digest, place, mayFetch ? source : nil, then) }
            whenSeen(digest) { [self] in
                if isOver(digest, cooldown) || store.ledger?.isAdmitted(digest, in: place.text) == true {
                    admit(digest, in: place)
                    return then(.admitted)
                }
                whenNamed(digest, place, cooldown) { [self] isNamed in
                    guard !isNamed else { return then(.admitted) }
                    judgeByContent(digest, place, cooldown, mayFetch ? source : nil, then)
                }
            }
        }
    }

    /// Decides whether a blob may be served in the source's repository, as `judge(manifest:…)`.
    func judge(blob digest: Digest, from source: PullSource, then: @escaping (CooldownVerdict) -> Void) {
        let place = place(source.host, source.repository)
        let then = repeating(place, then) { [self] in judge(blob: digest, from: source, then: then) }
        whenCooldownKnown(place) { [self] cooldown in
            guard cooldown > 0 else { return then(.admitted) }
            whenNamed(digest, place, cooldown) { isNamed in
                then(isNamed ? .admitted : .held(CooldownHold(digest: digest, endSeconds: nil)))
            }
        }
    }

    /// What `then` does, unless the policies have changed meanwhile: then it is decided again.
    private func repeating(
        _ place: CooldownPlace, _ then: @escaping (CooldownVerdict) -> Void, _ again: @escaping () -> Void
    ) -> (CooldownVerdict) -> Void {
        { [self] verdict in
            guard place.generation != generation else { return then(verdict) }
            guard isActive else { return then(.admitted) }
            loop.deferred.enqueue(again)
        }
    }

    /// Decides about a manifest in a repository without a cooldown. One that waits elsewhere is served when this
    /// repository's own registry has it.
    private func judgeWithoutCooldown(
        _ digest: Digest, _ place: CooldownPlace, _ source: PullSource?, _ then: @escaping (CooldownVerdict) -> Void
    ) {
        guard let ledger = store.ledger, waitsElsewhere(digest, ledger), !ledger.isAdmitted(digest, in: place.text)
        else { return then(.admitted) }
        guard let source else { return then(.held(hold(digest, tags.policies.longestCooldown.seconds))) }
        store.findManifest(digest) { [self] found in
            guard let found else { return admitPulled(digest, place, source, then) }
            puller.prove(digest, .manifest, sizeBytes: Int64(found.sizeBytes), from: source) { [self] answer in
                switch answer {
                case .proven:
                    admit(digest, in: place)
                    then(.admitted)
                case .refused(let error): then(.failed(error))
                case .needsContent: admitPulled(digest, place, source, then)
                }
            }
        }
    }

    /// Admits a manifest if its registry sends it.
    private func admitPulled(
        _ digest: Digest, _ place: CooldownPlace, _ source: PullSource, _ then: @escaping (CooldownVerdict) -> Void
    ) {
        puller.manifest(.digest(digest), from: source) { [self] result, _ in
            if let error = result.failure { return then(.failed(error)) }
            admit(digest, in: place)
            then(.admitted)
        }
    }

    /// Calls `then` later with the cooldown in seconds that content of a repository has by digest: that of the policy
    /// of the repository's name with an empty tag, or the longest of its tags that wait.
    private func whenCooldownKnown(_ place: CooldownPlace, then: @escaping (Int64) -> Void) {
        store.whenLedgerKnown { [self] in
            guard let ledger = store.ledger else { return then(0) }
            let names = ledger.waitingTags(in: place.text)
            guard names.count < Cooldown.maximumPolicies else { return then(tags.policies.longestCooldown.seconds) }
            longestCooldown([place.name(tag: "")] + names.compactMap { TagName($0) }, 0, then)
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

    /// Calls `then` when a cached manifest has a time in the ledger: the time of its file counts if there was none.
    func whenSeen(_ digest: Digest, then: @escaping () -> Void) {
        guard store.ledger?.firstSeen(digest) == nil else { return then() }
        store.manifestFileSeconds(digest) { [self] seconds in
            if let seconds { see(digest, fileSeconds: seconds) }
            then()
        }
    }

    func see(_ digest: Digest, fileSeconds: Int64) {
        guard store.ledger?.firstSeen(digest) == nil, let now = store.cooldownStamp else { return }
        let seconds = fileSeconds < Cooldown.earliestFileSeconds ? now : min(fileSeconds, now)
        store.record(.seen(digest, seconds: seconds))
    }

    /// Records that the cache has learned of a manifest now, unless it has known it.
    func see(_ digest: Digest) {
        guard store.ledger?.firstSeen(digest) == nil, let now = store.cooldownStamp else { return }
        store.record(.seen(digest, seconds: now))
    }
}

extension TagSpan {
    /// The span in seconds, rounded up.
    var seconds: Int64 { milliseconds.addingSaturated(999) / 1000 }
}

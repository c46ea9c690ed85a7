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
    /// Manifests of one repository whose parts have not been read yet; when there are more, they are found again on the
    /// disk.
    private static let maximumRoots = 4096
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
    private static let maximumReferrerBytes = 1 << 20

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

    // MARK: What is admitted

    /// Whether something is known to be served in a repository. Allocates nothing.
    func isAdmitted(_ digest: Digest, in repository: UnsafeRawBufferPointer) -> Bool {
        admitted.contains(digest, repository)
    }

    /// - Parameter namesParts: whether what the manifest names is served too.
    func admit(_ digest: Digest, in place: CooldownPlace, namesParts: Bool = true) {
        guard !admitted.contains(digest, place.text) else { return }
        if admitted.count >= Cooldown.maximumAdmitted { forget() }
        admitted.apply(.add(digest, repository: place.text))
        if namesParts { addRoot(digest, place) }
    }

    func addRoot(_ digest: Digest, _ place: CooldownPlace) {
        if roots[place, default: []].count >= Cooldown.maximumRoots {
            roots[place] = []
            scanned[place] = nil
        }
        roots[place, default: []].insert(digest)
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
    ///   - mayFetch: whether the upstream may be asked for a manifest that the cache does not have.
    ///   - then: called later. After `.admitted`, `isAdmitted` is true.
    func judge(
        manifest digest: Digest, from source: PullSource, mayFetch: Bool, then: @escaping (CooldownVerdict) -> Void
    ) {
        let place = CooldownPlace(source)
        whenCooldownKnown(place, digest) { [self] cooldown in
            guard cooldown > 0 else {
                admit(digest, in: place)
                return then(.admitted)
            }
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
        let place = CooldownPlace(source)
        whenCooldownKnown(place, nil) { [self] cooldown in
            guard cooldown > 0 else {
                admit(digest, in: place, namesParts: false)
                return then(.admitted)
            }
            whenNamed(digest, place, cooldown) { isNamed in
                then(isNamed ? .admitted : .held(CooldownHold(digest: digest, endSeconds: nil)))
            }
        }
    }

    /// Calls `then` later with the cooldown in seconds that content of a repository has by digest: that of the policy
    /// of the repository's name with an empty tag, or the longest of its tags that wait. For a manifest that tags wait
    /// for, theirs count in every repository.
    private func whenCooldownKnown(_ place: CooldownPlace, _ digest: Digest?, then: @escaping (Int64) -> Void) {
        store.whenLedgerKnown { [self] in
            guard let ledger = store.ledger else { return then(0) }
            var names = ledger.waitingTags(in: place.text)
            if let digest { names.formUnion(ledger.tags(waitingFor: digest)) }
            guard names.count < Cooldown.maximumPolicies else { return then(tags.policies.longestCooldown.seconds) }
            longestCooldown([place.name(tag: "")] + names.compactMap { TagName($0) }, 0, then)
        }
    }

    private func longestCooldown(_ names: [TagName], _ longest: Int64, _ then: @escaping (Int64) -> Void) {
        guard let name = names.last else { return then(longest) }
        tags.whenPolicyKnown(name) { [self] policy in
            longestCooldown(names.dropLast(), max(longest, policy.cooldown.seconds), then)
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

    /// Decides about a manifest that no other one names: it is served if it is about an image that is.
    /// - Parameter source: where the manifest is fetched from if the cache does not have it; nil: nowhere.
    private func judgeByContent(
        _ digest: Digest, _ place: CooldownPlace, _ cooldown: Int64, _ source: PullSource?,
        _ then: @escaping (CooldownVerdict) -> Void
    ) {
        store.findManifest(digest) { [self] found in
            if let found { return examine(found, nil, place, cooldown, then) }
            let isKnown = store.ledger?.firstSeen(digest) != nil
            guard let source else {
                let error = RegistryError.notCached(manifest: .digest(digest), in: place.repository)
                return then(isKnown ? .held(hold(digest, cooldown)) : .failed(error))
            }
            // The wait begins with the registry's word for it: otherwise a client could let it pass beforehand.
            puller.manifest(.digest(digest), from: source) { [self] result, _ in
                switch result {
                case .success(let manifest):
                    see(digest)
                    examine(manifest, nil, place, cooldown, then)
                case .failure(let error): then(isKnown ? .held(hold(digest, cooldown)) : .failed(error))
                }
            }
        }
    }

    /// Decides about a manifest by its content.
    /// - Parameter subject: what it is about by its tag; nil for a manifest that names its subject itself.
    func examine(
        _ manifest: CachedManifest, _ subject: Digest?, _ place: CooldownPlace, _ cooldown: Int64,
        _ then: @escaping (CooldownVerdict) -> Void
    ) {
        let held = hold(manifest.digest, cooldown)
        guard manifest.sizeBytes <= Cooldown.maximumReferrerBytes else { return then(.held(held)) }
        let (body, type) = (manifest.sharedBody, manifest.mediaType.text)
        puller.context.offload.run {
            try Manifest.decode(body.bytes, contentType: type)
        } then: { [self] (result: Result<Manifest, any Error>) in
            guard case .success(let decoded) = result, decoded.isRunnable == false,
                let about = decoded.subject ?? subject
            else { return then(.held(held)) }
            whenServed(about, place, cooldown) { [self] isServed in
                guard isServed else { return then(.held(held)) }
                // The entries of an index are judged one by one: anybody can write one.
                admit(manifest.digest, in: place, namesParts: !manifest.mediaType.isIndex)
                then(.admitted)
            }
        }
    }

    /// Whether an image is served in a repository, by what the cache knows.
    private func whenServed(
        _ digest: Digest, _ place: CooldownPlace, _ cooldown: Int64, then: @escaping (Bool) -> Void
    ) {
        if isOver(digest, cooldown) || store.ledger?.isAdmitted(digest, in: place.text) == true { return then(true) }
        whenNamed(digest, place, cooldown, then: then)
    }
}

extension TagSpan {
    /// The span in seconds, rounded up.
    var seconds: Int64 { milliseconds.addingSaturated(999) / 1000 }
}

extension Manifest {
    /// Whether a container runtime would run it: by its config, since runtimes take layers of unknown types for what
    /// they look like. An index has none, and its entries are judged one by one.
    fileprivate var isRunnable: Bool {
        guard !mediaType.isIndex, mediaType != .ociArtifact else { return false }
        guard let type = config?.mediaType else { return true }
        return Manifest.imageConfigs.contains(type.asciiLowercased)
    }

    private static let imageConfigs: Set<String> = [
        "application/vnd.oci.image.config.v1+json", "application/vnd.docker.container.image.v1+json", "",
    ]
}

// What `cooldown` has to remember: when the cache first learned of manifests, and what tags have moved to meanwhile.
// A value without a clock or a disk: StoreLedger has both.

package import OCI

/// The ledger of `cooldown`. Times are seconds since 1970.
package struct CooldownLedger: Sendable {
    /// Manifests with a time. Beyond it the oldest are forgotten: most of their waits are over, and those in the cache
    /// have the time of their file.
    static let maximumDigests = 1_000_000
    /// Admissions to repositories, and tags that wait. Clients name tags freely, but each needs an upstream's answer.
    static let maximumAdmissions = 262_144
    static let maximumTags = 16_384
    /// Manifests of one tag that wait. When there are more, the newest replaces the one before it: the oldest are the
    /// next whose waits end.
    static let maximumCandidates = 64

    /// A manifest that a tag has moved to.
    package struct Candidate: Sendable, Equatable {
        package let digest: Digest
        package let seconds: Int64
    }

    private struct Admission: Hashable {
        let digest: Digest
        let repository: String
    }

    private var seen = DigestMap<Int64>()
    private var approved: Set<Digest> = []
    private var admitted: Set<Admission> = []
    private var exempt: Set<Admission> = []
    private var signatures: Set<Admission> = []
    /// The candidates of tags, the newest last.
    private var pending: [String: [Candidate]] = [:]
    private var candidateCount = 0
    private var tagsOfDigest: [Digest: Set<String>] = [:]
    private var tagsOfRepository: [String: Set<String>] = [:]
    /// The newest time of an entry, and the latest that the clock of waits has reached.
    package private(set) var newestSeconds: Int64 = 0
    package private(set) var reachedSeconds: Int64 = 0
    /// The number of the last `moved`.
    package private(set) var moves: Int64 = 0

    package init() {}

    // MARK: Questions

    /// Entries that a file of this ledger has.
    package var count: Int {
        seen.count + approved.count + admitted.count + exempt.count + signatures.count + candidateCount + 1
            + (moves > 0 ? 1 : 0)
    }

    /// Tags that have moved to an image which they do not serve yet.
    package var pendingTagCount: Int { pending.count }

    /// When the cache first learned of a manifest; nil when it is not known.
    package func firstSeen(_ digest: Digest) -> Int64? { seen[digest] }

    package func isApproved(_ digest: Digest) -> Bool { approved.contains(digest) }

    /// Whether a manifest may be pulled by its digest in a repository although its wait is not over.
    package func isAdmitted(_ digest: Digest, in repository: String) -> Bool {
        let admission = Admission(digest: digest, repository: repository)
        return admitted.contains(admission) || exempt.contains(admission) || signatures.contains(admission)
    }

    /// Whether a manifest does not wait in a repository as a signature only: what it names as an index waits.
    package func isSignature(_ digest: Digest, in repository: String) -> Bool {
        signatures.contains(Admission(digest: digest, repository: repository))
    }

    /// Whether a manifest does not wait in a repository, also for its tags.
    package func isExempt(_ digest: Digest, in repository: String) -> Bool {
        let admission = Admission(digest: digest, repository: repository)
        return exempt.contains(admission) || signatures.contains(admission)
    }

    /// When a manifest's wait ends; 0 for an approved one, nil when its beginning is not known.
    package func end(of digest: Digest, cooldownSeconds: Int64) -> Int64? {
        if approved.contains(digest) { return 0 }
        return seen[digest].map { $0.addingSaturated(cooldownSeconds) }
    }

    package func isOver(_ digest: Digest, cooldownSeconds: Int64, now: Int64) -> Bool {
        end(of: digest, cooldownSeconds: cooldownSeconds).map { $0 <= now } ?? false
    }

    /// What a tag has moved to and is not served yet, the newest last.
    package func candidates(of tag: String) -> [Candidate] { pending[tag] ?? [] }

    /// The newest manifest that a tag has moved to and whose wait is over.
    package func choice(of tag: String, cooldownSeconds: Int64, now: Int64) -> Digest? {
        pending[tag]?.last { isOver($0.digest, cooldownSeconds: cooldownSeconds, now: now) }?.digest
    }

    /// What a tag serves, in the order of preference.
    package enum Choice: Equatable {
        /// What its upstream means.
        case newest
        /// An older manifest, whose wait is over.
        case older(Digest)
        /// What it serves already, or nothing.
        case none
    }

    /// Chooses what a tag serves, after its upstream has said what it means.
    /// - Parameter stamp: the time for new entries; nil while the clock is not right.
    /// - Returns: the choice, and the changes to record.
    package func choose(
        _ tag: String, means digest: Digest, cooldownSeconds: Int64, now: Int64, stamp: Int64?
    ) -> (Choice, changes: [LedgerChange]) {
        if isOver(digest, cooldownSeconds: cooldownSeconds, now: now) { return (.newest, []) }
        var changes: [LedgerChange] = []
        if let stamp, seen[digest] == nil { changes.append(.seen(digest, seconds: stamp)) }
        if let stamp, candidates(of: tag).last?.digest != digest {
            changes.append(.pending(digest, tag: tag, seconds: stamp))
        }
        let older = candidates(of: tag).last {
            $0.digest != digest && isOver($0.digest, cooldownSeconds: cooldownSeconds, now: now)
        }
        return (older.map { .older($0.digest) } ?? .none, changes)
    }

    /// The change when a tag serves a manifest from now on; nil when nothing changes.
    package func changeWhenServed(_ digest: Digest, by tag: String) -> LedgerChange? {
        candidates(of: tag).isEmpty ? nil : .taken(digest, tag: tag)
    }

    /// The tags that have moved to a manifest and do not serve it yet.
    package func tags(waitingFor digest: Digest) -> Set<String> { tagsOfDigest[digest] ?? [] }

    /// The tags of a repository, `host/name`, with something that is not served yet.
    package func waitingTags(in repository: String) -> Set<String> { tagsOfRepository[repository] ?? [] }

    package func forEachPending(_ body: (_ tag: String, _ candidates: [Candidate]) -> Void) {
        for (tag, candidates) in pending { body(tag, candidates) }
    }

    // MARK: Changes

    package mutating func apply(_ change: LedgerChange) {
        switch change {
        case .seen(let digest, let seconds): see(digest, seconds)
        case .approved(let digest): approved.insert(digest)
        case .admitted(let digest, let repository): CooldownLedger.add(digest, repository, to: &admitted)
        case .exempt(let digest, let repository): CooldownLedger.add(digest, repository, to: &exempt)
        case .signature(let digest, let repository): CooldownLedger.add(digest, repository, to: &signatures)
        case .moved(let seconds, let since, let number):
            guard number > moves else { return }
            moves = number
            move(by: seconds, since: since)
        case .pending(let digest, let tag, let seconds): wait(digest, tag, seconds)
        case .taken(let digest, let tag): take(digest, tag)
        case .reached(let seconds): reachedSeconds = max(reachedSeconds, seconds)
        }
    }

    /// Beyond the limit any one is forgotten: most of them have waited long enough since.
    private static func add(_ digest: Digest, _ repository: String, to admissions: inout Set<Admission>) {
        if admissions.count >= maximumAdmissions, let any = admissions.first { admissions.remove(any) }
        admissions.insert(Admission(digest: digest, repository: repository))
    }

    private mutating func move(by seconds: Int64, since: Int64) {
        var moved: [(Digest, Int64)] = []
        seen.forEach { digest, time in if time >= since { moved.append((digest, time.addingSaturated(seconds))) } }
        for (digest, time) in moved {
            seen[digest] = time
            newestSeconds = max(newestSeconds, time)
        }
    }

    /// The first time counts: a line that is in the file twice must not undo a move.
    private mutating func see(_ digest: Digest, _ seconds: Int64) {
        guard seen[digest] == nil else { return }
        newestSeconds = max(newestSeconds, seconds)
        if seen.count >= CooldownLedger.maximumDigests { forgetOldest() }
        seen[digest] = seconds
    }

    private mutating func forgetOldest() {
        var times: [(Int64, Digest)] = []
        seen.forEach { times.append(($1, $0)) }
        times.sort { $0.0 < $1.0 }
        for (_, digest) in times.prefix(times.count / 8) where tagsOfDigest[digest] == nil { seen[digest] = nil }
    }

    private mutating func wait(_ digest: Digest, _ tag: String, _ seconds: Int64) {
        newestSeconds = max(newestSeconds, seconds)
        // Some tag is forgotten, and found again by its next check.
        if pending[tag] == nil, pending.count >= CooldownLedger.maximumTags, let any = pending.keys.first {
            replace([], of: any)
        }
        var candidates = candidates(of: tag).filter { $0.digest != digest }
        if candidates.count >= CooldownLedger.maximumCandidates { candidates.removeLast() }
        replace(candidates + [Candidate(digest: digest, seconds: seconds)], of: tag)
    }

    private mutating func take(_ digest: Digest, _ tag: String) {
        let candidates = candidates(of: tag)
        guard let index = candidates.lastIndex(where: { $0.digest == digest }) else { return replace([], of: tag) }
        replace(Array(candidates[(index + 1)...]), of: tag)
    }

    private mutating func replace(_ candidates: [Candidate], of tag: String) {
        let repository = CooldownLedger.repository(of: tag)
        for former in self.candidates(of: tag) { tagsOfDigest.remove(tag, of: former.digest) }
        tagsOfRepository.remove(tag, of: repository)
        candidateCount += candidates.count - self.candidates(of: tag).count
        pending[tag] = candidates.isEmpty ? nil : candidates
        guard !candidates.isEmpty else { return }
        for candidate in candidates { tagsOfDigest[candidate.digest, default: []].insert(tag) }
        tagsOfRepository[repository, default: []].insert(tag)
    }

    /// `host/name` of `host/name:tag`: a tag has no colon.
    package static func repository(of tag: String) -> String {
        tag.lastIndex(of: ":").map { String(tag[..<$0]) } ?? tag
    }

    // MARK: The file

    /// The changes that make this ledger of an empty one.
    package func forEachChange(_ body: (LedgerChange) -> Void) {
        body(.reached(seconds: reachedSeconds))
        // The times are those after all moves.
        if moves > 0 { body(.moved(seconds: 0, since: 0, number: moves)) }
        seen.forEach { body(.seen($0, seconds: $1)) }
        for digest in approved { body(.approved(digest)) }
        for admission in admitted { body(.admitted(admission.digest, repository: admission.repository)) }
        for admission in exempt { body(.exempt(admission.digest, repository: admission.repository)) }
        for admission in signatures { body(.signature(admission.digest, repository: admission.repository)) }
        for (tag, candidates) in pending {
            for candidate in candidates { body(.pending(candidate.digest, tag: tag, seconds: candidate.seconds)) }
        }
    }
}

extension Dictionary where Value == Set<String> {
    /// Removes a member of an entry, and an entry without members.
    fileprivate mutating func remove(_ member: String, of key: Key) {
        self[key]?.remove(member)
        if self[key]?.isEmpty == true { self[key] = nil }
    }
}

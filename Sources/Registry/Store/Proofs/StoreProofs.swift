// The index of proofs: in which repositories cached content may be served. A repository has a proof for content when
// its registry has sent that content, or has said that it has it, or when an archive that the operator loaded has it
// under that name. A manifest that names a digest proves nothing: anybody can write one.
//
// Proofs are always written, but they are in memory only while somebody needs them (`requiresProofs`, or a load).

internal import Logging
package import OCI

/// The state of the index of proofs.
struct Proofs {
    /// Changes that wait for the disk. At most this many proofs: while the disk hangs, further ones are dropped, and
    /// asked for again when they are needed. Removals are as many as the content on the disk.
    static let maximumUnwritten = 65_536

    /// Content in a repository, `host/name`.
    struct Key: Hashable {
        let digest: Digest
        let repository: String
    }

    /// The index; nil while it is not in memory.
    var table: ProofTable?
    /// Changes since the table's file is being read.
    var sinceLoading: [ProofChange]?
    var waitingForTable: [() -> Void] = []
    /// Number of those that need the index in memory.
    var users = 0
    /// Proofs that are not on the disk yet, with the callers that wait for that. Only while the index is in memory.
    var pending: [Key: [() -> Void]] = [:]
    var unwritten: [ProofChange] = []
    var isBusy = false
    /// The file; nil when it has to be read first.
    var file: ProofFile.State?
    /// Whether lines of the file are damaged.
    var isDamaged = false
    /// Whether appended lines may not be on the device yet.
    var isUnsynced = false
    /// Counts changes that end proofs.
    var removalCount: UInt64 = 0
    /// Whether content is served only where a proof exists.
    var areRequired = false
}

/// Whether content may be served in a repository.
package enum ProofStatus {
    case proven
    case unproven
    /// The index is being read, or the proof is being written: `whenProofKnown` waits for that.
    case unknown
}

extension Store {
    /// Whether content is served only in repositories that have a proof for it. Otherwise everything is served under
    /// every name.
    package var requiresProofs: Bool {
        get { proofs.areRequired }
        set {
            guard newValue != proofs.areRequired else { return }
            proofs.areRequired = newValue
            if newValue { beginUsingProofs() } else { endUsingProofs() }
        }
    }

    /// Reads the index into memory, and keeps it there until `endUsingProofs`.
    package func beginUsingProofs() {
        proofs.users += 1
        if proofs.table == nil, proofs.sinceLoading == nil { loadProofs() }
    }

    package func endUsingProofs() {
        proofs.users -= 1
        guard proofs.users == 0, let table = proofs.table else { return }
        proofs.table = nil
        freeLater(table)
    }

    /// Records that a repository has content. It counts once it is on the disk: content that was served because of it
    /// must be served after a crash as well.
    /// - Parameter then: called later, when it counts.
    package func addProof(
        _ digest: Digest, host: RegistryHost, repository: RepositoryName, then: @escaping () -> Void = {}
    ) {
        let key = Proofs.Key(digest: digest, repository: "\(host)/\(repository)")
        guard mayBeginWork, proofs.unwritten.count < Proofs.maximumUnwritten,
            proofs.table?.contains(digest, key.repository) != true
        else { return loop.deferred.enqueue(then) }
        if proofs.users > 0 {
            if proofs.pending[key] != nil {
                proofs.pending[key]?.append(then)
                return
            }
            proofs.pending[key] = [then]
        } else {
            loop.deferred.enqueue(then)
        }
        change(.add(digest, repository: key.repository))
    }

    /// Records that content has left the cache.
    func removeProofs(of digest: Digest) {
        proofs.removalCount &+= 1
        change(.removeContent(digest))
    }

    /// Records that no image of a repository is left in the cache.
    func removeProofs(ofRepository repository: String) {
        proofs.removalCount &+= 1
        change(.removeRepository(repository))
    }

    /// The status of a proof, from memory. Allocates nothing.
    /// - Parameter repository: `host/name`.
    package func proofStatus(of digest: Digest, in repository: UnsafeRawBufferPointer) -> ProofStatus {
        guard let table = proofs.table else { return .unknown }
        if table.contains(digest, repository) { return .proven }
        return proofs.pending.isEmpty ? .unproven : .unknown
    }

    /// Calls `then` later with whether the content may be served in the repository.
    package func whenProofKnown(
        _ digest: Digest, host: RegistryHost, repository: RepositoryName, then: @escaping (Bool) -> Void
    ) {
        guard let table = proofs.table else {
            // Without a table that is being read, there is nobody who requires proofs any more.
            guard proofs.sinceLoading != nil else { return loop.deferred.complete(then, false) }
            return proofs.waitingForTable.append { [self] in
                whenProofKnown(digest, host: host, repository: repository, then: then)
            }
        }
        let key = Proofs.Key(digest: digest, repository: "\(host)/\(repository)")
        if table.contains(digest, key.repository) { return loop.deferred.complete(then, true) }
        guard proofs.pending[key] != nil else { return loop.deferred.complete(then, false) }
        proofs.pending[key]?.append { then(true) }
    }

    /// Calls `then` later with whether the content may be served in the repository, as the settings are.
    package func whenMayBeServed(
        _ digest: Digest, host: RegistryHost, repository: RepositoryName, then: @escaping (Bool) -> Void
    ) {
        guard requiresProofs else { return loop.deferred.complete(then, true) }
        whenProofKnown(digest, host: host, repository: repository, then: then)
    }

    // MARK: The file

    private func change(_ change: ProofChange) {
        proofs.sinceLoading?.append(change)
        // A proof counts once it is on the disk, its removal at once.
        if case .add = change {} else { proofs.table?.apply(change) }
        proofs.unwritten.append(change)
        if mayBeginWork { writeProofs() }
    }

    /// Performs the next operation that the file needs, one at a time: they must not pile up behind a hanging disk.
    private func writeProofs() {
        guard !proofs.isBusy, !proofs.unwritten.isEmpty || proofs.isDamaged else { return }
        guard let file = proofs.file else { return readProofState() }
        if proofs.isDamaged || file.isWorthRewriting { rewriteProofs() } else { appendProofs(after: file) }
    }

    private func readProofState() {
        let layout = layout
        withProofFile({ () throws(StoreError) in try ProofFile.state(layout) }) { [self] result in
            switch result {
            case .success(let state):
                proofs.file = state
                writeProofs()
            case .failure(let error): dropUnwritten(error)
            }
        }
    }

    private func appendProofs(after file: ProofFile.State, isSynced: Bool = false) {
        let (layout, changes) = (layout, proofs.unwritten)
        proofs.unwritten = []
        // While nobody requires them, a crash of the machine may lose the latest.
        let isSynced = isSynced || proofs.users > 0
        proofs.isUnsynced = !isSynced
        withProofFile({ () throws(StoreError) in
            try ProofFile.append(changes, after: file, isSynced: isSynced, layout)
        }) { [self] result in
            switch result {
            case .success(let state): proofs.file = state
            case .failure(let error):
                noteFailure(error)
                logger.error("store: proofs are kept in memory only: \(error)")
                // It may end in half a line.
                proofs.file = nil
            }
            for change in changes { settle(change) }
            writeProofs()
        }
    }

    /// Makes a written proof count. One that the disk has refused counts too: the registry has said it.
    private func settle(_ change: ProofChange) {
        guard case .add(let digest, let repository) = change else { return }
        let waiting = proofs.pending.removeValue(forKey: Proofs.Key(digest: digest, repository: repository)) ?? []
        proofs.table?.apply(change)
        loop.deferred.forEach(waiting) { $0() }
    }

    private func rewriteProofs() {
        let layout = layout
        withProofFile({ () throws(StoreError) in try ProofFile.rewrite(layout) }) { [self] result in
            proofs.isDamaged = false
            switch result {
            case .success(let (state, setAside)):
                proofs.file = state
                if let setAside {
                    countDamage(.read)
                    reportQuarantine(layout.proofs, "damaged lines", .success(setAside))
                }
            case .failure(let error):
                logger.error("store: PROOFS cannot be rewritten: \(error)")
                // Not tried again with every proof.
                if let file = proofs.file {
                    proofs.file = ProofFile.State(
                        bytes: file.bytes, rewrittenBytes: file.bytes, isTorn: file.isTorn)
                }
            }
            if let file = proofs.file, !proofs.unwritten.isEmpty { appendProofs(after: file) }
        }
    }

    private func dropUnwritten(_ error: StoreError) {
        noteFailure(error)
        logger.error("store: proofs cannot be written: \(error)")
        let changes = proofs.unwritten
        proofs.unwritten = []
        for change in changes { settle(change) }
    }

    private func loadProofs() {
        let layout = layout
        // These are written after the file has been read.
        proofs.sinceLoading = proofs.unwritten
        withProofFile({ () throws(StoreError) in try ProofFile.load(layout) }) { [self] result in
            let changes = proofs.sinceLoading ?? []
            proofs.sinceLoading = nil
            var table = ProofTable()
            switch result {
            case .success(let content):
                table = content.table
                proofs.isDamaged = content.damagedLines > 0
                if content.skippedBytes > 0 {
                    logger.warning(
                        "store: PROOFS is too large: the oldest proofs are not known",
                        metadata: ["skipped_bytes": "\(content.skippedBytes)"])
                }
            case .failure(let error): logger.error("store: proofs cannot be read, and are asked for again: \(error)")
            }
            for change in changes where !isPending(change) { table.apply(change) }
            if proofs.users > 0 { proofs.table = table } else { freeLater(table) }
            let waiting = proofs.waitingForTable
            proofs.waitingForTable = []
            loop.deferred.forEach(waiting) { $0() }
            writeProofs()
        }
    }

    private func isPending(_ change: ProofChange) -> Bool {
        guard case .add(let digest, let repository) = change else { return false }
        return proofs.pending[Proofs.Key(digest: digest, repository: repository)] != nil
    }

    /// Makes the file durable before the store closes.
    func finishProofs() {
        guard proofs.isUnsynced, let file = proofs.file else { return }
        appendProofs(after: file, isSynced: true)
    }

    /// Frees an index in the pool: a large one takes long.
    private func freeLater(_ table: ProofTable) {
        offload.run {
            table.removeAll()
        } then: { _ in
        }
    }

    /// Runs a job that reads or writes the file, after the earlier ones.
    private func withProofFile<R: Sendable>(
        _ work: @escaping @Sendable () throws(StoreError) -> R, then: @escaping (Result<R, StoreError>) -> Void
    ) {
        workBegins()
        proofs.isBusy = true
        proofChain.attempt(work) { [self] result in
            proofs.isBusy = !proofChain.isIdle
            then(result)
            workEnds()
        }
    }
}

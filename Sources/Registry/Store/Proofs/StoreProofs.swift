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
    /// Whether the store is closing, so that everything has to be on the device.
    var isFinishing = false
    /// Callers that wait until the changes so far have been written, or the disk has refused them.
    var waitingForWrites: [() -> Void] = []
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
        onContentAdded?(host, repository, digest)
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
        endPending { $0.digest == digest }
        change(.removeContent(digest))
    }

    /// Records that no image of a repository is left in the cache.
    func removeProofs(ofRepository repository: String) {
        proofs.removalCount &+= 1
        endPending { $0.repository == repository }
        change(.removeRepository(repository))
    }

    /// Ends the wait for proofs that are removed before they are on the disk: a later proof has to be written again.
    private func endPending(where isMeant: (Proofs.Key) -> Bool) {
        for key in Array(proofs.pending.keys) where isMeant(key) {
            loop.deferred.forEach(proofs.pending.removeValue(forKey: key) ?? []) { $0() }
        }
    }

    /// Calls `then` later, when the changes so far have been written, or the disk has refused them.
    func whenProofsWritten(then: @escaping () -> Void) {
        guard proofs.isBusy else { return loop.deferred.enqueue(then) }
        proofs.waitingForWrites.append(then)
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
            // No table, and none is being read: nothing requires proofs any more.
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

    /// Calls `then` with whether the content may be served in the repository: at once while no proofs are required.
    package func whenServable(
        _ digest: Digest, host: RegistryHost, repository: RepositoryName, then: @escaping (Bool) -> Void
    ) {
        guard requiresProofs else { return then(true) }
        whenProofKnown(digest, host: host, repository: repository, then: then)
    }
}

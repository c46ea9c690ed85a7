// The operations on the file of the index of proofs, one at a time and in order: append, rewrite, read.

internal import Logging
internal import OCI

extension Store {
    /// Applies a change, and writes it with the next operation on the file.
    func change(_ change: ProofChange) {
        proofs.sinceLoading?.append(change)
        // A proof counts once it is on the disk, its removal at once.
        if case .add = change {} else { proofs.table?.apply(change) }
        proofs.unwritten.append(change)
        if mayBeginWork { writeProofs() }
    }

    /// Performs the next operation that the file needs, one at a time: they must not pile up behind a hanging disk.
    private func writeProofs() {
        guard !proofs.isBusy else { return }
        guard !proofs.unwritten.isEmpty || proofs.isDamaged || (proofs.isFinishing && proofs.isUnsynced) else {
            return writesEnded()
        }
        guard let file = proofs.file else { return readProofState() }
        if proofs.isDamaged || file.isWorthRewriting { rewriteProofs() } else { appendProofs(after: file) }
    }

    private func writesEnded() {
        let waiting = proofs.waitingForWrites
        proofs.waitingForWrites = []
        loop.deferred.forEach(waiting) { $0() }
    }

    /// Keeps changes that the disk has refused, for the next change or the next minute. Proofs count meanwhile: the
    /// registry has vouched for the content.
    private func writesFailed(_ changes: [ProofChange], _ error: StoreError) {
        noteFailure(error)
        logger.error("store: proofs cannot be written to PROOFS yet: \(error)")
        proofs.unwritten.insert(contentsOf: changes, at: 0)
        // It may end in half a line.
        proofs.file = nil
        for change in changes { settle(change) }
        writesEnded()
    }

    /// Tries again to write what the disk has refused.
    func retryProofs() { writeProofs() }

    private func readProofState() {
        let layout = layout
        withProofFile({ () throws(StoreError) in try ProofFile.state(layout) }) { [self] result in
            switch result {
            case .success(let state):
                proofs.file = state
                writeProofs()
            case .failure(let error):
                let changes = proofs.unwritten
                proofs.unwritten = []
                writesFailed(changes, error)
            }
        }
    }

    private func appendProofs(after file: ProofFile.State) {
        let (layout, changes) = (layout, proofs.unwritten)
        proofs.unwritten = []
        // While nobody requires them, a crash of the machine may lose the latest.
        let isSynced = proofs.users > 0 || proofs.isFinishing
        withProofFile({ () throws(StoreError) in
            try ProofFile.append(changes, after: file, isSynced: isSynced, layout)
        }) { [self] result in
            switch result {
            case .success(let state):
                proofs.file = state
                proofs.isUnsynced = !isSynced
                for change in changes { settle(change) }
                writeProofs()
            case .failure(let error): writesFailed(changes, error)
            }
        }
    }

    /// Makes a proof count, unless it has been removed meanwhile.
    private func settle(_ change: ProofChange) {
        guard case .add(let digest, let repository) = change,
            let waiting = proofs.pending.removeValue(forKey: Proofs.Key(digest: digest, repository: repository))
        else { return }
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
                proofs.isUnsynced = false
                if let setAside {
                    countDamage(.read)
                    reportQuarantine(layout.proofs, "damaged lines", setAside)
                }
            case .failure(let error):
                logger.error("store: PROOFS cannot be rewritten: \(error)")
                // Not tried again with every proof.
                if let file = proofs.file {
                    proofs.file = ProofFile.State(
                        bytes: file.bytes, rewrittenBytes: file.bytes, isTorn: file.isTorn)
                }
            }
            writeProofs()
        }
    }

    func loadProofs() {
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
        proofs.isFinishing = true
        writeProofs()
    }

    /// Frees an index in the pool: a large one takes long.
    func freeLater(_ table: ProofTable) {
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

// The store of a running server, hashed again while it serves: a step at a time in the pool, and what is wrong leaves
// the indexes before its file is moved, so that the next request for it is a miss and a pull brings it anew.

/// One walk over a store in use. It keeps itself alive until it has ended.
package final class StoreVerification {
    private let store: Store
    private let check: StoreCheck
    private let tell: (VerifyNews) -> Void
    private var isStopping = false

    /// - Parameter tell: hears of everything, `ended` last.
    package init(_ store: Store, tell: @escaping (VerifyNews) -> Void) {
        self.store = store
        self.tell = tell
        check = StoreCheck(heldBy: store.layout)
    }

    package func start() { step() }

    /// Ends it after the step under way.
    package func stop() { isStopping = true }

    private func step() {
        guard !isStopping, !store.isClosing else { return end(isStopped: true) }
        let check = check
        store.perform({ () throws(StoreError) in check.next() }) { [self] result in
            switch result {
            // The pool has refused the job: the process is ending.
            case .failure: end(isStopped: true)
            case .success(.end): end(isStopped: false)
            case .success(.right): goOn()
            case .success(.wrong(let fault)): setAside(fault)
            }
        }
    }

    private func goOn() {
        tell(.progress(check.progress))
        step()
    }

    private func setAside(_ fault: StoreCheck.Fault) {
        store.setAside(fault) { [self] result in
            switch result {
            case .success(nil): break
            case .success(.some(let target)): tell(.wrong(check.finding(fault, setAsideTo: target)))
            case .failure(let error):
                check.cannotBeSetAside(error)
                tell(.wrong(check.finding(fault, setAsideTo: nil)))
            }
            goOn()
        }
    }

    private func end(isStopped: Bool) { tell(.ended(check.report(isStopped: isStopped))) }
}

extension Store {
    /// Takes what was found wrong out of use and moves it away.
    /// - Parameter then: where it is now; nil when the file that was hashed is not there any more.
    func setAside(_ fault: StoreCheck.Fault, then: @escaping (Result<String?, StoreError>) -> Void) {
        let layout = layout
        let work: @Sendable () throws(StoreError) -> String? = { () throws(StoreError) in
            do throws(StoreError) {
                guard try Disk.status(at: fault.path).identity == fault.identity else { return nil }
                return try layout.setAside(fault.path, reason: fault.reason)
            } catch {
                if error.isMissing { return nil }
                throw error
            }
        }
        if let type = fault.type {
            setAsideManifest(fault, type, work, then)
        } else {
            setAsideBlob(fault, work, then)
        }
    }

    /// Those who read it keep the file they have; its name is free for a new one only when it is out of the way.
    private func setAsideBlob(
        _ fault: StoreCheck.Fault, _ work: @escaping @Sendable () throws(StoreError) -> String?,
        _ then: @escaping (Result<String?, StoreError>) -> Void
    ) {
        let known = blobs[fault.digest]
        // Pruned, or on its way out, since it was hashed.
        guard condemned[fault.digest] == nil, known != nil || !isRecovered else { return then(.success(nil)) }
        condemn(fault.digest, work) { [self] result in
            switch result {
            case .success(.some(let target)): reportQuarantine(fault.path, fault.reason, .success(target))
            case .success(nil):
                // Another file has got the name since.
                if let known { blobs.set(fault.digest, sizeBytes: known.sizeBytes) }
            case .failure(let error): reportQuarantine(fault.path, fault.reason, .failure(error))
            }
            then(result)
        }
    }

    /// In turn with the writes. What memory has was right when it was read, and is written again.
    private func setAsideManifest(
        _ fault: StoreCheck.Fault, _ type: MediaType, _ work: @escaping @Sendable () throws(StoreError) -> String?,
        _ then: @escaping (Result<String?, StoreError>) -> Void
    ) {
        workBegins()
        publisher.exclusively(work) { [self] result in
            switch result {
            case .success(nil): break
            case .success(.some(let target)):
                reportQuarantine(fault.path, fault.reason, .success(target))
                if manifests[fault.digest]?.detail == type { manifests[fault.digest] = nil }
                if !isRecovered { setAsideInRecovery.insert(fault.digest) }
                if let manifest = manifestCache.value(for: fault.digest), manifest.mediaType == type {
                    writeManifest(manifest) { _ in }
                }
            case .failure(let error): reportQuarantine(fault.path, fault.reason, .failure(error))
            }
            then(result)
            workEnds()
        }
    }
}

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

    private func setAside(_ fault: ContentFault) {
        store.setAside(fault, foundBy: .verify) { [self] result in
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

// Verification in a running server: the content is hashed step by step in the pool. Damaged content leaves the indexes
// before its file is moved, so that the next request is a miss and pulls it again.

/// One walk over a store in use. It keeps itself alive until it has ended.
package final class StoreVerification {
    private let store: Store
    private let check: StoreCheck
    private let emit: (VerifyEvent) -> Void
    private var isStopping = false

    /// - Parameter emit: called with every event, `ended` last.
    package init(_ store: Store, emit: @escaping (VerifyEvent) -> Void) {
        self.store = store
        self.emit = emit
        check = StoreCheck(heldBy: store.layout)
    }

    package func start() { step() }

    /// Ends it after the running step.
    package func stop() { isStopping = true }

    private func step() {
        guard !isStopping, !store.isClosing else { return end(isStopped: true) }
        let check = check
        store.perform({ () throws(StoreError) in check.next() }) { [self] result in
            switch result {
            // The pool refuses jobs only when the process is ending.
            case .failure: end(isStopped: true)
            case .success(.end): end(isStopped: false)
            case .success(.right): resume()
            case .success(.wrong(let fault)): setAside(fault)
            }
        }
    }

    private func resume() {
        emit(.progress(check.progress))
        step()
    }

    private func setAside(_ fault: ContentFault) {
        store.setAside(fault, foundBy: .verify) { [self] result in
            switch result {
            case .success(nil): break
            case .success(.some(let target)): emit(.wrong(check.finding(fault, setAsideTo: target)))
            case .failure(let error):
                check.cannotBeSetAside(error)
                emit(.wrong(check.finding(fault, setAsideTo: nil)))
            }
            resume()
        }
    }

    private func end(isStopped: Bool) { emit(.ended(check.report(isStopped: isStopped))) }
}

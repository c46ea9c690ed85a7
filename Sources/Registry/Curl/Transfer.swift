// One HTTP request to an upstream, on one connection or, where a reused one does not answer, on a second and new one.
// It reports a head, body bytes and one end. Statuses, redirects and logging belong to the exchange
// (Pull/Upstreams/UpstreamExchange.swift).

/// A running request. It ends by its `ended` callback or by `cancel`; after its owner has released it, no callback
/// follows.
package final class Transfer {
    package let request: TransferRequest
    private let multi: CurlMulti
    private let loop: EventLoop
    private weak var handler: (any TransferHandler)?
    private var machine = HedgeMachine()
    private var first: TransferAttempt?
    private var second: TransferAttempt?
    private var silence: Timer?
    /// Whether it counts in `CurlMulti.hedgeCount`.
    private var isHedged = false
    private var isOver = false

    /// Starts the request in a deferred action. The handler is not called before this returns, and is not retained.
    package init(_ request: TransferRequest, on multi: CurlMulti, loop: EventLoop, handler: any TransferHandler) {
        self.request = request
        self.multi = multi
        self.loop = loop
        self.handler = handler
        first = TransferAttempt(request, isFresh: false, on: multi, loop: loop, owner: self)
    }

    /// Ends the request without a further callback to the handler. May be called at any time, also from the handler.
    package func cancel() {
        guard !isOver else { return }
        end()
        first?.cancel()
        second?.cancel()
    }

    /// Resumes after the handler returned false. May be called at any time.
    package func resume() { attempt(machine.winner)?.resume() }

    private func end() {
        isOver = true
        silence?.close()
        silence = nil
        if isHedged { multi.hedgeCount -= 1 }
        isHedged = false
    }

    // MARK: From the attempts

    func attempt(_ attempt: TransferAttempt, connected isReused: Bool) {
        perform(machine.handle(.connected(name(of: attempt), isReused: isReused)))
    }

    func attempt(_ attempt: TransferAttempt, received head: UpstreamHead) {
        guard !isOver else { return }
        let name = name(of: attempt)
        perform(machine.handle(.answered(name, status: head.status)))
        if machine.winner == name { handler?.transfer(self, received: head) }
    }

    func attempt(_ attempt: TransferAttempt, received bytes: UnsafeRawBufferPointer) -> Bool {
        guard !isOver else { return true }
        return handler?.transfer(self, received: bytes) ?? false
    }

    /// Called from a deferred action or a timer.
    func attempt(_ attempt: TransferAttempt, ended failure: TransferFailure?) {
        guard !isOver else { return }
        let name = name(of: attempt)
        if machine.winner == name { return finish(failure) }
        // An attempt that ends without a failure had a head, which made it the winner.
        guard let failure else { return }
        perform(machine.handle(.failed(name, failure)))
    }

    private func finish(_ failure: TransferFailure?) {
        end()
        handler?.transfer(self, ended: failure)
    }

    private func name(of attempt: TransferAttempt) -> HedgeMachine.Attempt { attempt === first ? .first : .second }

    private func attempt(_ name: HedgeMachine.Attempt?) -> TransferAttempt? {
        switch name {
        case .first: first
        case .second: second
        case nil: nil
        }
    }

    // MARK: Actions

    private func perform(_ actions: [HedgeMachine.Action]) {
        guard !isOver else { return }
        for action in actions { perform(action) }
    }

    private func perform(_ action: HedgeMachine.Action) {
        switch action {
        case .watch: watch()
        case .stopWatching: silence?.stop()
        case .startSecond:
            multi.reconnects &+= 1
            second = TransferAttempt(request, isFresh: true, on: multi, loop: loop, owner: self)
        case .suspectIdleConnections: multi.suspectIdleConnections(to: request.url)
        case .cancel(let name): attempt(name)?.cancel()
        // `attempt(_:received:)` does this, since it has the head.
        case .deliver: break
        case .fail(let failure): finish(failure)
        }
    }

    private func watch() {
        let timer = silence ?? Timer(on: loop) { [weak self] in self?.wasSilent() }
        silence = timer
        timer.start(afterMilliseconds: multi.limits.reusedSilenceMilliseconds)
    }

    private func wasSilent() {
        guard !isOver, let first, !first.hasAnswerBegun else { return }
        // Checked again later, when fewer requests run on two connections.
        guard multi.hedgeCount < CurlMulti.maximumHedges else { return watch() }
        let actions = machine.handle(.silence)
        if actions.contains(.startSecond) {
            isHedged = true
            multi.hedgeCount += 1
        }
        perform(actions)
    }
}

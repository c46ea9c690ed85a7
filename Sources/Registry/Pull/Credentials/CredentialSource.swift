// The credentials of one endpoint as they are now. Those that come from outside the configuration file (a file, a
// helper program, AWS) are kept until half of their life is over, and asked for again when a registry refuses them.

internal import Configuration
internal import Logging
internal import OCI

/// Gives an endpoint's credentials. Must be used on the loop only.
package final class CredentialSource {
    /// Credentials that do not say how long they live are asked for again after this time: a file or a helper program
    /// may have others by then.
    static let unknownLifeMilliseconds: UInt64 = 60_000
    /// The least time between two attempts to get others after a refusal, from a provider that is not cheap.
    static let renewalMilliseconds: UInt64 = 1000

    /// Nil: the upstream is asked anonymously.
    private(set) var current: UpstreamCredentials?
    /// Why there are none, or why they could not be renewed.
    private(set) var failure: CredentialFailure?

    /// Called when others have come than there were.
    var onChange: () -> Void = {}
    private let provider: (any CredentialProvider)?
    private let loop: EventLoop?
    private let logger: Logger?
    private let label: String
    private var renewal = CredentialRenewal()
    private var waiting: [() -> Void] = []
    private var isAsking = false
    /// What the provider gave last, which may be no credentials; nil before it has answered.
    private var given: UpstreamCredentials??

    /// Credentials that the configuration file has; none for kinds that have to be asked for.
    init(fixed auth: RegistryAuth?) {
        current =
            switch auth?.kind {
            case .password(let user, let password): .password(user: user, password)
            case .token(let token): .bearer(token)
            default: nil
            }
        provider = nil
        loop = nil
        logger = nil
        label = ""
    }

    /// - Parameter label: whose credentials they are; for the log.
    init(_ provider: any CredentialProvider, label: String, loop: EventLoop, logger: Logger) {
        self.provider = provider
        self.label = label
        self.loop = loop
        self.logger = logger
    }

    /// Whether other credentials may be had than the current ones.
    var isRenewable: Bool { provider != nil }

    /// Whether the current credentials have been used for so long that a refusal may mean that they are over.
    var isOld: Bool {
        guard let loop else { return false }
        return renewal.age(now: loop.nowMilliseconds) >= CredentialSource.unknownLifeMilliseconds
    }

    /// Whether `current` can be used now. Starts to renew it in time.
    func isReady() -> Bool {
        guard let loop else { return true }
        // They would only be refused, and count as wrong.
        if renewal.isExpired(now: loop.nowMilliseconds) { current = nil }
        switch renewal.state(now: loop.nowMilliseconds) {
        case .fresh: return true
        case .due:
            if !isAsking { ask {} }
            return true
        case .missing: return false
        }
    }

    /// Gets credentials. `then` is called once, later; `current` and `failure` are what there is then.
    func load(then: @escaping () -> Void) { ask(then) }

    /// Gets others, since `refused` has been refused. `then` is called once, later, with whether there are others now;
    /// never for those that are not renewable.
    func renew(_ refused: UpstreamCredentials?, then: @escaping (Bool) -> Void) {
        guard let loop, let provider else { return }
        if current != refused { return loop.deferred.enqueue { then(true) } }
        guard provider.isCheap || renewal.mayAskAgain(now: loop.nowMilliseconds) else {
            return loop.deferred.enqueue { then(false) }
        }
        // What is being read may have been read before it was changed.
        let mayBeOld = isAsking
        ask { [self] in
            guard mayBeOld, current == refused else { return then(current != refused) }
            ask { then(self.current != refused) }
        }
    }

    private func ask(_ then: @escaping () -> Void) {
        guard let provider, let loop else { return }
        waiting.append(then)
        guard !isAsking else { return }
        isAsking = true
        provider.provide { [self] result in
            isAsking = false
            let now = loop.nowMilliseconds
            switch result {
            case .success(let provided):
                if failure != nil {
                    logger?.warning("the credentials can be had again", metadata: ["upstream": "\(label)"])
                }
                failure = nil
                current = provided?.credentials
                if let given, given != current { onChange() }
                given = .some(current)
                renewal.succeeded(lifeMilliseconds: provided?.lifeMilliseconds, now: now)
            case .failure(let error):
                failure = error
                let pause = renewal.failed(now: now)
                logger?.warning(
                    "the credentials cannot be had",
                    metadata: ["upstream": "\(label)", "reason": "\(error.reason)", "ms": "\(pause)"])
            }
            let waiting = self.waiting
            self.waiting = []
            for then in waiting { then() }
        }
    }
}

/// When an endpoint's credentials are asked for again. Times are the loop's milliseconds.
package struct CredentialRenewal: Sendable {
    package enum State: Sendable, Equatable {
        case fresh
        /// They can be used, and others should be got meanwhile.
        case due
        /// There are none, or none that are valid.
        case missing
    }

    private var hasLoaded = false
    private var dueMilliseconds: UInt64 = 0
    /// Nil: they are used until others come.
    private var expiryMilliseconds: UInt64?
    private var answeredMilliseconds: UInt64?
    private var pause: DoublingPause?

    package init() {}

    package mutating func state(now: UInt64) -> State {
        let mayAsk = pause.map { $0.isOver(now: now) } ?? true
        guard hasLoaded, !isExpired(now: now) else { return mayAsk ? .missing : .fresh }
        return now >= dueMilliseconds && mayAsk ? .due : .fresh
    }

    /// Milliseconds since they were given, or not given.
    package func age(now: UInt64) -> UInt64 { answeredMilliseconds.map { now.subtractingSaturated($0) } ?? 0 }

    package func isExpired(now: UInt64) -> Bool { expiryMilliseconds.map { now >= $0 } ?? false }

    /// Whether refused credentials are reason enough to ask again.
    package func mayAskAgain(now: UInt64) -> Bool {
        answeredMilliseconds.map { now >= $0.addingSaturated(CredentialSource.renewalMilliseconds) } ?? true
    }

    /// - Parameter lifeMilliseconds: until they expire; nil when that is not known.
    package mutating func succeeded(lifeMilliseconds: UInt64?, now: UInt64) {
        hasLoaded = true
        pause = nil
        answeredMilliseconds = now
        expiryMilliseconds = lifeMilliseconds.map { now.addingSaturated($0) }
        dueMilliseconds = now.addingSaturated((lifeMilliseconds ?? 2 * CredentialSource.unknownLifeMilliseconds) / 2)
    }

    /// - Returns: for how long they are not asked for again.
    package mutating func failed(now: UInt64) -> UInt64 {
        answeredMilliseconds = now
        let next = DoublingPause(after: pause.flatMap { $0.isForgotten(now: now) ? nil : $0 }, now: now)
        pause = next
        return next.endMilliseconds - now
    }
}

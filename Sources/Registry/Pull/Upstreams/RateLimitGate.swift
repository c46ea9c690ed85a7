// Requests to a repository whose upstream answered 429 wait here until its pause is over. Then they are released
// gradually: one first, and two more for each answer that is not a 429.

internal import DequeModule
internal import Logging
internal import OCI

/// Holds requests back while a repository is paused. The record of 429s is in `RateLimitMemory`.
final class RateLimitGate {
    /// Total time that a request may wait: its client gets an error after 15 s.
    static let maximumWaitMilliseconds: UInt64 = 15_000
    /// Waiting requests for one repository: more than any image has layers.
    static let maximumWaitingPerRepository = 256
    /// Waiting requests in total; each has a client's connection, and an exchange or a pull.
    static let maximumWaiting = 1024
    /// Requests released for each answer that is not a 429.
    static let releasedPerAnswer = 2

    /// Whether a request may be sent.
    enum Admission {
        case open
        /// The request has to wait; `wait` does that.
        case wait
        /// The request would have to wait for too long.
        case refused
    }

    /// How a request's wait has ended.
    enum WaitEnd {
        /// It may be sent.
        case released
        /// Its repository's pause has become too long for it.
        case refused
    }

    /// A request that waits.
    final class Ticket {
        /// Since when the request has been waiting, earlier pauses included.
        fileprivate let sinceMilliseconds: UInt64
        private var onEnd: ((WaitEnd) -> Void)?
        private weak var line: Line?

        fileprivate init(_ line: Line, since: UInt64, _ onEnd: @escaping (WaitEnd) -> Void) {
            self.line = line
            sinceMilliseconds = since
            self.onEnd = onEnd
        }

        /// Ends the wait without releasing the request.
        func cancel() {
            guard onEnd != nil else { return }
            onEnd = nil
            line?.left()
        }

        fileprivate func end() -> ((WaitEnd) -> Void)? {
            let action = onEnd
            onEnd = nil
            return action
        }
    }

    /// The waiting requests of one repository.
    fileprivate final class Line {
        let repository: UpstreamRepository
        var tickets: Deque<Ticket> = []
        /// Tickets that have not been cancelled.
        var waiting = 0
        private let gate: RateLimitGate
        private var timer: Timer?

        init(_ repository: UpstreamRepository, _ gate: RateLimitGate) {
            self.repository = repository
            self.gate = gate
            timer = Timer(on: gate.loop) { [unowned self] in self.gate.timerFired(self) }
        }

        func fire(at milliseconds: UInt64, now: UInt64) {
            timer?.start(afterMilliseconds: milliseconds > now ? milliseconds - now : 0)
        }

        func left() {
            waiting -= 1
            gate.left(self)
        }

        func close() {
            timer?.close()
            timer = nil
        }
    }

    fileprivate let loop: EventLoop
    private let logger: Logger
    private let metrics: Metrics
    private var memory = RateLimitMemory()
    private var lines: [UpstreamRepository: Line] = [:]
    /// Waiting requests over all repositories.
    private(set) var waitingCount = 0
    /// Called when a repository's pause begins.
    var onPause: ((RegistryHost) -> Void)?

    init(loop: EventLoop, logger: Logger, metrics: Metrics) {
        self.loop = loop
        self.logger = logger
        self.metrics = metrics
    }

    // MARK: Asking

    /// Whether a request may be sent now.
    /// - Parameter waitedSince: when it began to wait; nil for a new request.
    func admission(_ repository: UpstreamRepository, waitedSince: UInt64? = nil) -> Admission {
        let now = loop.nowMilliseconds
        if lines[repository] == nil, !isPaused(repository), memory.takeTry(repository, now: now) { return .open }
        return canWait(repository, since: waitedSince ?? now) ? .wait : .refused
    }

    func isPaused(_ repository: UpstreamRepository) -> Bool {
        memory.pauseEnd(repository, now: loop.nowMilliseconds) != nil
    }

    /// Whether the repository's pause ends within the total wait of a request that began to wait at `since`.
    func canWait(_ repository: UpstreamRepository, since: UInt64) -> Bool {
        let now = loop.nowMilliseconds
        return memory.pauseEnd(repository, now: now) ?? now <= since + RateLimitGate.maximumWaitMilliseconds
    }

    /// Waits for the pause to end, and for earlier requests.
    /// - Parameters:
    ///   - since: since when the request has been waiting.
    ///   - onEnd: called once, from a deferred action, when the request may be sent, or can wait no longer.
    /// - Returns: nil when too many wait.
    func wait(
        _ repository: UpstreamRepository, since: UInt64, onEnd: @escaping (WaitEnd) -> Void
    ) -> Ticket? {
        guard waitingCount < RateLimitGate.maximumWaiting,
            lines[repository]?.waiting ?? 0 < RateLimitGate.maximumWaitingPerRepository
        else { return nil }
        let line = lines[repository] ?? Line(repository, self)
        if lines[repository] == nil {
            lines[repository] = line
            let now = loop.nowMilliseconds
            line.fire(at: memory.nextTry(repository, now: now) ?? now, now: now)
        }
        let ticket = Ticket(line, since: since, onEnd)
        line.tickets.append(ticket)
        line.waiting += 1
        waitingCount += 1
        return ticket
    }

    /// The error for a client whose request waits here; nil when none does.
    func refusal(_ repository: UpstreamRepository) -> RegistryError? {
        guard lines[repository] != nil || isPaused(repository) else { return nil }
        return error(repository)
    }

    /// The error for a request that is not sent, or that got a 429.
    func error(_ repository: UpstreamRepository) -> RegistryError {
        UpstreamAnswer.tooManyRequests(
            repository.host,
            retryAfterSeconds: memory.retryAfterSeconds(repository, now: loop.nowMilliseconds))
    }

    // MARK: Answers

    /// Handles a 429 of the registry or its token service.
    func refused(_ repository: UpstreamRepository, retryAfterSeconds: Int?, askedMilliseconds: UInt64) {
        metrics.rateLimited(repository.host)
        let now = loop.nowMilliseconds
        let pause = memory.refused(
            repository, retryAfterSeconds: retryAfterSeconds, askedMilliseconds: askedMilliseconds, now: now)
        if let pause {
            logger.warning(
                "upstream answered 429; the repository is paused",
                metadata: [
                    "host": "\(repository.host)", "repository": "\(repository.repository)", "ms": "\(pause)",
                ])
            onPause?(repository.host)
        }
        guard let line = lines[repository], let next = memory.nextTry(repository, now: now) else { return }
        line.fire(at: next, now: now)
        refuseLate(line)
    }

    /// Handles an answer other than 429.
    func answered(_ repository: UpstreamRepository, askedMilliseconds: UInt64) {
        memory.answered(repository, askedMilliseconds: askedMilliseconds)
        guard let line = lines[repository], !isPaused(repository) else { return }
        release(line, RateLimitGate.releasedPerAnswer)
    }

    /// Seconds left of each host's longest pause.
    var secondsLeft: [RegistryHost: Int] { memory.secondsLeft(now: loop.nowMilliseconds) }

    /// Ends all pauses: accounts or endpoints may be others now. Waiting requests are released gradually.
    func clear() {
        memory = RateLimitMemory()
        let now = loop.nowMilliseconds
        for line in lines.values { line.fire(at: now, now: now) }
    }

    func close() {
        for line in lines.values { line.close() }
        lines.removeAll()
    }

    // MARK: Lines

    private func timerFired(_ line: Line) {
        let now = loop.nowMilliseconds
        if let next = memory.nextTry(line.repository, now: now) { return line.fire(at: next, now: now) }
        _ = memory.takeTry(line.repository, now: now)
        release(line, 1)
    }

    /// Refuses the requests whose pause now ends too late for them: an upstream may have named a later end since they
    /// began to wait.
    private func refuseLate(_ line: Line) {
        var stay: Deque<Ticket> = []
        for ticket in line.tickets {
            if canWait(line.repository, since: ticket.sinceMilliseconds) {
                stay.append(ticket)
            } else if let action = ticket.end() {
                line.waiting -= 1
                waitingCount -= 1
                loop.deferred.complete(action, .refused)
            }
        }
        line.tickets = stay
        if line.waiting == 0 { end(line) }
    }

    /// Lets the first ones through; the next one follows after a while even if none of them is answered.
    private func release(_ line: Line, _ count: Int) {
        var left = count
        while left > 0, let ticket = line.tickets.popFirst() {
            guard let action = ticket.end() else { continue }
            left -= 1
            line.waiting -= 1
            waitingCount -= 1
            loop.deferred.complete(action, .released)
        }
        guard line.waiting > 0 else { return end(line) }
        let now = loop.nowMilliseconds
        line.fire(at: now + DoublingPause.tryMilliseconds, now: now)
    }

    private func left(_ line: Line) {
        waitingCount -= 1
        if line.waiting == 0 { end(line) }
    }

    private func end(_ line: Line) {
        guard lines[line.repository] === line else { return }
        lines[line.repository] = nil
        line.close()
    }
}

extension UpstreamHead {
    /// The `Retry-After` in seconds from now, at most an hour: a wrong value must not keep clients away for days.
    var retryAfter: Int? {
        retryAfter(unixSeconds: EventLoop.unixSeconds).map { min($0, RateLimitMemory.maximumNamedSeconds) }
    }
}

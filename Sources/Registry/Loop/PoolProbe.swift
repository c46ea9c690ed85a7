// A timed round trip from the loop through the thread pool and back. All callers share the probe under way. While a
// probe is late no other one is sent, so that a stuck pool gets no more work.

/// Sends one job to the pool at a time, and reports when its result is late.
final class PoolProbe<Answer> {
    enum Outcome {
        case answered(Answer, milliseconds: UInt64)
        case late
    }

    private let loop: EventLoop
    private let deadlineMilliseconds: UInt64
    private let probe: (@escaping (Answer) -> Void) -> Void
    private var waiting: [(Outcome) -> Void] = []
    private var isUnderWay = false
    private var isLate = false
    private var deadline: Timer?

    /// - Parameter probe: calls back once, on the loop, when the pool has answered.
    init(
        on loop: EventLoop, deadlineMilliseconds: UInt64, probe: @escaping (@escaping (Answer) -> Void) -> Void
    ) {
        self.loop = loop
        self.deadlineMilliseconds = deadlineMilliseconds
        self.probe = probe
    }

    /// Asks, or joins the job under way; does not wait where that is late already.
    func ask(then: @escaping (Outcome) -> Void) {
        if isLate { return loop.deferred.complete(then, .late) }
        waiting.append(then)
        if !isUnderWay { start() }
    }

    private func start() {
        isUnderWay = true
        let startMilliseconds = loop.nowMilliseconds
        let timer = Timer(on: loop) { [weak self] in self?.passDeadline() }
        timer.start(afterMilliseconds: deadlineMilliseconds)
        timer.unreference()
        deadline = timer
        probe { [self] answer in
            isUnderWay = false
            isLate = false
            closeDeadline()
            report(.answered(answer, milliseconds: loop.nowMilliseconds &- startMilliseconds))
        }
    }

    private func passDeadline() {
        isLate = true
        closeDeadline()
        report(.late)
    }

    private func closeDeadline() {
        deadline?.close()
        deadline = nil
    }

    private func report(_ outcome: Outcome) {
        let all = waiting
        waiting = []
        loop.deferred.forEach(all) { $0(outcome) }
    }
}

// A timed round trip from the loop through the thread pool and back, shared by all who ask while it is under way. One
// that does not come back is reported late and not repeated: a stuck pool gets no more to do.

/// Sends one job to the pool at a time, and knows when its answer is late.
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

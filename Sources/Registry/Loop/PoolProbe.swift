// A timed round trip from the loop through the thread pool and back, shared by all who ask while it is under way. One
// that does not come back is reported late and not repeated: a stuck pool gets no more to do.

/// Asks one question of the pool at a time, and knows when an answer is late.
final class PoolProbe<Answer> {
    enum Outcome {
        case answered(Answer, milliseconds: UInt64)
        case late
    }

    private let loop: EventLoop
    private let deadlineMilliseconds: UInt64
    private let question: (@escaping (Answer) -> Void) -> Void
    private var waiting: [(Outcome) -> Void] = []
    private var isUnderWay = false
    private var isLate = false
    private var deadline: Timer?

    /// - Parameter question: calls back once, on the loop, when the pool has answered.
    init(
        on loop: EventLoop, deadlineMilliseconds: UInt64, question: @escaping (@escaping (Answer) -> Void) -> Void
    ) {
        self.loop = loop
        self.deadlineMilliseconds = deadlineMilliseconds
        self.question = question
    }

    /// Asks, or joins the question under way; at once where that is late already.
    func ask(then: @escaping (Outcome) -> Void) {
        if isLate { return then(.late) }
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
        question { [self] answer in
            isUnderWay = false
            isLate = false
            closeDeadline()
            tell(.answered(answer, milliseconds: loop.nowMilliseconds &- startMilliseconds))
        }
    }

    private func passDeadline() {
        isLate = true
        closeDeadline()
        tell(.late)
    }

    private func closeDeadline() {
        deadline?.close()
        deadline = nil
    }

    private func tell(_ outcome: Outcome) {
        let all = waiting
        waiting = []
        loop.deferred.forEach(all) { $0(outcome) }
    }
}

// The course of the test: first one round through all images (for pull-through: pruning them), then the steps of the
// ramp, each reported in spans of about a second.

import Glibc
import OCI
import Registry

final class Session {
    struct Plan {
        var pullers: [Int]
        var stepSeconds: Double
        var prunes: Bool
        var hashEvery: Int
        var server: Int32?
        var upstream: Int32?
    }

    /// Pullers of the first round, which only fills the cache.
    static let firstPullers = 16
    /// Approximate length of a span.
    static let spanSeconds = 1.0

    private let loop: EventLoop
    private let pool: ClientPool
    private let plan: Plan
    private let file: CSVFile?
    private let say: (String) -> Void
    private let spansPerStep: Int
    private let spanMilliseconds: UInt64
    private var timer: Timer?
    private var step = 0
    private var spansLeft = 0
    private var begin = ProcessorTime.now(server: nil, upstream: nil)
    private var rampSeconds = 0.0
    private var stepSpans: [Span] = []
    private var table: [Span] = []
    /// The sum over the ramp.
    private(set) var total = Tally()

    init(on loop: EventLoop, pool: ClientPool, plan: Plan, file: CSVFile?, say: @escaping (String) -> Void) {
        self.loop = loop
        self.pool = pool
        self.plan = plan
        self.file = file
        self.say = say
        spansPerStep = max(1, Int(saturating: (plan.stepSeconds / Session.spanSeconds).rounded()))
        spanMilliseconds = max(1, UInt64(saturating: plan.stepSeconds * 1000 / Double(spansPerStep)))
    }

    /// Runs the whole test and reports what it found.
    /// - Returns: whether every pull was correct.
    func run() -> Bool {
        let timer = Timer(on: loop) { [unowned self] in tick() }
        timer.start(afterMilliseconds: spanMilliseconds, everyMilliseconds: spanMilliseconds)
        self.timer = timer
        if plan.prunes {
            say("pruning \(pool.catalog.images.count) images")
            pool.pruneAll { [self] in startRamp() }
        } else {
            say("pulling each of \(pool.catalog.images.count) images once, hashing all")
            pool.begin(prunes: false, once: true, hashEvery: 1)
            pool.whenAllHaveLeft { [self] in startRamp() }
            pool.setPullers(Session.firstPullers)
        }
        loop.run()
        timer.close()
        return conclude()
    }

    private func startRamp() {
        guard pool.tally.faultCount == 0 else { return loop.stop() }
        pool.begin(prunes: plan.prunes, once: false, hashEvery: plan.hashEvery)
        step = 0
        spansLeft = spansPerStep
        pool.tally = Tally()
        begin = usage()
        rampSeconds = begin.seconds
        timer?.start(afterMilliseconds: spanMilliseconds, everyMilliseconds: spanMilliseconds)
        pool.setPullers(plan.pullers[0])
    }

    private func usage() -> Usage { ProcessorTime.now(server: plan.server, upstream: plan.upstream) }

    private func tick() {
        pool.tick()
        guard spansLeft > 0 else { return }
        endSpan()
        spansLeft -= 1
        guard spansLeft == 0 else { return }
        endStep()
        step += 1
        if step < plan.pullers.count {
            spansLeft = spansPerStep
            pool.setPullers(plan.pullers[step])
        } else {
            pool.setPullers(0)
            pool.whenAllHaveLeft { [self] in loop.stop() }
        }
    }

    private func endSpan() {
        let end = usage()
        var span = Span(
            step: step + 1, pullers: plan.pullers[step], tally: pool.tally, begin: begin, end: end)
        pool.tally = Tally()
        begin = end
        file?.write(Column.row(&span, sinceSeconds: rampSeconds))
        say(Text.right(Text.decimal(end.seconds - rampSeconds, 1), 6) + " s" + Text.line(&span))
        total.add(span.tally)
        stepSpans.append(span)
    }

    private func endStep() {
        guard let first = stepSpans.first, let last = stepSpans.last else { return }
        var tally = Tally()
        for span in stepSpans { tally.add(span.tally) }
        table.append(
            Span(step: first.step, pullers: first.pullers, tally: tally, begin: first.begin, end: last.end))
        stepSpans = []
    }

    private func conclude() -> Bool {
        // Pulls after the last span are in no row; their faults still count.
        total.addFaults(of: pool.tally)
        if !table.isEmpty { say("each step:") }
        for index in table.indices { say("        " + Text.line(&table[index])) }
        say("\(total.images) images, \(total.requests) requests, \(total.bytes) bytes, \(total.hashed) images hashed")
        for note in pool.notes { say("error: \(note)") }
        if total.faultCount > 0 { say("errors: \(total.faultCount) (\(Text.faults(total)))") }
        if let failure = pool.failure { say("error: \(failure)") }
        return pool.failure == nil && total.faultCount == 0 && total.images > 0
    }
}

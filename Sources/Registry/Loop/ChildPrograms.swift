// Programs that this server starts, such as docker's credential helpers: how many run at once, and what they return.
// ChildProgram.swift runs one of them.

internal import CLibuv
internal import DequeModule

/// How a program has ended, and what it wrote.
package struct ChildOutput: Sendable {
    package enum Ending: Sendable, Equatable {
        case exited(status: Int64)
        case killed(signal: Int32)
    }

    package let ending: Ending
    /// May hold a secret, so no description and no mirror shows it.
    package let stdout: [UInt8]
    /// The first bytes, for the log.
    package let stderr: [UInt8]
}

extension ChildOutput: CustomStringConvertible, CustomDebugStringConvertible, CustomReflectable {
    package var description: String {
        switch ending {
        case .exited(let status): "exit status \(status)"
        case .killed(let signal): "killed by signal \(signal)"
        }
    }
    package var debugDescription: String { description }
    package var customMirror: Mirror { Mirror(self, children: ["ending": ending]) }
}

/// Why a program has given no output. The reason holds nothing that the program wrote.
package struct ChildFailure: Error, Sendable, Equatable, CustomStringConvertible {
    package enum Kind: Sendable { case notStarted, busy, tooSlow, tooMuchOutput, tooManyWaiting }

    package let kind: Kind
    package let reason: String
    /// The first bytes of its standard error, for the log.
    package let stderr: [UInt8]

    init(_ kind: Kind, _ reason: String, stderr: [UInt8] = []) {
        self.kind = kind
        self.reason = reason
        self.stderr = stderr
    }

    package var description: String { reason }
}

/// The limits of programs. Tests set shorter ones.
package struct ChildLimits: Sendable {
    /// A credential helper that asks the network answers within a second or two; one that waits for a person never
    /// answers.
    package var milliseconds: UInt64 = 10_000
    /// The largest standard output: as large as the largest token accepted (`TokenReply.maximumBytes`).
    package var outputBytes = 64 * 1024
    /// The part of the standard error that is kept: some lines for the log.
    package var errorBytes = 4 * 1024
    /// Programs at once. They are large beside this server's own work on a small node, and a few suffice, since
    /// credentials are used for hours.
    package var running = 4
    /// Programs that wait for another one to end; with more, something is wrong that waiting does not cure.
    package var waiting = 64

    package init() {}
}

/// Runs programs, a few at once and the others after them. Must be used on the loop only.
package final class ChildPrograms {
    package typealias Completion = (Result<ChildOutput, ChildFailure>) -> Void

    private struct Job {
        let command: ChildCommand
        let then: Completion
        var attempts = 0
    }

    /// How often a program is started whose file is being written, and the time between two attempts.
    private static let maximumAttempts = 5
    private static let busyMilliseconds: UInt64 = 100

    private let loop: EventLoop
    private let limits: ChildLimits
    var withheld: Set<String>
    private var waiting: Deque<Job> = []
    /// Those whose file was being written; the timer puts them back.
    private var busy: [Job] = []
    private var busyTimer: Timer?
    /// All programs that have not exited: those that run, and those that were killed a moment ago.
    private var programs: [ObjectIdentifier: ChildProgram] = [:]
    private(set) var runningCount = 0
    private var isClosed = false

    /// - Parameter withheld: names of environment variables that programs do not get, such as those that hold this
    ///   server's own secrets.
    package init(on loop: EventLoop, withheld: Set<String> = [], limits: ChildLimits = ChildLimits()) {
        self.loop = loop
        self.withheld = withheld
        self.limits = limits
    }

    var waitingCount: Int { waiting.count }

    /// Runs `arguments[0]`, found in `PATH`. Other users of the machine can read the arguments of a process, so no
    /// secret belongs there.
    /// - Parameters:
    ///   - input: its standard input; a program that does not read it is not a failure.
    ///   - environment: the whole environment, also for the search in `PATH`; nil: that of this process.
    ///   - then: called once, on the loop and not before this returns, unless `close` is called first. A program that
    ///     exits with any status, or by a signal, is a success here.
    package func run(
        _ arguments: [String], input: [UInt8] = [], environment: [String: String]? = nil, then: @escaping Completion
    ) {
        guard waiting.count < limits.waiting else {
            let failure = ChildFailure(.tooManyWaiting, "not started: \(limits.waiting) other programs are waiting")
            return loop.deferred.enqueue { then(.failure(failure)) }
        }
        let inherited = environment ?? (withheld.isEmpty ? nil : ChildEnvironment.current(without: withheld))
        waiting.append(
            Job(command: ChildCommand(arguments: arguments, input: input, environment: inherited), then: then))
        loop.deferred.enqueue { [self] in startNext() }
    }

    /// Kills what runs. No completion is called any more.
    package func close() {
        isClosed = true
        waiting.removeAll()
        busy.removeAll()
        busyTimer?.close()
        busyTimer = nil
        for program in programs.values { program.close() }
        programs.removeAll()
    }

    private func startNext() {
        guard !isClosed, runningCount < limits.running, let job = waiting.popFirst() else { return }
        runningCount += 1
        let program = ChildProgram(on: loop, limits)
        programs[ObjectIdentifier(program)] = program
        program.onExit = { [weak self, unowned program] in self?.programs[ObjectIdentifier(program)] = nil }
        program.start(job.command) { [weak self] result in
            guard let self, !isClosed else { return }
            runningCount -= 1
            if case .failure(let failure) = result, failure.kind == .busy, startLater(job) { return startNext() }
            job.then(result)
            startNext()
        }
    }

    private func startLater(_ job: Job) -> Bool {
        guard job.attempts + 1 < ChildPrograms.maximumAttempts else { return false }
        var again = job
        again.attempts += 1
        busy.append(again)
        let timer = busyTimer ?? Timer(on: loop) { [weak self] in self?.putBack() }
        busyTimer = timer
        timer.start(afterMilliseconds: ChildPrograms.busyMilliseconds)
        return true
    }

    private func putBack() {
        waiting.append(contentsOf: busy)
        busy = []
        for _ in 0..<limits.running { startNext() }
    }
}

/// What to run.
struct ChildCommand {
    let arguments: [String]
    let input: [UInt8]
    /// Nil: the environment of this process.
    let environment: [String: String]?

    /// Whether C strings can carry it.
    var isValid: Bool {
        let texts = arguments + (environment ?? [:]).flatMap { [$0.key, $0.value] }
        return arguments.first?.isEmpty == false && !texts.contains { $0.utf8.contains(0) }
    }
}

enum ChildEnvironment {
    /// This process's environment, except for these variables.
    static func current(without withheld: Set<String>) -> [String: String] {
        var items: UnsafeMutablePointer<uv_env_item_t>?
        var count: Int32 = 0
        guard uv_os_environ(&items, &count) == 0, let items else { return [:] }
        defer { uv_os_free_environ(items, count) }
        var environment: [String: String] = [:]
        for item in UnsafeBufferPointer(start: items, count: Int(count)) {
            let name = String(cString: item.name)
            if !withheld.contains(name) { environment[name] = String(cString: item.value) }
        }
        return environment
    }
}

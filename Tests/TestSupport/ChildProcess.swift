// Real programs, as the test subject or as its clients. Each runs in its own process group, so that stopping it also
// stops its children. It is stopped by its process id, at the latest when the value is released.

package import Foundation

/// A running program; its output is collected continuously.
package final class ChildProcess {
    package struct Failure: Error, CustomStringConvertible {
        package let description: String
    }

    /// The exit code of a program, or 128 plus the signal, as in a shell.
    package typealias Status = Int32

    /// Default limit of waits for a line, a start or an end: far longer than any of these takes, so that only a hang
    /// reaches it.
    package static let patienceSeconds = 120.0

    package let arguments: [String]
    package let processID: pid_t
    package let output = CollectedOutput()
    package let errors = CollectedOutput()
    private let end = ProcessEnd()
    private static let starting = NSLock()

    /// Starts `arguments[0]`, found in `PATH`, with this process's environment overridden by `environment`.
    package init(_ arguments: [String], environment: [String: String] = [:], input: String = "/dev/null") throws {
        self.arguments = arguments
        Need.expectStated(program: arguments[0])
        // One start at a time: the pipes must be marked close-on-exec before another program is started, or that
        // program would hold them open.
        let (processID, outputReader, errorReader) = try Self.starting.withLock {
            let (outputReader, outputWriter) = try Self.pipe()
            let (errorReader, errorWriter) = try Self.pipe()
            defer {
                close(outputWriter)
                close(errorWriter)
            }
            let processID = try Self.spawn(
                arguments, environment, input: input, output: outputWriter, errors: errorWriter)
            return (processID, outputReader, errorReader)
        }
        self.processID = processID
        output.collect(from: outputReader)
        errors.collect(from: errorReader)
        end.watch(processID)
    }

    deinit { stop(signal: SIGKILL, patienceSeconds: 10) }

    /// Waits for the program to exit by itself, and for the end of its output.
    package func wait(patienceSeconds: Double = patienceSeconds) throws -> Status {
        guard let status = end.wait(patienceSeconds: patienceSeconds) else {
            stop(signal: SIGKILL, patienceSeconds: 10)
            throw failure("did not end within \(patienceSeconds) s")
        }
        output.waitForEnd(patienceSeconds: 5)
        errors.waitForEnd(patienceSeconds: 5)
        return status
    }

    /// Sends `signal`, waits, and kills the process group if it is still running. No effect on a program that has
    /// ended.
    @discardableResult
    package func stop(signal: Int32 = SIGTERM, patienceSeconds: Double = 40) -> Status {
        end.send(signal, to: processID)
        if let status = end.wait(patienceSeconds: patienceSeconds) { return status }
        end.send(SIGKILL, to: processID)
        return end.wait(patienceSeconds: 10) ?? -1
    }

    /// Waits for a line of `stream` that contains `text`, and returns it.
    package func line(containing text: String, in stream: CollectedOutput) throws -> String {
        if let line = stream.wait(patienceSeconds: Self.patienceSeconds, for: { $0.contains(text) }) { return line }
        throw failure("ended, or \(Self.patienceSeconds) s passed, without a line that has '\(text)'")
    }

    package func failure(_ what: String) -> Failure {
        Failure(description: "\(arguments.joined(separator: " ")): \(what)\n\(output.text)\(errors.text)")
    }

    private static func pipe() throws -> (reader: Int32, writer: Int32) {
        var ends: [Int32] = [0, 0]
        guard Foundation.pipe(&ends) == 0 else { throw Failure(description: "pipe: errno \(errno)") }
        for end in ends { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
        return (ends[0], ends[1])
    }

    private static func spawn(
        _ arguments: [String], _ environment: [String: String], input: String, output: Int32, errors: Int32
    ) throws -> pid_t {
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        posix_spawn_file_actions_addopen(&actions, 0, input, O_RDONLY, 0)
        posix_spawn_file_actions_adddup2(&actions, output, 1)
        posix_spawn_file_actions_adddup2(&actions, errors, 2)
        var attributes = posix_spawnattr_t()
        posix_spawnattr_init(&attributes)
        defer { posix_spawnattr_destroy(&attributes) }
        var signals = sigset_t()
        sigfillset(&signals)
        posix_spawnattr_setsigdefault(&attributes, &signals)
        sigemptyset(&signals)
        posix_spawnattr_setsigmask(&attributes, &signals)
        let flags = POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK
        posix_spawnattr_setflags(&attributes, Int16(flags))

        let merged = ProcessInfo.processInfo.environment.merging(environment) { $1 }
        var argv = arguments.map { strdup($0) } + [nil]
        var envp = merged.map { strdup("\($0)=\($1)") } + [nil]
        defer { (argv + envp).forEach { free($0) } }
        var processID = pid_t()
        let code = posix_spawnp(&processID, arguments[0], &actions, &attributes, &argv, &envp)
        guard code == 0 else {
            throw Failure(description: "\(arguments[0]): cannot start: \(String(cString: strerror(code)))")
        }
        return processID
    }
}

/// The output of a program on one stream so far, read by a separate thread.
package final class CollectedOutput: @unchecked Sendable {
    // Guards `collected` and `ended`.
    private let condition = NSCondition()
    private var collected: [UInt8] = []
    private var ended = false

    package var bytes: [UInt8] { condition.withLock { collected } }
    package var text: String { String(decoding: bytes, as: UTF8.self) }
    package var lines: [String] { text.split(separator: "\n").map(String.init) }

    fileprivate func collect(from descriptor: Int32) {
        Thread.detachNewThread { [self] in
            var chunk = [UInt8](repeating: 0, count: 65536)
            while true {
                let count = read(descriptor, &chunk, chunk.count)
                if count < 0 && errno == EINTR { continue }
                condition.withLock {
                    if count > 0 { collected.append(contentsOf: chunk[..<count]) } else { ended = true }
                    condition.broadcast()
                }
                if count <= 0 { break }
            }
            close(descriptor)
        }
    }

    /// Waits for a complete line that `matches`; nil when the stream ends or the time is up without one.
    package func wait(patienceSeconds: Double, for matches: (String) -> Bool) -> String? {
        let deadline = Date(timeIntervalSinceNow: patienceSeconds)
        return condition.withLock {
            while true {
                let whole = collected.prefix(through: collected.lastIndex(of: 0x0A) ?? -1)
                let lines = String(decoding: whole, as: UTF8.self).split(separator: "\n")
                if let line = lines.first(where: { matches(String($0)) }) { return String(line) }
                if ended || !condition.wait(until: deadline) { return nil }
            }
        }
    }

    /// Waits until the output contains `text`, in a complete line or not; false when the stream ends or the time is up.
    package func wait(forText text: String, patienceSeconds: Double = ChildProcess.patienceSeconds) -> Bool {
        wait(patienceSeconds: patienceSeconds, untilText: { $0.contains(text) })
    }

    /// Waits until the whole output so far satisfies a condition; false when the stream ends or the time is up.
    package func wait(
        patienceSeconds: Double = ChildProcess.patienceSeconds, untilText isEnough: (String) -> Bool
    ) -> Bool {
        let deadline = Date(timeIntervalSinceNow: patienceSeconds)
        return condition.withLock {
            while true {
                if isEnough(String(decoding: collected, as: UTF8.self)) { return true }
                if ended || !condition.wait(until: deadline) { return false }
            }
        }
    }

    fileprivate func waitForEnd(patienceSeconds: Double) {
        let deadline = Date(timeIntervalSinceNow: patienceSeconds)
        condition.withLock { while !ended, condition.wait(until: deadline) {} }
    }
}

/// Waits for a process on a separate thread, so that callers can wait with a time limit, and a reused id is never
/// signalled.
private final class ProcessEnd: @unchecked Sendable {
    private let condition = NSCondition()
    private var status: ChildProcess.Status?

    package func watch(_ processID: pid_t) {
        Thread.detachNewThread { [self] in
            var info = siginfo_t()
            // WNOWAIT keeps the id in use until the lock is held, so `send` cannot signal another process.
            while waitid(P_PID, id_t(processID), &info, WEXITED | WNOWAIT) != 0, errno == EINTR {}
            condition.withLock {
                var raw: Int32 = 0
                while waitpid(processID, &raw, 0) < 0, errno == EINTR {}
                let signal = raw & 0x7F
                status = signal == 0 ? (raw >> 8) & 0xFF : 128 + signal
                condition.broadcast()
            }
        }
    }

    package func send(_ signal: Int32, to processID: pid_t) {
        condition.withLock { if status == nil { _ = kill(-processID, signal) } }
    }

    package func wait(patienceSeconds: Double) -> ChildProcess.Status? {
        let deadline = Date(timeIntervalSinceNow: patienceSeconds)
        return condition.withLock {
            while status == nil, condition.wait(until: deadline) {}
            return status
        }
    }
}

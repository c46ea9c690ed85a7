// One program: its start, its time limit, its end.

internal import CLibuv
internal import Glibc

/// Runs one program, once (docs.libuv.org, "uv_process_t").
///
/// libuv gives the program default signal handlers, SIGPIPE included, and an empty signal mask, and all descriptors
/// except the three standard ones are closed on exec (src/unix/process.c of 1.44.2, `uv__process_child_init`). The loop
/// waits in `uv_spawn` from the fork to the exec, about a millisecond for each 100 MB of this process's memory.
final class ChildProgram {
    /// Called when the process has ended and been reaped, or was never started.
    var onExit: () -> Void = {}

    private let loop: EventLoop
    private let limits: ChildLimits
    private var process: Handle<uv_process_t>?
    private var timer: Timer?
    private var input: ChildWriter?
    private var output: ChildReader?
    private var errors: ChildReader?
    private var ending: ChildOutput.Ending?
    private var then: ChildPrograms.Completion?

    init(on loop: EventLoop, _ limits: ChildLimits) {
        self.loop = loop
        self.limits = limits
    }

    /// - Parameter then: called once, from a deferred action, unless `close` is called first.
    func start(_ command: ChildCommand, then: @escaping ChildPrograms.Completion) {
        self.then = then
        guard command.isValid else { return refuse("its arguments are empty or have a NUL") }
        do throws(LoopError) {
            // The ends of the pipes that the program gets; `uv_spawn` copies them.
            var childEnds: [Int32] = []
            defer { for descriptor in childEnds { Glibc.close(descriptor) } }
            let input = try ChildWriter(on: loop, command.input, &childEnds)
            self.input = input
            let output = try ChildReader(on: loop, maximumBytes: limits.outputBytes, &childEnds)
            self.output = output
            let errors = try ChildReader(on: loop, maximumBytes: limits.errorBytes, &childEnds)
            self.errors = errors
            try spawn(command, childEnds)
            output.onChange = { [unowned self] in outputChanged() }
            errors.onChange = { [unowned self] in outputChanged() }
            input.start()
            output.start()
            errors.start()
        } catch {
            // A program that replaces this file has it open for a moment (execve(2)).
            return refuse("\(error)", error.code == UV_ETXTBSY.rawValue ? .busy : .notStarted)
        }
        let timer = Timer(on: loop) { [unowned self] in
            fail(.tooSlow, "no end within \(limits.milliseconds) ms, so it was killed")
        }
        timer.start(afterMilliseconds: limits.milliseconds)
        self.timer = timer
    }

    /// Kills the program. No completion is called any more.
    func close() {
        then = nil
        kill()
        closePipes()
        process?.close()
    }

    // MARK: Start

    private func spawn(_ command: ChildCommand, _ childEnds: [Int32]) throws(LoopError) {
        var code: Int32 = 0
        // After a failure, too, libuv has the handle in its list until it is closed (libuv pull request 551).
        let process = try Handle<uv_process_t>("uv_spawn") { raw in
            code = ChildProgram.spawn(raw, loop, command, childEnds)
            return 0
        }
        process.owner = self
        self.process = process
        guard code != 0 else { return }
        // The program runs all the same when only a later step has failed; then it is killed and waited for.
        if uv_is_active(process.base) == 0 {
            process.close()
            self.process = nil
        }
        throw LoopError(call: "start", code: code)
    }

    private static func spawn(
        _ raw: UnsafeMutablePointer<uv_process_t>, _ loop: EventLoop, _ command: ChildCommand, _ childEnds: [Int32]
    ) -> Int32 {
        var arguments = CStrings(command.arguments)
        var environment = command.environment.map { variables in CStrings(variables.map { "\($0.key)=\($0.value)" }) }
        defer {
            arguments.free()
            environment?.free()
        }
        var options = uv_process_options_t()
        options.exit_cb = { raw, status, signal in
            Handle.withOwner(of: raw, as: ChildProgram.self) { program in
                program.loop.wake()
                program.exited(signal == 0 ? .exited(status: status) : .killed(signal: signal))
            }
        }
        // A session and process group of its own, so that killing the group also ends the children of a shell.
        options.flags = UInt32(UV_PROCESS_DETACHED.rawValue)
        // Pipes of ours instead of `UV_CREATE_PIPE`, which makes sockets: a script's `>/dev/stderr` fails on those
        // (unix(7): a socket cannot be opened by its name in /proc).
        var stdio = childEnds.map { descriptor in
            var container = uv_stdio_container_t()
            container.flags = UV_INHERIT_FD
            container.data.fd = descriptor
            return container
        }
        return arguments.pointers.withUnsafeMutableBufferPointer { arguments in
            options.args = arguments.baseAddress
            options.file = UnsafePointer(arguments.first ?? nil)
            return stdio.withUnsafeMutableBufferPointer { stdio in
                options.stdio = stdio.baseAddress
                options.stdio_count = Int32(clamping: stdio.count)
                guard environment != nil else { return uv_spawn(loop.pointer, raw, &options) }
                return environment?.pointers.withUnsafeMutableBufferPointer { variables in
                    options.env = variables.baseAddress
                    return uv_spawn(loop.pointer, raw, &options)
                } ?? UV_EINVAL.rawValue
            }
        }
    }

    private func refuse(_ reason: String, _ kind: ChildFailure.Kind = .notStarted) {
        kill()
        finish(.failure(ChildFailure(kind, "not started: \(reason)")))
        if process == nil { loop.deferred.enqueue { [self] in onExit() } }
    }

    // MARK: End

    private func exited(_ ending: ChildOutput.Ending) {
        self.ending = ending
        process?.close()
        // What the program wrote is in the pipes by now. A child of it may keep them open for long.
        output?.readRest()
        errors?.readRest()
        complete()
        onExit()
    }

    private func outputChanged() {
        if output?.isOverLimit == true {
            return fail(.tooMuchOutput, "more than \(limits.outputBytes) bytes of output, so it was killed")
        }
    }

    private func complete() {
        guard let ending, let output, let errors else { return }
        outputChanged()
        finish(.success(ChildOutput(ending: ending, stdout: output.bytes, stderr: errors.bytes)))
    }

    private func fail(_ kind: ChildFailure.Kind, _ reason: String) {
        let failure = ChildFailure(kind, reason, stderr: errors?.bytes ?? [])
        kill()
        finish(.failure(failure))
    }

    /// Ends the program and its group. After the exit the number may be another process's.
    private func kill() {
        guard ending == nil, let process else { return }
        let processID = process.pointer.pointee.pid
        if processID > 1 { Glibc.kill(-processID, SIGKILL) }
    }

    /// Has no effect after the first call.
    private func finish(_ result: Result<ChildOutput, ChildFailure>) {
        guard let then else { return }
        self.then = nil
        closePipes()
        loop.deferred.enqueue { then(result) }
    }

    private func closePipes() {
        timer?.close()
        input?.close()
        output?.close()
        errors?.close()
    }
}

/// A NULL-terminated array of C strings.
private struct CStrings {
    var pointers: [UnsafeMutablePointer<CChar>?]

    init(_ texts: [String]) { pointers = texts.map { strdup($0) } + [nil] }

    mutating func free() {
        for pointer in pointers { Glibc.free(pointer) }
        pointers = [nil]
    }
}

// Programs that the loop runs: what they get and give, and how they are stopped.

import Foundation
import TestSupport
import Testing

@testable import Registry

@Suite struct ChildProgramTests {
    /// A loop, programs on it, and files for scripts.
    private struct Kit {
        let run: LoopRun
        let programs: ChildPrograms
        let files: TemporaryDirectory

        init(withheld: Set<String> = [], change: (inout ChildLimits) -> Void = { _ in }) throws {
            run = try LoopRun()
            files = try TemporaryDirectory()
            var limits = ChildLimits()
            // Tests of the limit set a short one; on a busy machine the default could be short for others.
            limits.milliseconds = LoopRun.limitMilliseconds
            change(&limits)
            programs = ChildPrograms(on: run.loop, withheld: withheld, limits: limits)
            run.atClose { [programs] in programs.close() }
        }

        /// Runs a program and waits for its end.
        func result(
            _ arguments: [String], input: [UInt8] = [], environment: [String: String]? = nil
        ) throws -> Result<ChildOutput, ChildFailure> {
            var result: Result<ChildOutput, ChildFailure>?
            programs.run(arguments, input: input, environment: environment) {
                #expect(result == nil, "a second completion")
                result = $0
                run.finish()
            }
            #expect(result == nil, "a completion inside the call")
            run.run()
            return try #require(result)
        }

        func output(_ script: String, input: [UInt8] = []) throws -> ChildOutput {
            try result(["sh", "-c", script], input: input).get()
        }

        /// A FIFO, open for reading and writing so that nobody waits for the other end.
        func fifo(_ name: String) throws -> Int32 {
            try #require(mkfifo(files.file(name), 0o600) == 0)
            let descriptor = open(files.file(name), O_RDWR | O_NONBLOCK | O_CLOEXEC)
            try #require(descriptor >= 0)
            return descriptor
        }
    }

    private static func text(_ bytes: [UInt8]) -> String { String(decoding: bytes, as: UTF8.self) }

    private static func kind(_ result: Result<ChildOutput, ChildFailure>) -> ChildFailure.Kind? {
        if case .failure(let failure) = result { failure.kind } else { nil }
    }

    // MARK: Input, output, end

    @Test("a program gets its input and its end, and its output is returned", arguments: [0, 1, 64 * 1024])
    func echo(count: Int) throws {
        let kit = try Kit()
        let input = (0..<count).map { UInt8(truncatingIfNeeded: $0 &* 31) }
        let output = try kit.result(["cat"], input: input).get()
        #expect(output.stdout == input && output.stderr.isEmpty && output.ending == .exited(status: 0))
        kit.run.close()
    }

    @Test("exit status and standard error are returned")
    func exitStatus() throws {
        let kit = try Kit()
        let output = try kit.output("echo out; echo wrong >&2; exit 3")
        #expect(output.ending == .exited(status: 3) && output.description == "exit status 3")
        #expect(Self.text(output.stdout) == "out\n" && Self.text(output.stderr) == "wrong\n")
        kit.run.close()
    }

    @Test("a program whose file is being written is started when that has ended", arguments: [true, false])
    func busyFile(isClosed: Bool) throws {
        let kit = try Kit()
        let path = try kit.files.write("#!/bin/sh\necho started\n", to: "program")
        chmod(path, 0o755)
        let writer = open(path, O_WRONLY | O_CLOEXEC)
        try #require(writer >= 0)
        let timer = Registry.Timer(on: kit.run.loop) { if isClosed { close(writer) } }
        timer.start(afterMilliseconds: 20)
        let result = try kit.result([path])
        if isClosed {
            #expect(Self.text(try result.get().stdout) == "started\n")
        } else {
            #expect(Self.kind(result) == .busy)
            close(writer)
        }
        timer.close()
        kit.run.close()
    }

    @Test("a program that a signal ends is told apart from one that exits")
    func endBySignal() throws {
        let kit = try Kit()
        #expect(try kit.output("kill -TERM $$").ending == .killed(signal: SIGTERM))
        kit.run.close()
    }

    @Test("a description and a mirror of an output do not show it")
    func hiddenOutput() throws {
        let kit = try Kit()
        let output = try kit.output("echo s3cret")
        var dumped = ""
        dump(output, to: &dumped)
        let shown = "\(output) \(String(reflecting: output)) \(dumped)"
        #expect(!shown.contains("s3cret") && !shown.contains("115"))
        kit.run.close()
    }

    @Test("a missing program, a directory and empty or broken arguments are failures to start")
    func notStarted() throws {
        let kit = try Kit()
        let commands = [["no-such-program-of-ociregistry"], [kit.files.path], [""], [], ["cat", "a\0b"]]
        for command in commands {
            #expect(Self.kind(try kit.result(command)) == .notStarted, "\(command)")
        }
        // What comes after works.
        #expect(Self.text(try kit.output("echo yes").stdout) == "yes\n")
        kit.run.close()
    }

    @Test("a program that closes its input early is not a failure")
    func closedInput() throws {
        let kit = try Kit()
        let output = try kit.output("exec <&-; echo yes", input: [UInt8](repeating: 0x61, count: 1 << 20))
        #expect(output.ending == .exited(status: 0) && Self.text(output.stdout) == "yes\n")
        kit.run.close()
    }

    @Test("a program can open its standard streams by name")
    func namedStreams() throws {
        let kit = try Kit()
        let output = try kit.output("cat /dev/stdin > /dev/stdout; echo wrong > /dev/stderr", input: Array("in".utf8))
        #expect(Self.text(output.stdout) == "in" && Self.text(output.stderr) == "wrong\n")
        kit.run.close()
    }

    @Test("a child that a program leaves behind does not delay its end")
    func leftChild() throws {
        let kit = try Kit()
        let gate = try kit.fifo("gate")
        let output = try kit.output("(read line < \(kit.files.file("gate"))) & echo done")
        #expect(output.ending == .exited(status: 0) && Self.text(output.stdout) == "done\n")
        #expect(write(gate, "\n", 1) == 1)
        close(gate)
        kit.run.close()
    }

    // MARK: What it inherits

    @Test("a program has default signal handlers and no blocked signal")
    func signals() throws {
        let kit = try Kit()
        let output = try kit.output("grep -E '^Sig(Blk|Ign):' /proc/self/status")
        let masks = Self.text(output.stdout).split(separator: "\n").compactMap { line in
            line.split(separator: "\t").last.flatMap { UInt64($0, radix: 16) }
        }
        // The signals from 32 on belong to the C library; what started the tests may ignore some of them.
        #expect(masks.map { $0 & 0x7FFF_FFFF } == [0, 0], "\(Self.text(output.stdout))")
        kit.run.close()
    }

    @Test("a program gets no descriptor of the pipes to other programs, and each end of its own once")
    func descriptors() throws {
        let kit = try Kit()
        let gate = try kit.fifo("gate")
        let links = kit.files.file("links")
        // `readlink >> file` would show the file: the shell redirects itself before it starts a program.
        let script = "all=$(readlink /proc/$$/fd/[012]); echo \"$all\" > \(links); echo > \(links).done; read line"
        kit.programs.run(
            ["sh", "-c", "\(script) < \(kit.files.file("gate"))"], input: [UInt8](repeating: 0x61, count: 1 << 20)
        ) { _ in }
        kit.run.wait { FileManager.default.fileExists(atPath: "\(links).done") }
        let others = try String(contentsOfFile: links, encoding: .utf8).split(separator: "\n")
        #expect(others.count == 3 && others.allSatisfy { $0.hasPrefix("pipe:") })
        let output = try kit.output("ls -l /proc/self/fd")
        let listed = Self.text(output.stdout)
        #expect(output.ending == .exited(status: 0))
        for other in others { #expect(!listed.contains(other), "\(listed)") }
        // Descriptors of tests that run beside this one may be among the others.
        let lines = listed.split(separator: "\n").map { $0.split(separator: " ") }
        for number in ["0", "1", "2"] {
            let pipe = lines.first { $0.dropLast(2).last == number[...] }?.last
            #expect(pipe?.hasPrefix("pipe:") == true && lines.filter { $0.last == pipe }.count == 1, "\(listed)")
        }
        #expect(!listed.contains(kit.files.path), "\(listed)")
        close(gate)
        kit.run.close()
    }

    @Test("a program gets this environment without the withheld variables, or the one that is given")
    func environment() throws {
        let kit = try Kit(withheld: ["PATH"])
        let inherited = Self.text(try kit.result(["env"]).get().stdout).split(separator: "\n")
        #expect(!inherited.isEmpty && !inherited.contains { $0.hasPrefix("PATH=") })
        let given = try kit.result(["env"], environment: ["PATH": "/usr/bin:/bin", "A": "b c"]).get()
        #expect(Set(Self.text(given.stdout).split(separator: "\n")) == ["PATH=/usr/bin:/bin", "A=b c"])
        kit.run.close()
    }

    // MARK: Limits

    @Test("a program that does not end in time is killed, and what it wrote for the log is kept")
    func timeLimit() throws {
        let kit = try Kit { $0.milliseconds = 300 }
        let result = try kit.result(["sh", "-c", "echo waiting >&2; exec sleep 600"])
        guard case .failure(let failure) = result else {
            Issue.record("\(result)")
            return
        }
        #expect(failure.kind == .tooSlow && failure.reason.contains("300 ms"))
        // On a busy machine it may not have come to write it.
        #expect(["", "waiting\n"].contains(Self.text(failure.stderr)))
        #expect(kit.programs.runningCount == 0)
        kit.run.close()
    }

    @Test("killing a program kills the children of its shell")
    func groupKill() throws {
        let kit = try Kit()
        // The child has the only writing end of this FIFO, so its end is the end of the FIFO.
        let path = kit.files.file("life")
        try #require(mkfifo(path, 0o600) == 0)
        let life = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC)
        kit.programs.run(["sh", "-c", "sleep 600 > \(path) & echo > \(path).begun; wait"]) { _ in
            Issue.record("a completion after close")
        }
        var byte: UInt8 = 0
        func isAlive() -> Bool { read(life, &byte, 1) < 0 && errno == EAGAIN }
        kit.run.wait { FileManager.default.fileExists(atPath: "\(path).begun") && isAlive() }
        kit.programs.close()
        kit.run.wait { !isAlive() }
        #expect(read(life, &byte, 1) == 0)
        close(life)
        kit.run.close()
    }

    @Test("output up to the limit is returned, and one more byte is a failure")
    func outputLimit() throws {
        let kit = try Kit()
        let most = ChildLimits().outputBytes
        #expect(try kit.output("head -c \(most) /dev/zero").stdout.count == most)
        #expect(Self.kind(try kit.result(["sh", "-c", "head -c \(most + 1) /dev/zero"])) == .tooMuchOutput)
        kit.run.close()
    }

    @Test("a program that writes without end is killed")
    func endlessOutput() throws {
        let kit = try Kit()
        #expect(Self.kind(try kit.result(["yes"])) == .tooMuchOutput)
        #expect(kit.programs.runningCount == 0)
        kit.run.close()
    }

    @Test("a long standard error is cut, and the program continues")
    func longErrors() throws {
        let kit = try Kit()
        let output = try kit.output("head -c 300000 /dev/zero >&2; echo done")
        #expect(output.stderr.count == ChildLimits().errorBytes && Self.text(output.stdout) == "done\n")
        kit.run.close()
    }

    @Test("four programs run at once, and the others after them")
    func fourAtOnce() throws {
        let kit = try Kit()
        let gate = try kit.fifo("gate")
        let begun = try kit.files.directory("begun")
        var ended = 0
        for number in 0..<6 {
            kit.programs.run(["sh", "-c", "echo > \(begun)/\(number); read line < \(kit.files.file("gate"))"]) {
                #expect(Self.kind($0) == nil)
                ended += 1
                if ended == 6 { kit.run.finish() }
            }
        }
        func begunCount() -> Int { (try? FileManager.default.contentsOfDirectory(atPath: begun).count) ?? 0 }
        kit.run.wait { begunCount() >= 4 }
        #expect(begunCount() == 4 && kit.programs.runningCount == 4 && kit.programs.waitingCount == 2 && ended == 0)
        #expect(write(gate, "\n\n\n\n\n\n", 6) == 6)
        kit.run.run()
        #expect(begunCount() == 6 && kit.programs.runningCount == 0)
        close(gate)
        kit.run.close()
    }

    @Test("the queue of programs is bounded")
    func boundedQueue() throws {
        let kit = try Kit { ($0.running, $0.waiting) = (1, 2) }
        var results: [ChildFailure.Kind?] = []
        for _ in 0..<4 {
            kit.programs.run(["cat"]) {
                results.append(Self.kind($0))
                if results.count == 4 { kit.run.finish() }
            }
        }
        kit.run.run()
        // None has left the queue before the loop runs.
        #expect(results == [.tooManyWaiting, .tooManyWaiting, nil, nil])
        kit.run.close()
    }

    @Test("after close nothing is started")
    func closed() throws {
        let kit = try Kit()
        let path = kit.files.file("started")
        kit.programs.run(["touch", path]) { _ in Issue.record("a completion after close") }
        kit.programs.close()
        kit.programs.run(["touch", path]) { _ in Issue.record("a completion after close") }
        kit.run.run(milliseconds: 5)
        #expect(!FileManager.default.fileExists(atPath: path))
        kit.run.close()
    }
}

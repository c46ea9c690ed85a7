// Sockets on libuv's loop: nothing that arrives is lost, a socket that is not read costs nothing, and timers and
// signals get their turn beside sockets that keep the loop busy.

import Glibc
import TestSupport
import Testing

@testable import Registry

@Suite struct SocketReadinessTests {
    /// Closed in children: a program that another test starts meanwhile would keep the other end open.
    private static let kind =
        Int32(SOCK_STREAM.rawValue) | Int32(SOCK_NONBLOCK.rawValue) | Int32(SOCK_CLOEXEC.rawValue)

    /// A stream that records its events, and runs `whenRead` after each piece.
    private final class Probe: TCPStream {
        var pieces = 0
        var received: [UInt8] = []
        var ends: [Bool] = []
        var drains = 0
        var isClosed = false
        var whenRead: () -> Void = {}

        override func received(_ bytes: UnsafeRawBufferPointer) {
            pieces += 1
            received += bytes
            whenRead()
        }
        override func reachedEnd(failed: Bool) { ends.append(failed) }
        override func drained() { drains += 1 }
        override func closed() {
            isClosed = true
            whenRead = {}
        }
    }

    /// A probe on a loop, and the other end of its connection.
    private func pair(_ loop: EventLoop) throws -> (probe: Probe, other: Int32) {
        var ends: [Int32] = [-1, -1]
        try #require(socketpair(AF_UNIX, Self.kind, 0, &ends) == 0)
        return (try Probe(on: loop, descriptor: ends[0]), ends[1])
    }

    private func wait(_ run: LoopRun, until condition: @escaping () -> Bool) {
        let timer = Registry.Timer(on: run.loop) { if condition() { run.finish() } }
        timer.start(afterMilliseconds: 0, everyMilliseconds: 1)
        run.run()
        timer.close()
    }

    private func finish(_ run: LoopRun, _ probes: [Probe], _ others: [Int32]) {
        for probe in probes { probe.close() }
        wait(run, until: { probes.allSatisfy(\.isClosed) })
        for other in others { close(other) }
        run.close()
    }

    @Test(
        "input that fills the read buffer is read to its end",
        arguments: [EventLoop.readBufferBytes, 2 * EventLoop.readBufferBytes, 2 * EventLoop.readBufferBytes + 1])
    func largeInput(count: Int) throws {
        let run = try LoopRun()
        let (probe, other) = try pair(run.loop)
        let bytes = pattern(count)
        try #require(write(other, bytes, count) == count)
        probe.startReading()
        wait(run, until: { probe.received.count >= count })
        #expect(probe.received == bytes && probe.pieces > (count - 1) / EventLoop.readBufferBytes)
        finish(run, [probe], [other])
    }

    @Test("an end that arrives together with bytes is reported after them")
    func endTogetherWithBytes() throws {
        let run = try LoopRun()
        let (probe, other) = try pair(run.loop)
        let bytes: [UInt8] = [1, 2, 3]
        try #require(write(other, bytes, 3) == 3 && shutdown(other, Int32(SHUT_WR)) == 0)
        probe.startReading()
        wait(run, until: { !probe.ends.isEmpty })
        #expect(probe.received == bytes && probe.ends == [false])
        finish(run, [probe], [other])
    }

    @Test("bytes and an end that arrive while reading is stopped are delivered when it starts")
    func inputWhileStopped() throws {
        let run = try LoopRun()
        let (probe, other) = try pair(run.loop)
        try #require(write(other, [1], 1) == 1)
        run.run(milliseconds: 5)
        try #require(write(other, [2], 1) == 1)
        close(other)
        run.run(milliseconds: 5)
        #expect(probe.received.isEmpty && probe.ends.isEmpty)
        probe.startReading()
        wait(run, until: { !probe.ends.isEmpty })
        #expect(probe.received == [1, 2] && probe.ends == [false])
        finish(run, [probe], [])
    }

    @Test("a reader that stops after each piece gets all of them")
    func stopAfterEachPiece() throws {
        let run = try LoopRun()
        let (probe, other) = try pair(run.loop)
        let bytes = pattern(3 * EventLoop.readBufferBytes)
        try #require(write(other, bytes, bytes.count) == bytes.count)
        probe.whenRead = { [unowned probe] in
            probe.stopReading()
            run.loop.deferred.enqueue { probe.startReading() }
        }
        probe.startReading()
        wait(run, until: { probe.received.count == bytes.count })
        #expect(probe.received == bytes && probe.pieces >= 3)
        finish(run, [probe], [other])
    }

    @Test("waiting for room that is available ends in a later iteration")
    func availableRoom() throws {
        let run = try LoopRun()
        let (probe, other) = try pair(run.loop)
        probe.waitForRoom()
        #expect(probe.isBlocked && probe.drains == 0, "not within the call")
        wait(run, until: { probe.drains > 0 })
        #expect(probe.drains == 1 && !probe.isBlocked)
        finish(run, [probe], [other])
    }

    @Test("a reset is reported while reading is stopped and nothing is written")
    func resetWhileStopped() throws {
        let run = try LoopRun()
        let (probe, other) = try pair(run.loop)
        probe.startReading()
        probe.stopReading()
        // Closed with something unread in it: the other side is reset.
        let bytes: [UInt8] = [1]
        #expect(bytes.withUnsafeBytes { if case .took(1) = probe.tryWrite($0) { true } else { false } })
        close(other)
        wait(run, until: { !probe.ends.isEmpty })
        run.run(milliseconds: 5)
        #expect(probe.ends == [true])
        finish(run, [probe], [])
    }

    @Test("a stream closed by another one's callback gets no event of the same iteration")
    func closedByAnother() throws {
        let run = try LoopRun()
        let (first, one) = try pair(run.loop)
        let (second, two) = try pair(run.loop)
        for other in [one, two] { try #require(write(other, [7], 1) == 1) }
        first.whenRead = { [unowned second] in second.close() }
        second.whenRead = { [unowned first] in first.close() }
        first.startReading()
        second.startReading()
        wait(run, until: { first.isClosed || second.isClosed })
        #expect(first.pieces + second.pieces == 1 && first.isClosed != second.isClosed)
        finish(run, [first, second], [one, two])
    }

    @Test("an unreferenced timer runs while a socket keeps the loop alive")
    func unreferencedTimer() throws {
        let run = try LoopRun()
        let (probe, other) = try pair(run.loop)
        probe.startReading()
        var ticks = 0
        let timer = Registry.Timer(on: run.loop) {
            ticks += 1
            if ticks == 3 { probe.close() }
        }
        timer.start(afterMilliseconds: 1, everyMilliseconds: 1)
        timer.unreference()
        // Ends by itself: nothing is left.
        run.loop.run()
        #expect(ticks >= 3 && probe.isClosed)
        timer.close()
        close(other)
        run.close()
    }

    @Test("a timer started while sockets keep the loop busy fires no earlier than its delay")
    func timerWhileBusy() throws {
        let run = try LoopRun()
        let (probe, other) = try pair(run.loop)
        var startedMilliseconds: UInt64 = 0, firedMilliseconds: UInt64 = 0
        let timer = Registry.Timer(on: run.loop) { firedMilliseconds = EventLoop.nowNanoseconds / 1_000_000 }
        // Each iteration has something to read, so that none waits.
        probe.whenRead = { [unowned probe] in
            guard firedMilliseconds == 0 else { return run.finish() }
            if probe.pieces == 1000 {
                startedMilliseconds = EventLoop.nowNanoseconds / 1_000_000
                timer.start(afterMilliseconds: 10)
            }
            #expect(write(other, [1], 1) == 1)
        }
        try #require(write(other, [1], 1) == 1)
        probe.startReading()
        run.run()
        // libuv counts whole milliseconds from the start of an iteration.
        #expect(firedMilliseconds + 1 >= startedMilliseconds + 10)
        timer.close()
        finish(run, [probe], [other])
    }

    @Test("a signal watched after the loop has started is reported")
    func signalWatchedLater() throws {
        let run = try LoopRun()
        let (probe, other) = try pair(run.loop)
        var watcher: SignalWatcher?
        probe.whenRead = {
            watcher = try? SignalWatcher(on: run.loop, signal: SIGWINCH) { run.finish() }
            run.loop.deferred.enqueue { kill(getpid(), SIGWINCH) }
        }
        probe.startReading()
        try #require(write(other, [1], 1) == 1)
        run.run()
        let watched = try #require(watcher)
        watched.close()
        finish(run, [probe], [other])
    }

    @Test("an action that enqueues itself does not starve the sockets")
    func selfEnqueuingAction() throws {
        let run = try LoopRun()
        let (probe, other) = try pair(run.loop)
        var rounds = 0
        func again() {
            rounds += 1
            if probe.received.isEmpty { run.loop.deferred.enqueue(again) } else { run.finish() }
        }
        try #require(write(other, [1], 1) == 1)
        probe.startReading()
        run.loop.deferred.enqueue(again)
        run.run()
        #expect(rounds <= 3)
        finish(run, [probe], [other])
    }

    @Test("a late timer that starts another timer does not starve the sockets")
    func lateTimer() throws {
        let run = try LoopRun()
        let (probe, other) = try pair(run.loop)
        let second = Registry.Timer(on: run.loop) {}
        var ticks = 0
        let first = Registry.Timer(on: run.loop) {
            ticks += 1
            if ticks == 1 { #expect(write(other, [1], 1) == 1) }
            let end = EventLoop.nowNanoseconds + 3_000_000
            while EventLoop.nowNanoseconds < end {}
            second.start(afterMilliseconds: 1000)
        }
        first.start(afterMilliseconds: 1, everyMilliseconds: 1)
        probe.whenRead = { run.finish() }
        probe.startReading()
        run.run()
        #expect(ticks <= 3)
        first.close()
        second.close()
        finish(run, [probe], [other])
    }

    @Test("a timer that restarts itself without delay does not starve the sockets")
    func restartingTimer() throws {
        let run = try LoopRun()
        let (probe, other) = try pair(run.loop)
        var timer: Registry.Timer?
        timer = Registry.Timer(on: run.loop) { timer?.start(afterMilliseconds: 0) }
        timer?.start(afterMilliseconds: 0)
        probe.whenRead = { run.finish() }
        probe.startReading()
        try #require(write(other, [1], 1) == 1)
        run.run()
        #expect(probe.received == [1])
        timer?.close()
        timer = nil
        finish(run, [probe], [other])
    }

    @Test("a megabyte that waits while reading is stopped keeps the loop idle")
    func unreadInput() throws {
        let run = try LoopRun()
        let (probe, other) = try pair(run.loop)
        probe.startReading()
        probe.stopReading()
        let bytes = pattern(1 << 20)
        // As much as the socket takes; then the end, which would be reported for as long as it is asked about.
        #expect(write(other, bytes, bytes.count) > EventLoop.readBufferBytes)
        shutdown(other, Int32(SHUT_WR))
        let before = run.loop.iterations.count()
        run.run(milliseconds: 50)
        let iterations = run.loop.iterations.count() - before
        #expect(iterations <= 5, "\(iterations) iterations")
        finish(run, [probe], [other])
    }

    // MARK: Polls

    @Test("a poll reports readiness until it is handled, and input before an error with the error")
    func unhandledPoll() throws {
        let run = try LoopRun()
        var ends: [Int32] = [-1, -1]
        try #require(socketpair(AF_UNIX, Self.kind, 0, &ends) == 0)
        var reports: [[Bool]] = []
        var poll: SocketPoll?
        poll = SocketPoll(on: run.loop, descriptor: ends[0]) { readable, writable, failed in
            reports.append([readable, writable, failed])
            if reports.count == 3 { poll?.watch(readable: false, writable: true) }
            if reports.count == 4 || failed { poll?.watch(readable: false, writable: false) }
        }
        poll?.watch(readable: true, writable: false)
        try #require(write(ends[1], [1], 1) == 1)
        wait(run, until: { reports.count == 4 })
        run.run(milliseconds: 5)
        let readable = [true, false, false]
        #expect(reports == [readable, readable, readable, [false, true, false]])
        // The other end closes with an unread byte in it, which is an error here; the byte before it can still be read.
        #expect(write(ends[0], [1], 1) == 1)
        poll?.watch(readable: true, writable: false)
        reports = []
        close(ends[1])
        wait(run, until: { reports.last == [true, false, true] })
        run.run(milliseconds: 5)
        #expect(reports.last == [true, false, true] && reports.filter { $0[2] }.count == 1)
        var bytes: [UInt8] = [0, 0, 0]
        #expect(read(ends[0], &bytes, 3) == 1 && bytes[0] == 1)
        poll?.close()
        poll = nil
        close(ends[0])
        run.close()
    }

    @Test("a poll in error reports again until its owner handles it")
    func failedPoll() throws {
        let run = try LoopRun()
        var ends: [Int32] = [-1, -1]
        try #require(socketpair(AF_UNIX, Self.kind, 0, &ends) == 0)
        #expect(write(ends[0], [1], 1) == 1)
        close(ends[1])
        var failures = 0
        let poll = SocketPoll(on: run.loop, descriptor: ends[0]) { _, _, failed in
            failures += failed ? 1 : 0
            if failures == 3 { run.finish() }
        }
        poll?.watch(readable: true, writable: false)
        run.run()
        #expect(failures == 3)
        poll?.close()
        close(ends[0])
        run.close()
    }

    @Test("a descriptor that cannot be polled is refused")
    func regularFile() throws {
        let run = try LoopRun()
        let file = open("/proc/self/exe", O_RDONLY)
        #expect(SocketPoll(on: run.loop, descriptor: file, { _, _, _ in }) == nil)
        // Which closes it.
        #expect(throws: LoopError.self) { _ = try Probe(on: run.loop, descriptor: file) }
        run.close()
    }
}

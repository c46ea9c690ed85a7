// What the kernel tells once must not be lost, whoever looks at it when; and what libuv has (timers, signals) must go
// on beside sockets that keep the loop busy, or that are all there is.

import Glibc
import Testing

@testable import Registry

@Suite struct SocketSetTests {
    /// A stream that notes what it hears, and does what it is told when it hears something.
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
        let kind = Int32(SOCK_STREAM.rawValue) | Int32(SOCK_NONBLOCK.rawValue)
        try #require(socketpair(AF_UNIX, kind, 0, &ends) == 0)
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

    /// Nothing more comes after it, so nothing more is told.
    @Test(arguments: [EventLoop.readBufferBytes, 2 * EventLoop.readBufferBytes, 2 * EventLoop.readBufferBytes + 1])
    func whatFillsTheBufferIsReadToItsEnd(count: Int) throws {
        let run = try LoopRun()
        let (probe, other) = try pair(run.loop)
        let bytes = pattern(count)
        try #require(write(other, bytes, count) == count)
        probe.startReading()
        wait(run, until: { probe.received.count >= count })
        #expect(probe.received == bytes && probe.pieces > (count - 1) / EventLoop.readBufferBytes)
        finish(run, [probe], [other])
    }

    @Test func anEndThatComesWithTheBytesIsHeardBehindThem() throws {
        let run = try LoopRun()
        let (probe, other) = try pair(run.loop)
        let bytes: [UInt8] = [1, 2, 3]
        try #require(write(other, bytes, 3) == 3 && shutdown(other, Int32(SHUT_WR)) == 0)
        probe.startReading()
        wait(run, until: { !probe.ends.isEmpty })
        #expect(probe.received == bytes && probe.ends == [false])
        finish(run, [probe], [other])
    }

    /// It was told while nobody read.
    @Test func whatCameWhileNothingWasReadIsNotForgotten() throws {
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

    /// Where it says it wants no more after each piece, each is given when it wants more.
    @Test func whoStopsAfterEachPieceGetsThemAll() throws {
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

    /// The kernel says nothing of room that was never lacking.
    @Test func whoWaitsForRoomThatIsThereGoesOn() throws {
        let run = try LoopRun()
        let (probe, other) = try pair(run.loop)
        probe.waitForRoom()
        #expect(probe.isBlocked && probe.drains == 0, "in a turn of its own")
        wait(run, until: { probe.drains > 0 })
        #expect(probe.drains == 1 && !probe.isBlocked)
        finish(run, [probe], [other])
    }

    /// A client that resets is known to be gone though nothing is read from it or written to it.
    @Test func aBreakIsHeardByWhoDoesNotRead() throws {
        let run = try LoopRun()
        let (probe, other) = try pair(run.loop)
        // Closed with something unread in it: the other side is reset.
        let bytes: [UInt8] = [1]
        #expect(bytes.withUnsafeBytes { if case .took(1) = probe.tryWrite($0) { true } else { false } })
        close(other)
        wait(run, until: { !probe.ends.isEmpty })
        run.run(milliseconds: 5)
        #expect(probe.ends == [true])
        finish(run, [probe], [])
    }

    /// Both are ready in one turn, and whichever comes first closes the other.
    @Test func whoIsClosedInATurnHearsNothingMoreOfIt() throws {
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

    /// What a server that ends has: connections, and a timer that would not keep the loop running.
    @Test func timersRunWhileThereIsNothingButSockets() throws {
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

    /// However long ago libuv looked at the clock, and whatever keeps the loop turning.
    @Test func aTimerCountsFromWhenItIsStarted() throws {
        let run = try LoopRun()
        let (probe, other) = try pair(run.loop)
        var startedMilliseconds: UInt64 = 0, firedMilliseconds: UInt64 = 0
        let timer = Registry.Timer(on: run.loop) { firedMilliseconds = EventLoop.nowNanoseconds / 1_000_000 }
        // Each turn has something to read, so that none waits.
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
        // libuv may read a clock that is a tick behind.
        #expect(firedMilliseconds + 1 >= startedMilliseconds + 10)
        timer.close()
        finish(run, [probe], [other])
    }

    @Test func aSignalIsHeardThatIsWatchedOnlyLater() throws {
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

    /// An action that enqueues itself, as a body does that has had its turn, leaves the sockets theirs.
    @Test func whoEnqueuesItselfLetsTheOthersGoFirst() throws {
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

    /// Its callback takes longer than its period, and starts another: that must not make it due again and again.
    @Test func aTimerThatIsLateLetsTheOthersGoFirst() throws {
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

    // MARK: Those that are told again

    @Test func aPollTellsUntilItIsDealtWith() throws {
        let run = try LoopRun()
        var ends: [Int32] = [-1, -1]
        let kind = Int32(SOCK_STREAM.rawValue) | Int32(SOCK_NONBLOCK.rawValue)
        try #require(socketpair(AF_UNIX, kind, 0, &ends) == 0)
        var told: [[Bool]] = []
        var poll: SocketPoll?
        poll = SocketPoll(on: run.loop, descriptor: ends[0]) { readable, writable, failed in
            told.append([readable, writable, failed])
            if told.count == 3 { poll?.watch(readable: false, writable: true) }
            if told.count == 4 || failed { poll?.watch(readable: false, writable: false) }
        }
        poll?.watch(readable: true, writable: false)
        try #require(write(ends[1], [1], 1) == 1)
        wait(run, until: { told.count == 4 })
        run.run(milliseconds: 5)
        let readable = [true, false, false]
        #expect(told == [readable, readable, readable, [false, true, false]])
        // The other end goes, with something unread in it: an error, and what came before it can still be read.
        #expect(write(ends[0], [1], 1) == 1)
        poll?.watch(readable: true, writable: false)
        told = []
        close(ends[1])
        wait(run, until: { told.last == [true, false, true] })
        run.run(milliseconds: 5)
        #expect(told.last == [true, false, true] && told.filter { $0[2] }.count == 1)
        var bytes: [UInt8] = [0, 0, 0]
        #expect(read(ends[0], &bytes, 3) == 1 && bytes[0] == 1)
        poll?.close()
        poll = nil
        close(ends[0])
        run.close()
    }

    @Test func whatCannotBeWatchedIsRefused() throws {
        let run = try LoopRun()
        let file = open("/proc/self/exe", O_RDONLY)
        #expect(SocketPoll(on: run.loop, descriptor: file, { _, _, _ in }) == nil)
        // Which closes it.
        #expect(throws: LoopError.self) { _ = try Probe(on: run.loop, descriptor: file) }
        run.close()
    }
}

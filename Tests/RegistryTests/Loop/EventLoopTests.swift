// The event loop under load: timers, signals, deferred actions and sockets do not starve each other, and a socket that
// is not read costs nothing.

import Glibc
import TestSupport
import Testing

@testable import Registry

@Suite struct EventLoopTests {
    @Test("an unreferenced timer runs while a socket keeps the loop alive")
    func unreferencedTimer() throws {
        let pair = try StreamPair()
        pair.stream.startReading()
        var ticks = 0
        let timer = Registry.Timer(on: pair.run.loop) {
            ticks += 1
            if ticks == 3 { pair.stream.close() }
        }
        timer.start(afterMilliseconds: 1, everyMilliseconds: 1)
        timer.unreference()
        // Ends by itself: nothing is left.
        pair.run.loop.run()
        #expect(ticks >= 3 && pair.stream.isClosed)
        timer.close()
        close(pair.other)
        pair.run.close()
    }

    @Test("a timer started while sockets keep the loop busy fires no earlier than its delay")
    func timerWhileBusy() throws {
        let pair = try StreamPair()
        var startedMilliseconds: UInt64 = 0, firedMilliseconds: UInt64 = 0
        let timer = Registry.Timer(on: pair.run.loop) { firedMilliseconds = EventLoop.nowNanoseconds / 1_000_000 }
        // Each iteration has something to read, so that none waits.
        pair.stream.onRead = { [unowned stream = pair.stream] in
            guard firedMilliseconds == 0 else { return pair.run.finish() }
            if stream.pieces == 1000 {
                startedMilliseconds = EventLoop.nowNanoseconds / 1_000_000
                timer.start(afterMilliseconds: 10)
            }
            pair.send([1])
        }
        pair.send([1])
        pair.stream.startReading()
        pair.run.run()
        // libuv counts whole milliseconds from the start of an iteration.
        #expect(firedMilliseconds + 1 >= startedMilliseconds + 10)
        timer.close()
        pair.end()
    }

    @Test("a signal watched after the loop has started is reported")
    func signalWatchedLater() throws {
        let pair = try StreamPair()
        var watcher: SignalWatcher?
        pair.stream.onRead = {
            watcher = try? SignalWatcher(on: pair.run.loop, signal: SIGWINCH) { pair.run.finish() }
            pair.run.loop.deferred.enqueue { kill(getpid(), SIGWINCH) }
        }
        pair.stream.startReading()
        pair.send([1])
        pair.run.run()
        let watched = try #require(watcher)
        watched.close()
        pair.end()
    }

    @Test("an action that enqueues itself does not starve the sockets")
    func selfEnqueuingAction() throws {
        let pair = try StreamPair()
        var rounds = 0
        func again() {
            rounds += 1
            if pair.stream.received.isEmpty { pair.run.loop.deferred.enqueue(again) } else { pair.run.finish() }
        }
        pair.send([1])
        pair.stream.startReading()
        pair.run.loop.deferred.enqueue(again)
        pair.run.run()
        #expect(rounds <= 3)
        pair.end()
    }

    @Test("a late timer that starts another timer does not starve the sockets")
    func lateTimer() throws {
        let pair = try StreamPair()
        let second = Registry.Timer(on: pair.run.loop) {}
        var ticks = 0
        let first = Registry.Timer(on: pair.run.loop) {
            ticks += 1
            if ticks == 1 { pair.send([1]) }
            let end = EventLoop.nowNanoseconds + 3_000_000
            while EventLoop.nowNanoseconds < end {}
            second.start(afterMilliseconds: 1000)
        }
        first.start(afterMilliseconds: 1, everyMilliseconds: 1)
        pair.stream.onRead = { pair.run.finish() }
        pair.stream.startReading()
        pair.run.run()
        #expect(ticks <= 3)
        first.close()
        second.close()
        pair.end()
    }

    @Test("a timer that restarts itself without delay does not starve the sockets")
    func restartingTimer() throws {
        let pair = try StreamPair()
        var timer: Registry.Timer?
        timer = Registry.Timer(on: pair.run.loop) { timer?.start(afterMilliseconds: 0) }
        timer?.start(afterMilliseconds: 0)
        pair.stream.onRead = { pair.run.finish() }
        pair.stream.startReading()
        pair.send([1])
        pair.run.run()
        #expect(pair.stream.received == [1])
        timer?.close()
        timer = nil
        pair.end()
    }

    @Test("a megabyte that waits while reading is stopped keeps the loop idle")
    func unreadInput() throws {
        let pair = try StreamPair()
        pair.stream.startReading()
        pair.stream.stopReading()
        let bytes = pattern(1 << 20)
        // As much as the socket takes; then the end, which would be reported for as long as it is asked about.
        #expect(write(pair.other, bytes, bytes.count) > EventLoop.readBufferBytes)
        shutdown(pair.other, Int32(SHUT_WR))
        let before = pair.run.loop.iterations.count()
        pair.run.run(milliseconds: 50)
        let iterations = pair.run.loop.iterations.count() - before
        #expect(iterations <= 5, "\(iterations) iterations")
        pair.end()
    }
}

// Sockets on the loop: input, ends and errors of streams and polls are reported, each once it can be handled.

import Glibc
import TestSupport
import Testing

@testable import Registry

@Suite struct SocketReadinessTests {
    @Test(
        "input that fills the read buffer is read to its end",
        arguments: [EventLoop.readBufferBytes, 2 * EventLoop.readBufferBytes, 2 * EventLoop.readBufferBytes + 1])
    func largeInput(count: Int) throws {
        let pair = try StreamPair()
        let bytes = pattern(count)
        pair.send(bytes)
        pair.stream.startReading()
        pair.wait(until: { pair.stream.received.count >= count })
        #expect(pair.stream.received == bytes && pair.stream.pieces > (count - 1) / EventLoop.readBufferBytes)
        pair.end()
    }

    @Test("an end that arrives together with bytes is reported after them")
    func endTogetherWithBytes() throws {
        let pair = try StreamPair()
        let bytes: [UInt8] = [1, 2, 3]
        try #require(write(pair.other, bytes, 3) == 3 && shutdown(pair.other, Int32(SHUT_WR)) == 0)
        pair.stream.startReading()
        pair.wait(until: { !pair.stream.ends.isEmpty })
        #expect(pair.stream.received == bytes && pair.stream.ends == [false])
        pair.end()
    }

    @Test("bytes and an end that arrive while reading is stopped are delivered when it starts")
    func inputWhileStopped() throws {
        let pair = try StreamPair()
        pair.send([1])
        pair.run.run(milliseconds: 5)
        pair.send([2])
        close(pair.other)
        pair.run.run(milliseconds: 5)
        #expect(pair.stream.received.isEmpty && pair.stream.ends.isEmpty)
        pair.stream.startReading()
        pair.wait(until: { !pair.stream.ends.isEmpty })
        #expect(pair.stream.received == [1, 2] && pair.stream.ends == [false])
        pair.closeStream()
        pair.run.close()
    }

    @Test("a reader that stops after each piece gets all of them")
    func stopAfterEachPiece() throws {
        let pair = try StreamPair()
        let bytes = pattern(3 * EventLoop.readBufferBytes)
        pair.send(bytes)
        pair.stream.onRead = { [unowned stream = pair.stream] in
            stream.stopReading()
            pair.run.loop.deferred.enqueue { stream.startReading() }
        }
        pair.stream.startReading()
        pair.wait(until: { pair.stream.received.count == bytes.count })
        #expect(pair.stream.received == bytes && pair.stream.pieces >= 3)
        pair.end()
    }

    @Test("waiting for room that is available ends in a later iteration")
    func availableRoom() throws {
        let pair = try StreamPair()
        pair.stream.waitForRoom()
        #expect(pair.stream.isBlocked && pair.stream.drains == 0, "not within the call")
        pair.wait(until: { pair.stream.drains > 0 })
        #expect(pair.stream.drains == 1 && !pair.stream.isBlocked)
        pair.end()
    }

    @Test("a reset is reported while reading is stopped and nothing is written")
    func resetWhileStopped() throws {
        let pair = try StreamPair()
        pair.stream.startReading()
        pair.stream.stopReading()
        // Closed with something unread in it: the other side is reset.
        let bytes: [UInt8] = [1]
        #expect(bytes.withUnsafeBytes { if case .took(1) = pair.stream.tryWrite($0) { true } else { false } })
        close(pair.other)
        pair.wait(until: { !pair.stream.ends.isEmpty })
        pair.run.run(milliseconds: 5)
        #expect(pair.stream.ends == [true])
        pair.closeStream()
        pair.run.close()
    }

    @Test("a stream closed by another one's callback gets no event of the same iteration")
    func closedByAnother() throws {
        let run = try LoopRun()
        let pairs = try (0..<2).map { _ in try StreamPair(on: run) }
        for pair in pairs { pair.send([7]) }
        let (first, second) = (pairs[0].stream, pairs[1].stream)
        first.onRead = { [unowned second] in second.close() }
        second.onRead = { [unowned first] in first.close() }
        first.startReading()
        second.startReading()
        run.wait(until: { first.isClosed || second.isClosed })
        #expect(first.pieces + second.pieces == 1 && first.isClosed != second.isClosed)
        for pair in pairs {
            pair.closeStream()
            close(pair.other)
        }
        run.close()
    }

    @Test("a poll reports readiness until it is handled, and input before an error with the error")
    func unhandledPoll() throws {
        let run = try LoopRun()
        let (end, other) = try StreamPair.sockets()
        var reports: [[Bool]] = []
        var poll: SocketPoll?
        poll = SocketPoll(on: run.loop, descriptor: end) { readable, writable, failed in
            reports.append([readable, writable, failed])
            if reports.count == 3 { poll?.watch(readable: false, writable: true) }
            if reports.count == 4 || failed { poll?.watch(readable: false, writable: false) }
        }
        poll?.watch(readable: true, writable: false)
        try #require(write(other, [1], 1) == 1)
        run.wait(until: { reports.count == 4 })
        run.run(milliseconds: 5)
        let readable = [true, false, false]
        #expect(reports == [readable, readable, readable, [false, true, false]])
        // The other end closes with an unread byte in it, which is an error here; the byte before it can still be read.
        #expect(write(end, [1], 1) == 1)
        poll?.watch(readable: true, writable: false)
        reports = []
        close(other)
        run.wait(until: { reports.last == [true, false, true] })
        run.run(milliseconds: 5)
        #expect(reports.last == [true, false, true] && reports.filter { $0[2] }.count == 1)
        var bytes: [UInt8] = [0, 0, 0]
        #expect(read(end, &bytes, 3) == 1 && bytes[0] == 1)
        poll?.close()
        poll = nil
        close(end)
        run.close()
    }

    @Test("a poll in error reports again until its owner handles it")
    func failedPoll() throws {
        let run = try LoopRun()
        let (end, other) = try StreamPair.sockets()
        #expect(write(end, [1], 1) == 1)
        close(other)
        var failures = 0
        let poll = SocketPoll(on: run.loop, descriptor: end) { _, _, failed in
            failures += failed ? 1 : 0
            if failures == 3 { run.finish() }
        }
        poll?.watch(readable: true, writable: false)
        run.run()
        #expect(failures == 3)
        poll?.close()
        close(end)
        run.close()
    }

    @Test("a descriptor that cannot be polled is refused")
    func regularFile() throws {
        let run = try LoopRun()
        let file = open("/proc/self/exe", O_RDONLY)
        #expect(SocketPoll(on: run.loop, descriptor: file, { _, _, _ in }) == nil)
        // Which closes it.
        #expect(throws: LoopError.self) { _ = try RecordedStream(on: run.loop, descriptor: file) }
        run.close()
    }
}

// A connection's own promises: bytes leave in the order given, an end is an end, a break is a break, and whoever waits
// for room is told of it.

import Glibc
import TestSupport
import Testing

@testable import Registry

@Suite struct TCPStreamTests {
    /// A stream that notes what it hears.
    private final class Probe: TCPStream {
        var drains = 0
        var received: [UInt8] = []
        var ends: [Bool] = []
        var isClosed = false

        override func drained() { drains += 1 }
        override func received(_ bytes: UnsafeRawBufferPointer) { received += bytes }
        override func reachedEnd(failed: Bool) { ends.append(failed) }
        override func closed() { isClosed = true }
    }

    /// A probe, and the other end of its connection.
    private struct Pair {
        let run: LoopRun
        let probe: Probe
        let other: Int32

        init() throws {
            var ends: [Int32] = [-1, -1]
            let kind = Int32(SOCK_STREAM.rawValue) | Int32(SOCK_NONBLOCK.rawValue) | Int32(SOCK_CLOEXEC.rawValue)
            try #require(socketpair(AF_UNIX, kind, 0, &ends) == 0)
            run = try LoopRun()
            probe = try Probe(on: run.loop, descriptor: ends[0])
            other = ends[1]
        }

        /// What has come at the other end.
        func taken() -> [UInt8] {
            var (all, piece) = ([UInt8](), [UInt8](repeating: 0, count: 1 << 16))
            while true {
                let count = read(other, &piece, piece.count)
                guard count > 0 else { return all }
                all += piece[..<count]
            }
        }

        func send(_ bytes: [UInt8]) { #expect(write(other, bytes, bytes.count) == bytes.count) }

        func wait(until condition: @escaping () -> Bool) {
            let timer = Registry.Timer(on: run.loop) { [run] in if condition() { run.finish() } }
            timer.start(afterMilliseconds: 0, everyMilliseconds: 1)
            run.run()
            timer.close()
        }

        func end() {
            probe.close()
            wait(until: { [probe] in probe.isClosed })
            close(other)
            run.close()
        }
    }

    private static func isFull(_ result: TCPStream.WriteResult) -> Bool {
        if case .full = result { true } else { false }
    }

    /// The socket has room again before the loop has looked: what is queued still goes first.
    @Test("no write or file overtakes bytes that are queued") func queueOrder() throws {
        let pair = try Pair()
        let first = pattern(4 << 20)
        #expect(pair.probe.queue(first) && pair.probe.isBlocked)
        var taken = pair.taken()
        #expect(!taken.isEmpty && taken.count < first.count)
        for text in ["", "later"] {
            let result = Array(text.utf8).withUnsafeBytes { pair.probe.tryWrite($0) }
            #expect(Self.isFull(result))
        }
        #expect([9].withUnsafeBytes { Self.isFull(pair.probe.tryWriteMore($0)) })
        guard case .full = pair.probe.sendFile(0, offset: 0, count: 1) else {
            Issue.record("a file overtakes what is queued")
            return
        }
        #expect(pair.probe.queue([7, 8]))
        pair.wait(until: {
            taken += pair.taken()
            return pair.probe.drains > 0 && taken.count >= first.count + 2
        })
        #expect(taken == first + [7, 8] && pair.probe.drains == 1 && !pair.probe.isBlocked)
        pair.end()
    }

    @Test("waiting for room is reported once") func waitForRoom() throws {
        let pair = try Pair()
        let piece = pattern(1 << 16)
        while !Self.isFull(piece.withUnsafeBytes({ pair.probe.tryWrite($0) })) {}
        pair.probe.waitForRoom()
        pair.probe.waitForRoom()
        #expect(pair.probe.isBlocked)
        pair.wait(until: {
            _ = pair.taken()
            return pair.probe.drains > 0
        })
        #expect(pair.probe.drains == 1 && !pair.probe.isBlocked)
        pair.end()
    }

    @Test("a shutdown is sent after the queued bytes, and input stays open") func shutdownAfterQueue() throws {
        let pair = try Pair()
        let bytes = pattern(2 << 20)
        pair.probe.startReading()
        #expect(pair.probe.queue(bytes))
        pair.probe.shutdown()
        var taken: [UInt8] = []
        pair.wait(until: {
            taken += pair.taken()
            return taken.count == bytes.count && pair.probe.drains == 1
        })
        var byte: UInt8 = 0
        #expect(taken == bytes && read(pair.other, &byte, 1) == 0, "then the end")
        // The other direction is still open.
        pair.send([1, 2, 3])
        shutdown(pair.other, Int32(SHUT_WR))
        pair.wait(until: { !pair.probe.ends.isEmpty })
        #expect(pair.probe.received == [1, 2, 3])
        #expect(pair.probe.ends == [false])
        pair.end()
    }

    @Test("a connection that breaks with queued bytes is reported, and takes no more") func brokenWhileQueued() throws {
        let pair = try Pair()
        #expect(pair.probe.queue(pattern(4 << 20)) && pair.probe.isBlocked)
        close(pair.other)
        pair.wait(until: { !pair.probe.ends.isEmpty })
        #expect(pair.probe.ends == [true] && pair.probe.drains == 0)
        #expect(!pair.probe.queue([1]) || pair.probe.isBlocked)
        pair.probe.close()
        #expect(!pair.probe.queue([1]))
        pair.wait(until: { pair.probe.isClosed })
        pair.run.close()
    }

    @Test("bytes that arrive while reading is stopped are read later") func stoppedReading() throws {
        let pair = try Pair()
        pair.probe.startReading()
        pair.send([1])
        pair.wait(until: { pair.probe.received == [1] })
        pair.probe.stopReading()
        pair.send([2])
        pair.run.run(milliseconds: 20)
        #expect(pair.probe.received == [1])
        pair.probe.startReading()
        pair.wait(until: { pair.probe.received == [1, 2] })
        pair.end()
    }

    /// Whoever asks in the first job's completion, while others wait, is told the truth.
    @Test("a serial offload with waiting jobs is not idle") func serialOffload() throws {
        let run = try LoopRun()
        let chain = SerialOffload(Offload(on: run.loop))
        var idle: [Bool] = []
        for number in 0..<3 {
            chain.run({}) { _ in
                idle.append(chain.isIdle)
                if number == 2 { run.finish() }
            }
        }
        run.run()
        #expect(idle == [false, false, true] && chain.isIdle)
        run.close()
    }
}

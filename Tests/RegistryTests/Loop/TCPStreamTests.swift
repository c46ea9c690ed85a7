// A connection's stream: bytes leave in the order given, ends and breaks are reported as such, and waiting for room
// ends with one report.

import Glibc
import TestSupport
import Testing

@testable import Registry

@Suite struct TCPStreamTests {
    private static func isFull(_ result: TCPStream.WriteResult) -> Bool {
        if case .full = result { true } else { false }
    }

    /// The socket has room again before the loop has looked: what is queued still goes first.
    @Test("no write or file overtakes bytes that are queued") func queueOrder() throws {
        let pair = try StreamPair()
        let first = pattern(4 << 20)
        #expect(pair.stream.queue(first) && pair.stream.isBlocked)
        var taken = pair.taken()
        #expect(!taken.isEmpty && taken.count < first.count)
        for text in ["", "later"] {
            let result = Array(text.utf8).withUnsafeBytes { pair.stream.tryWrite($0) }
            #expect(Self.isFull(result))
        }
        #expect([9].withUnsafeBytes { Self.isFull(pair.stream.tryWriteMore($0)) })
        guard case .full = pair.stream.sendFile(0, offset: 0, count: 1) else {
            Issue.record("a file overtakes what is queued")
            return
        }
        #expect(pair.stream.queue([7, 8]))
        pair.wait(until: {
            taken += pair.taken()
            return pair.stream.drains > 0 && taken.count >= first.count + 2
        })
        #expect(taken == first + [7, 8] && pair.stream.drains == 1 && !pair.stream.isBlocked)
        pair.end()
    }

    @Test("waiting for room is reported once") func waitForRoom() throws {
        let pair = try StreamPair()
        let piece = pattern(1 << 16)
        while !Self.isFull(piece.withUnsafeBytes({ pair.stream.tryWrite($0) })) {}
        pair.stream.waitForRoom()
        pair.stream.waitForRoom()
        #expect(pair.stream.isBlocked)
        pair.wait(until: {
            _ = pair.taken()
            return pair.stream.drains > 0
        })
        #expect(pair.stream.drains == 1 && !pair.stream.isBlocked)
        pair.end()
    }

    @Test("a shutdown is sent after the queued bytes, and input stays open") func shutdownAfterQueue() throws {
        let pair = try StreamPair()
        let bytes = pattern(2 << 20)
        pair.stream.startReading()
        #expect(pair.stream.queue(bytes))
        pair.stream.shutdown()
        var taken: [UInt8] = []
        pair.wait(until: {
            taken += pair.taken()
            return taken.count == bytes.count && pair.stream.drains == 1
        })
        var byte: UInt8 = 0
        #expect(taken == bytes && read(pair.other, &byte, 1) == 0, "then the end")
        // The other direction is still open.
        pair.send([1, 2, 3])
        shutdown(pair.other, Int32(SHUT_WR))
        pair.wait(until: { !pair.stream.ends.isEmpty })
        #expect(pair.stream.received == [1, 2, 3])
        #expect(pair.stream.ends == [false])
        pair.end()
    }

    @Test("a connection that breaks with queued bytes is reported, and takes no more") func brokenWhileQueued() throws {
        let pair = try StreamPair()
        #expect(pair.stream.queue(pattern(4 << 20)) && pair.stream.isBlocked)
        close(pair.other)
        pair.wait(until: { !pair.stream.ends.isEmpty })
        #expect(pair.stream.ends == [true] && pair.stream.drains == 0)
        #expect(!pair.stream.queue([1]) || pair.stream.isBlocked)
        pair.stream.close()
        #expect(!pair.stream.queue([1]))
        pair.closeStream()
        pair.run.close()
    }

    @Test("bytes that arrive while reading is stopped are read later") func stoppedReading() throws {
        let pair = try StreamPair()
        pair.stream.startReading()
        pair.send([1])
        pair.wait(until: { pair.stream.received == [1] })
        pair.stream.stopReading()
        pair.send([2])
        pair.run.run(milliseconds: 20)
        #expect(pair.stream.received == [1])
        pair.stream.startReading()
        pair.wait(until: { pair.stream.received == [1, 2] })
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

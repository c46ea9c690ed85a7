// A stream on a loop with the other end of its connection, for the tests of sockets and of the loop.

import Glibc
import TestSupport
import Testing

@testable import Registry

/// A stream that records its events, and runs `onRead` after each piece.
final class RecordedStream: TCPStream {
    private(set) var pieces = 0
    private(set) var received: [UInt8] = []
    private(set) var ends: [Bool] = []
    private(set) var drains = 0
    private(set) var isClosed = false
    var onRead: () -> Void = {}

    override func received(_ bytes: UnsafeRawBufferPointer) {
        pieces += 1
        received += bytes
        onRead()
    }
    override func reachedEnd(failed: Bool) { ends.append(failed) }
    override func drained() { drains += 1 }
    override func closed() {
        isClosed = true
        onRead = {}
    }
}

/// A recorded stream, and the other end of its connection.
struct StreamPair {
    let run: LoopRun
    let stream: RecordedStream
    let other: Int32

    /// - Parameter run: a loop of its own, unless several pairs share one.
    init(on run: LoopRun? = nil) throws {
        let (end, other) = try StreamPair.sockets()
        self.run = try run ?? LoopRun()
        stream = try RecordedStream(on: self.run.loop, descriptor: end)
        self.other = other
    }

    /// Two connected sockets. Closed in children: a program that another test starts meanwhile would keep the other end
    /// open.
    static func sockets() throws -> (Int32, Int32) {
        var ends: [Int32] = [-1, -1]
        let kind = Int32(SOCK_STREAM.rawValue) | Int32(SOCK_NONBLOCK.rawValue) | Int32(SOCK_CLOEXEC.rawValue)
        try #require(socketpair(AF_UNIX, kind, 0, &ends) == 0)
        return (ends[0], ends[1])
    }

    /// Sends from the other end.
    func send(_ bytes: [UInt8]) { #expect(write(other, bytes, bytes.count) == bytes.count) }

    /// What has arrived at the other end.
    func taken() -> [UInt8] {
        var (all, piece) = ([UInt8](), [UInt8](repeating: 0, count: 1 << 16))
        while true {
            let count = read(other, &piece, piece.count)
            guard count > 0 else { return all }
            all += piece[..<count]
        }
    }

    func wait(until condition: @escaping () -> Bool) { run.wait(until: condition) }

    /// Closes the stream, and waits until it is closed.
    func closeStream() {
        stream.close()
        wait(until: { [stream] in stream.isClosed })
    }

    /// Closes both ends and the loop.
    func end() {
        closeStream()
        close(other)
        run.close()
    }
}

// A client of the operator's socket for what takes long: the server says how it goes, a line for each thing, and a
// signal here ends it there. Reading and signals are events of one loop, so that neither waits for the other.

import ArgumentParser
import Glibc
import OCI
import Registry

/// Follows one command until the server has said the last of it.
final class AdminStreamClient {
    private static let pieceBytes = 64 * 1024

    private let loop: EventLoop
    private let descriptor: Int32
    private let onEvent: (ArraySlice<UInt8>) throws -> Void
    private var answer = FollowedAnswer()
    private var failure: (any Error)?
    private var stoppedBy: Int32?

    /// Has a running server carry out `command`, and calls `onEvent` with each line of its answer.
    /// - Returns: false when no server runs.
    /// - Throws: `Failure` with what the server refuses, or an exit status when a signal has ended it.
    static func follow(
        _ command: AdminCommand, socket path: String, onEvent: @escaping (ArraySlice<UInt8>) throws -> Void
    ) throws -> Bool {
        guard let descriptor = try AdminClient.open(path, asking: command, asJSON: false) else { return false }
        defer { close(descriptor) }
        try AdminStreamClient(descriptor, onEvent).run()
        return true
    }

    private init(_ descriptor: Int32, _ onEvent: @escaping (ArraySlice<UInt8>) throws -> Void) throws {
        loop = try EventLoop()
        self.descriptor = descriptor
        self.onEvent = onEvent
    }

    private func run() throws {
        let signals = [
            try SignalWatcher(on: loop, signal: SIGTERM) { [unowned self] in stop(SIGTERM) },
            try SignalWatcher(on: loop, signal: SIGINT) { [unowned self] in stop(SIGINT) },
        ]
        let poll = SocketPoll(on: loop, descriptor: descriptor) { [unowned self] readable, _, _ in
            if readable { receive() } else { end(AdminClient.broken) }
        }
        if let poll {
            poll.watch(readable: true, writable: false)
            loop.run()
            poll.close()
        } else {
            failure = AdminClient.broken
        }
        for signal in signals { signal.close() }
        loop.close()
        if let stoppedBy { throw Exit.stopped(by: stoppedBy) }
        if let failure { throw failure }
    }

    /// The server takes the end of what we send for the end of what we want, and says what has come of it until then.
    /// Asked again, this does not wait for that.
    private func stop(_ signal: Int32) {
        if stoppedBy != nil { _exit(Exit.stopped(by: signal).rawValue) }
        stoppedBy = signal
        shutdown(descriptor, Int32(SHUT_WR))
    }

    private func receive() {
        var piece = [UInt8](repeating: 0, count: AdminStreamClient.pieceBytes)
        let count = recv(descriptor, &piece, piece.count, Int32(MSG_DONTWAIT))
        if count < 0, errno == EINTR || errno == EAGAIN { return }
        do {
            guard count > 0 else { return try endOfInput(isClean: count == 0) }
            try answer.take(piece[..<count], onEvent)
        } catch {
            end(error)
        }
    }

    private func endOfInput(isClean: Bool) throws {
        guard isClean, answer.isWhole else { throw answer.refusal ?? AdminClient.broken }
        end(nil)
    }

    private func end(_ error: (any Error)?) {
        failure = error
        loop.stop()
    }
}

/// An answer in chunks as it comes in (RFC 9112 §7.1), put together to lines.
struct FollowedAnswer {
    private static let lineEnd = Array("\r\n".utf8)
    /// Largest chunk taken: many times what `LineFeed` sends at once.
    private static let maximumChunkBytes = 64 << 20

    private var waiting: [UInt8] = []
    private var line: [UInt8] = []
    private var hasHead = false
    private var isRefused = false
    /// Bytes of the current chunk that have not come.
    private var chunkBytes = 0
    /// Whether the last chunk has come.
    private(set) var isWhole = false

    /// What the server has said instead of doing it.
    var refusal: (any Error)? {
        guard isRefused else { return nil }
        do {
            _ = try AdminClient.body(of: waiting)
            return nil
        } catch {
            return error
        }
    }

    mutating func take(_ bytes: ArraySlice<UInt8>, _ onEvent: (ArraySlice<UInt8>) throws -> Void) throws {
        waiting += bytes
        if !hasHead { readHead() }
        guard hasHead, !isRefused else { return }
        while !isWhole, let data = try nextData() {
            line += data
            while let end = line.firstIndex(of: 0x0A) {
                try onEvent(line[..<end])
                line.removeFirst(end + 1)
            }
        }
    }

    private mutating func readHead() {
        let end = FollowedAnswer.lineEnd + FollowedAnswer.lineEnd
        guard let split = waiting.indices.first(where: { waiting[$0...].starts(with: end) }) else { return }
        hasHead = true
        isRefused = !waiting.starts(with: Array("HTTP/1.1 200 ".utf8))
        // What is refused is kept whole: there is a reason in it.
        if !isRefused { waiting.removeFirst(split + end.count) }
    }

    /// The next bytes of the body that are here; nil when more has to come first.
    private mutating func nextData() throws -> [UInt8]? {
        if chunkBytes == 0 {
            guard let end = waiting.firstIndex(of: 0x0D), waiting.count > end + 1 else { return nil }
            let digits = String(decoding: waiting[..<end], as: UTF8.self)
            guard let size = OutsideNumber.hexadecimal(digits, atMost: FollowedAnswer.maximumChunkBytes) else {
                throw AdminClient.broken
            }
            if size == 0 {
                isWhole = true
                return nil
            }
            chunkBytes = size
            waiting.removeFirst(end + 2)
        }
        // A chunk's own line end goes with its last bytes.
        guard waiting.count >= chunkBytes + 2 else { return nil }
        let data = Array(waiting[..<chunkBytes])
        waiting.removeFirst(chunkBytes + 2)
        chunkBytes = 0
        return data
    }
}

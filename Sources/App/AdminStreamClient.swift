// A client of the admin socket for long commands: the server streams one event per line, and a signal stops the
// command. One loop handles reads and signals, so that neither blocks the other.

import ArgumentParser
import Glibc
import OCI
import Registry

/// Sends one command and reads its events until the response ends.
final class AdminStreamClient {
    private static let pieceBytes = 64 * 1024

    private let loop: EventLoop
    private let descriptor: Int32
    private let onEvent: (ArraySlice<UInt8>) throws -> Void
    private var answer = FollowedAnswer()
    private var failure: (any Error)?
    private var stoppedBy: Int32?

    /// Sends `command` to a running server, and calls `onEvent` with each line of the response.
    /// - Returns: false when no server runs.
    /// - Throws: `Failure` when the server refuses the command, or an exit status after a signal.
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

    /// Shuts down the sending side: the server then stops the job and sends its last events. A second signal ends the
    /// process at once.
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

/// Parses a chunked response (RFC 9112 §7.1) as it arrives, and splits its body into lines.
struct FollowedAnswer {
    private static let lineEnd = Array("\r\n".utf8)
    /// Largest chunk accepted: many times what `LineFeed` sends at once.
    private static let maximumChunkBytes = 64 << 20

    private var waiting: [UInt8] = []
    private var line: [UInt8] = []
    private var hasHead = false
    private var isRefused = false
    /// Bytes of the current chunk that have not arrived.
    private var chunkBytes = 0
    /// Whether the last chunk has arrived.
    private(set) var isWhole = false

    /// The error of a response whose status is not 200.
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
        // A refusal is kept whole, since its body states the reason.
        if !isRefused { waiting.removeFirst(split + end.count) }
    }

    /// The body bytes received so far; nil when more input is needed.
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
        // The line end after a chunk is removed together with the chunk's last bytes.
        guard waiting.count >= chunkBytes + 2 else { return nil }
        let data = Array(waiting[..<chunkBytes])
        waiting.removeFirst(chunkBytes + 2)
        chunkBytes = 0
        return data
    }
}

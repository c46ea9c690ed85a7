// Moves a body to a socket: as much an iteration as is fair, no faster than the reader takes it, no further than a
// growing blob has come, and without ever waiting for a disk on the loop.
//
// When the socket is full, the loop says when it has room again. How files are sent is in FileBody.swift.

/// One body on its way to one connection.
package final class BodyPump: GrowingReader {
    /// What is to be sent behind the head.
    package enum Content {
        /// Nothing but what has been queued already.
        case nothing
        /// Bytes in memory, valid as long as `owner`.
        case memory(UnsafeRawBufferPointer, owner: AnyObject)
        /// The bytes `range` of a file.
        case file(OpenFile, Range<Int64>)
        /// The bytes `range` of a growing blob whose size is known.
        case growing(GrowingBlob, Range<Int64>)
        /// A growing blob of unknown size, in chunks.
        case growingChunked(GrowingBlob)
        /// What is said as it happens, in chunks.
        case lines(LineFeed)
    }

    /// Bytes given to one reader before others get their turn.
    static let bytesPerTurn = 2 * 1024 * 1024

    let content: Content
    /// Held, since the pool's answer about cold pages may come when nobody else holds it any more. The connection lets
    /// go of its pump when the body has ended or its handle has closed.
    let connection: Connection
    var head: [UInt8]
    private var file: OpenFile?
    var position: Int64 = 0
    private let first: Int64
    private let end: Int64?
    /// Below this the pages have just been read in; asking again could go on for ever on a machine short of memory.
    var warmUntil: Int64 = 0
    /// The body is read and sent: `sendfile` has failed.
    var sendsByReading = false
    private var generation = 0
    var isWaiting = false
    /// Where it is parked on a growing blob.
    private var place = 0
    private let alreadyCounted: Int64
    /// What answers instead when the content turns out to be damaged before anything of the answer has been sent.
    var retry: Connection.Retry?
    /// The body ended short before `retry` was known.
    var isBroken = false

    init(_ content: Content, head: [UInt8], alreadyCounted: Int64, connection: Connection) {
        self.content = content
        self.head = head
        self.alreadyCounted = alreadyCounted
        self.connection = connection
        switch content {
        case .nothing: (first, end) = (0, 0)
        case .memory(let bytes, _): (first, end) = (0, Int64(bytes.count))
        case .file(let open, let range):
            (first, end) = (range.lowerBound, range.upperBound)
            file = open
        case .growing(let blob, let range):
            (first, end) = (range.lowerBound, range.upperBound)
            generation = blob.generation
        case .growingChunked(let blob):
            (first, end) = (0, nil)
            generation = blob.generation
        case .lines: (first, end) = (0, nil)
        }
        position = first
    }

    /// Whether nothing has been sent or queued, so that another answer can still be given.
    var hasSentNothing: Bool { !head.isEmpty }

    /// Whether the content is a file that no longer grows.
    var isFinished: Bool { if case .file = content { true } else { false } }

    /// Body bytes handed to the kernel or queued.
    var bodyBytes: Int64 { alreadyCounted + position - first }

    enum Step {
        case again
        /// Somebody will call `run` again: the socket, the blob, the pool or the next iteration.
        case wait
        case complete
        /// The rest cannot be had; the client has left.
        case broken, gone
    }

    /// Goes on as far as it may.
    func run() {
        var budget = BodyPump.bytesPerTurn
        while !isWaiting, !connection.isClosing, !connection.isBlocked {
            switch step(&budget) {
            case .again: continue
            case .wait: return
            case .complete: return connection.pumpEnded(self, isComplete: true)
            case .broken: return connection.pumpEnded(self, isComplete: false)
            case .gone: return connection.close()
            }
        }
    }

    /// The connection has closed.
    func abandon() {
        switch content {
        case .growing(let blob, _), .growingChunked(let blob): blob.unpark(self, at: place)
        default: inputEnded()
        }
    }

    /// The client will send nothing more: an answer without an end of its own ends then.
    func inputEnded() {
        if case .lines(let feed) = content { feed.leave() }
    }

    package func growingBlobAdvanced() { resume() }

    private func resume() {
        isWaiting = false
        run()
    }

    private func step(_ budget: inout Int) -> Step {
        guard budget > 0 else { return yield() }
        switch content {
        case .nothing: return .complete
        case .memory(let bytes, _): return sendMemory(bytes, &budget)
        case .file(let open, let range): return sendFile(open, upTo: range.upperBound, end: range.upperBound, &budget)
        case .growing(let blob, let range): return follow(blob, range, &budget)
        case .growingChunked(let blob): return followInChunks(blob, &budget)
        case .lines(let feed): return follow(feed, &budget)
        }
    }

    /// Lets others go first.
    private func yield() -> Step {
        isWaiting = true
        connection.loop.deferred.enqueue { [self] in resume() }
        return .wait
    }

    func park(on blob: GrowingBlob) -> Step {
        isWaiting = true
        place = blob.park(self)
        return .wait
    }

    // MARK: Sources

    private func sendMemory(_ bytes: UnsafeRawBufferPointer, _ budget: inout Int) -> Step {
        if !head.isEmpty { return sendHeadAlone(&budget, then: .again) }
        let rest = UnsafeRawBufferPointer(rebasing: bytes[Int(position)...])
        if rest.isEmpty { return .complete }
        let count = min(rest.count, budget)
        return moved(connection.tryWrite(UnsafeRawBufferPointer(rebasing: rest[..<count])), &budget)
    }

    private func follow(_ blob: GrowingBlob, _ range: Range<Int64>, _ budget: inout Int) -> Step {
        if position == range.upperBound { return sendHeadAlone(&budget, then: .complete) }
        guard agrees(with: blob) else { return .broken }
        let limit = min(blob.readableBytes, range.upperBound)
        if position < limit, let file = blob.file {
            return sendFile(file, upTo: limit, end: range.upperBound, &budget)
        }
        if case .failed = blob.phase { return .broken }
        // The head need not wait for the first byte.
        return head.isEmpty ? park(on: blob) : sendHeadAlone(&budget, then: .again)
    }

    /// A blob that started over has a new file; a reader that was given none of the old one may go on with it.
    func agrees(with blob: GrowingBlob) -> Bool {
        if blob.generation == generation { return true }
        guard position == first else { return false }
        generation = blob.generation
        return true
    }

    // MARK: Pieces

    /// - Parameter moreFollows: the body comes at once, so that the head need not go in a segment of its own.
    func sendHeadAlone(_ budget: inout Int, then: Step, moreFollows: Bool = false) -> Step {
        guard !head.isEmpty else { return then }
        let bytes = head
        head = []
        switch bytes.withUnsafeBytes({ moreFollows ? connection.tryWriteMore($0) : connection.tryWrite($0) }) {
        case .failed: return .gone
        case .full: return queueOrBreak(bytes, then: .again)
        case .took(let count):
            budget -= count
            return count == bytes.count ? then : queueOrBreak(Array(bytes[count...]), then: .again)
        }
    }

    /// Handles what a write of body bytes came to.
    func moved(_ result: TCPStream.WriteResult, _ budget: inout Int) -> Step {
        switch result {
        case .failed: return .gone
        case .full:
            connection.waitForRoom()
            return .wait
        case .took(let count):
            position += Int64(count)
            budget -= count
            connection.progressed()
            return .again
        }
    }

    func queueOrBreak(_ bytes: [UInt8], then: Step) -> Step {
        // `.complete` with bytes still queued is right: the connection waits for them before anything else.
        connection.queue(bytes) ? then : .gone
    }
}

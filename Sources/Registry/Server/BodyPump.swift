// Moves a body to a socket: a bounded amount per iteration, no faster than the client reads, no further than a growing
// blob has grown, and without waiting for a disk on the loop.
//
// When the socket is full, the loop reports when it has room again. FileBody.swift sends files.

/// Sends one body to one connection.
package final class BodyPump: GrowingReader {
    /// The content to send after the head.
    package enum Content {
        /// No content beyond the queued bytes.
        case nothing
        /// Bytes in memory, valid as long as `owner`.
        case memory(UnsafeRawBufferPointer, owner: AnyObject)
        /// The bytes `range` of a file.
        case file(OpenFile, Range<Int64>)
        /// The bytes `range` of a growing blob whose size is known. `readsAhead`: they may be requested ahead of the
        /// pull, and are sent before the digest is verified then.
        case growing(GrowingBlob, Range<Int64>, readsAhead: Bool)
        /// A growing blob of unknown size, in chunks.
        case growingChunked(GrowingBlob)
        /// Lines sent as they are added, in chunks.
        case lines(LineFeed)
    }

    /// Bytes sent to one client in one iteration of the loop.
    static let bytesPerIteration = 2 * 1024 * 1024
    /// What the beginning of a part takes of these bytes, however short the part is: two system calls cost as much as
    /// sending that many bytes.
    static let bytesPerPart = 16 * 1024

    let content: Content
    /// Retained, since the pool may report on cold pages when nothing else retains the connection. The connection
    /// releases its pump when the body has ended or its handle has closed.
    let connection: Connection
    var head: [UInt8]
    var position: Int64 = 0
    /// The range being sent: the whole content, or one part of it.
    private var range: Range<Int64>
    /// The parts of a multipart body, and the position of the one being sent; after the last part comes the end.
    private let parts: MultipartRanges?
    private var partIndex = 0
    /// Below this offset the pages have just been read; checking them again could repeat for ever on a machine short of
    /// memory.
    var warmUntil: Int64 = 0
    /// Whether the body is read and sent because `sendfile` has failed.
    var sendsByReading = false
    private var generation = 0
    var isWaiting = false
    /// Whether the current part began so far ahead of the pull that it may be sent before it is verified; nil before
    /// its first byte.
    private var isPartAhead: Bool?
    /// Whether a window keeps bytes for it.
    private var isAttached = false
    /// Its position among the readers parked on a growing blob.
    private var place = 0
    /// Body bytes before `range`, with the header of the part that is in `head`.
    private var alreadyCounted: Int64
    /// Sends another response when the content turns out to be damaged before any byte of this one has been sent.
    var retry: Connection.Retry?
    /// Whether the body ended early before `retry` was set.
    var isBroken = false

    init(_ content: Content, head: [UInt8], parts: MultipartRanges?, alreadyCounted: Int64, connection: Connection) {
        self.content = content
        self.head = head
        self.parts = parts
        self.alreadyCounted = alreadyCounted
        self.connection = connection
        switch content {
        case .nothing, .lines: range = 0..<0
        case .memory(let bytes, _): range = 0..<Int64(bytes.count)
        case .file(_, let whole): range = whole
        case .growing(let blob, let whole, _):
            range = whole
            generation = blob.generation
        case .growingChunked(let blob):
            range = 0..<0
            generation = blob.generation
        }
        if let parts { begin(parts, 0) }
        position = range.lowerBound
    }

    /// Whether nothing has been sent or queued, so that another response is still possible.
    var hasSentNothing: Bool { !head.isEmpty && partIndex == 0 }

    /// Whether the content is a file that no longer grows.
    var isFile: Bool { if case .file = content { true } else { false } }

    /// Body bytes handed to the kernel or queued; of a multipart body also the header of the current part.
    var bodyBytes: Int64 { alreadyCounted + position - range.lowerBound }

    enum Step {
        case again
        /// The socket, the blob, the pool or the next iteration calls `run` again.
        case wait
        case complete
        /// The rest of the body is not available.
        case broken
        /// The client has left.
        case gone
    }

    /// Sends as much as possible now.
    func run() {
        var budget = BodyPump.bytesPerIteration
        while !isWaiting, !connection.isClosing, !connection.isBlocked {
            switch step(&budget) {
            case .again: continue
            case .wait: return
            case .complete:
                guard !beginNextPart(&budget) else { continue }
                detach()
                return connection.pumpEnded(self, isComplete: true)
            case .broken:
                detach()
                return connection.pumpEnded(self, isComplete: false)
            case .gone: return connection.close()
            }
        }
    }

    /// Begins the part after the one that is complete, or the end of the parts.
    /// - Returns: false when the body is complete.
    private func beginNextPart(_ budget: inout Int) -> Bool {
        guard let parts, partIndex < parts.ranges.count else { return false }
        alreadyCounted += position - range.lowerBound
        begin(parts, partIndex + 1)
        position = range.lowerBound
        warmUntil = 0
        isPartAhead = nil
        budget -= BodyPump.bytesPerPart
        return true
    }

    private func begin(_ parts: MultipartRanges, _ number: Int) {
        partIndex = number
        let header = number < parts.ranges.count ? parts.header(of: number) : parts.closingDelimiter
        head += header
        alreadyCounted += Int64(header.count)
        range = number < parts.ranges.count ? Range(parts.ranges[number]) : 0..<0
    }

    /// The connection has closed.
    func abandon() {
        detach()
        switch content {
        case .growing(let blob, _, _), .growingChunked(let blob): blob.unpark(self, at: place)
        default: inputEnded()
        }
    }

    /// The client will send no more bytes: this ends a feed of lines, which has no end of its own.
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
        case .file(let open, _): return sendFile(open, upTo: range.upperBound, end: range.upperBound, &budget)
        case .growing(let blob, _, let readsAhead): return follow(blob, readsAhead, &budget)
        case .growingChunked(let blob): return followInChunks(blob, &budget)
        case .lines(let feed): return follow(feed, &budget)
        }
    }

    /// Continues in the next iteration, after other connections.
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
        let rest = UnsafeRawBufferPointer(rebasing: bytes[Int(position)..<Int(range.upperBound)])
        if rest.isEmpty { return .complete }
        let count = min(rest.count, budget)
        return moved(connection.tryWrite(UnsafeRawBufferPointer(rebasing: rest[..<count])), &budget)
    }

    private func follow(_ blob: GrowingBlob, _ readsAhead: Bool, _ budget: inout Int) -> Step {
        if position == range.upperBound { return sendHeadAlone(&budget, then: .complete) }
        guard isCompatible(with: blob) else { return .broken }
        if let window = blob.window { return follow(window, of: blob, &budget) }
        // Decided once: a part that begins near the pull follows it to its end.
        let isAhead = isPartAhead ?? (readsAhead && blob.isDistant(position))
        isPartAhead = isAhead
        let wanted = parts?.mergedEnd(from: partIndex, gapBytes: AheadLimits.gapBytes) ?? range.upperBound
        let limit = min(blob.readableEnd(from: position, wanted: wanted, readsAhead: isAhead), range.upperBound)
        if position < limit, let file = blob.file {
            return sendFile(file, upTo: limit, end: range.upperBound, &budget)
        }
        if case .failed = blob.phase { return .broken }
        // The head is sent before the first byte of the body arrives.
        return head.isEmpty ? park(on: blob) : sendHeadAlone(&budget, then: .again)
    }

    /// Sends what passes through a window. Its readers attach before the head is sent: a window that has moved on is
    /// of no use to a new one, which gets another response then.
    private func follow(_ window: PassingWindow, of blob: GrowingBlob, _ budget: inout Int) -> Step {
        guard attach(to: window) else { return .broken }
        let limit = min(blob.readableBytes, range.upperBound)
        guard position < limit else {
            if case .failed = blob.phase { return .broken }
            return head.isEmpty ? park(on: blob) : sendHeadAlone(&budget, then: .again)
        }
        if !head.isEmpty { return sendHeadAlone(&budget, then: .again) }
        guard let bytes = window.bytes(from: position, upTo: limit) else { return .broken }
        let step = moved(bytes.withUnsafeBytes { connection.tryWrite($0) }, &budget)
        window.advance(self, to: position)
        return step
    }

    func attach(to window: PassingWindow) -> Bool {
        if isAttached { return true }
        isAttached = window.attach(self, at: position)
        return isAttached
    }

    private func detach() {
        guard isAttached else { return }
        isAttached = false
        switch content {
        case .growing(let blob, _, _), .growingChunked(let blob): blob.window?.detach(self)
        default: break
        }
    }

    /// Whether this reader can continue: a blob that started over has a new file, which suits only a reader that has
    /// sent none of the old one.
    func isCompatible(with blob: GrowingBlob) -> Bool {
        if blob.generation == generation { return true }
        guard position == range.lowerBound, partIndex == 0 else { return false }
        generation = blob.generation
        return true
    }

    // MARK: Pieces

    /// - Parameter moreFollows: the body follows at once, so the head needs no segment of its own.
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

    /// Handles the result of writing body bytes.
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
        // `.complete` with bytes still queued is correct: the connection sends them before anything else.
        connection.queue(bytes) ? then : .gone
    }
}

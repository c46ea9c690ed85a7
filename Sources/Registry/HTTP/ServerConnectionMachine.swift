// The protocol state of a server connection, as a pure value: bytes in, one step out. It keeps no bytes and no heap
// memory, so an idle connection costs only its socket. The runner (`Connection`) does
//
//     on bytes:    loop over kept and new bytes: `next` → perform the step; `.needMore` ends the loop
//     on response: `responseFinished()`, then that loop over the kept bytes (pipelined requests wait there)
//     on EOF:      `inputEnded()`, then that loop unless a request is being answered
//
// One request is answered at a time: between `.request` and `responseFinished` no further bytes are parsed.

package struct ServerConnectionMachine: Sendable {
    /// A connection is closed rather than read past a longer body: no request that this server serves has one.
    package static let maximumDrainedBodyBytes: UInt64 = 64 * 1024

    /// The next action of the runner.
    package enum Step: Equatable, Sendable {
        /// Keep the bytes, and call again with more bytes appended.
        case needMore
        /// Answer this request, whose head is the first `consumed` bytes; its slices are offsets into them.
        case request(RequestHead, consumed: Int)
        /// Discard this many bytes: the body of an answered request, or the bytes after a refusal.
        case skip(Int)
        /// Answer with this failure's status, and close.
        case refuse(ParseFailure)
        /// No more requests will follow; close.
        case end
    }

    private enum Phase: UInt8 {
        case reading, answering, closing
    }

    private var phase = Phase.reading
    private var hasEnded = false
    /// Whether the connection has to be closed after the current response.
    package private(set) var mustClose = false
    /// How many of the kept bytes have been examined.
    private var seenBytes: UInt16 = 0
    /// Bytes of the answered request's body that have not arrived.
    private var bodyBytesLeft: UInt32 = 0

    package init() {}

    /// Whether a request is being answered, so that `next` has no step.
    package var isAnswering: Bool { phase == .answering }

    /// Whether no byte of a next request has arrived: the idle timeout applies, not the one for slow heads.
    package var isIdle: Bool { phase == .reading && seenBytes == 0 && bodyBytesLeft == 0 }

    /// The next step, where `bytes` are all received bytes that no step has consumed.
    package mutating func next(_ bytes: UnsafeRawBufferPointer) -> Step {
        var memory: FieldsMemory?
        return next(bytes, &memory)
    }

    /// The next step, with remembered field lines of other requests.
    package mutating func next(_ bytes: UnsafeRawBufferPointer, _ memory: inout FieldsMemory?) -> Step {
        switch phase {
        case .answering: .needMore
        case .closing: bytes.isEmpty ? .end : .skip(bytes.count)
        case .reading: bodyBytesLeft > 0 && !bytes.isEmpty ? skipBody(bytes.count) : readHead(bytes, &memory)
        }
    }

    /// The response has been handed over in full; the next request may be parsed.
    package mutating func responseFinished() {
        phase = mustClose ? .closing : .reading
    }

    /// The client will send no more bytes. It may still read: a half-closed connection is answered.
    package mutating func inputEnded() {
        hasEnded = true
    }

    private mutating func skipBody(_ available: Int) -> Step {
        let count = min(available, Int(bodyBytesLeft))
        bodyBytesLeft -= UInt32(clamping: count)
        return .skip(count)
    }

    private mutating func readHead(_ bytes: UnsafeRawBufferPointer, _ memory: inout FieldsMemory?) -> Step {
        guard !bytes.isEmpty, isWorthParsing(bytes) else { return waitForMore(bytes) }
        switch RequestParser.parse(bytes, &memory) {
        case .incomplete: return waitForMore(bytes)
        case .failure(let failure):
            phase = .closing
            mustClose = true
            return .refuse(failure)
        case .head(let head):
            begin(head)
            return .request(head, consumed: head.length)
        }
    }

    /// The first bytes are parsed at once: most heads arrive whole, and input that is not HTTP is detected. Later bytes
    /// are parsed only when they end a line, reach the limit, or are the last, so that a slow client costs a parse per
    /// line, not per byte.
    private func isWorthParsing(_ bytes: UnsafeRawBufferPointer) -> Bool {
        let seen = min(Int(seenBytes), bytes.count)
        let isDue = seen == 0 || hasEnded || bytes.count >= RequestParser.maximumHeadBytes
        return isDue || bytes[seen...].contains(0x0A)
    }

    private mutating func waitForMore(_ bytes: UnsafeRawBufferPointer) -> Step {
        // It is below the limit of a head, so it fits: at the limit the parser never returns "incomplete".
        seenBytes = UInt16(truncatingIfNeeded: bytes.count)
        guard hasEnded else { return .needMore }
        phase = .closing
        return .end
    }

    private mutating func begin(_ head: RequestHead) {
        phase = .answering
        seenBytes = 0
        mustClose = !head.keepAlive
        switch head.body {
        case .none: break
        case .length(let length) where length <= Self.maximumDrainedBodyBytes && !head.expectContinue:
            bodyBytesLeft = UInt32(clamping: length)
        case .length, .chunked:
            // The body is too large to drain, of unknown size, or perhaps never sent, as no 100 is sent (RFC 9110
            // §10.1.1).
            mustClose = true
        }
    }
}

// What a server connection does with the bytes it is sent, as a pure value: bytes in, one step out. It keeps no bytes
// and no heap, so ten thousand idle connections cost what their sockets cost. The runner (`Connection`) does
//
//     on bytes:  loop over what it has kept and what has come: `next` → do the step; `.needMore` ends the loop
//     on answer: `responseFinished()`, then that loop again over what it has kept (pipelined requests wait there)
//     on EOF:    `inputEnded()`, then that loop again unless a request is being answered
//
// One request is out at a time: between `.request` and `responseFinished` nothing is read on.

package struct ServerConnectionMachine: Sendable {
    /// A longer body is not worth reading to save a connection: no request this server serves has one.
    package static let maximumDrainedBodyBytes: UInt64 = 64 * 1024

    package enum Step: Equatable, Sendable {
        /// Keep the bytes, and come back with them and more behind them.
        case needMore
        /// Answer this request, whose head is the first `consumed` bytes; its slices are offsets into them.
        case request(RequestHead, consumed: Int)
        /// Throw away so many bytes: the body of a request already answered, or what follows a refusal.
        case skip(Int)
        /// Answer with this status, and close.
        case refuse(ParseFailure)
        /// Nothing will follow; close.
        case end
    }

    private enum Phase: UInt8 {
        case reading, answering, closing
    }

    private var phase = Phase.reading
    private var hasEnded = false
    /// Whether the connection has to be closed after the response now due.
    package private(set) var mustClose = false
    /// How many of the kept bytes have been looked at.
    private var seenBytes: UInt16 = 0
    /// How much of the answered request's body is still to come.
    private var bodyBytesLeft: UInt32 = 0

    package init() {}

    /// Whether a request is being answered, so that `next` has nothing to say.
    package var isAnswering: Bool { phase == .answering }

    /// Whether nothing of a next request has come yet: what the idle timeout is for, as against the one for slow heads.
    package var isIdle: Bool { phase == .reading && seenBytes == 0 && bodyBytesLeft == 0 }

    /// The next step, where `bytes` are all bytes that have come and that no step has consumed.
    package mutating func next(_ bytes: UnsafeRawBufferPointer) -> Step {
        var memory: FieldsMemory?
        return next(bytes, &memory)
    }

    /// The same, with what is remembered of other requests' field lines.
    package mutating func next(_ bytes: UnsafeRawBufferPointer, _ memory: inout FieldsMemory?) -> Step {
        switch phase {
        case .answering: .needMore
        case .closing: bytes.isEmpty ? .end : .skip(bytes.count)
        case .reading: bodyBytesLeft > 0 && !bytes.isEmpty ? skipBody(bytes.count) : readHead(bytes, &memory)
        }
    }

    /// The response has been handed on in full; the next request may be looked at.
    package mutating func responseFinished() {
        phase = mustClose ? .closing : .reading
    }

    /// The peer will send nothing more (it may still be reading: a half-closed connection is answered).
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

    /// The first bytes are parsed at once (most heads come whole, and what is not HTTP shows); later ones only when
    /// they end a line, reach the limit, or are the last. So a client that dribbles costs a parse for each line it may
    /// send, not for each byte.
    private func isWorthParsing(_ bytes: UnsafeRawBufferPointer) -> Bool {
        let seen = min(Int(seenBytes), bytes.count)
        let isDue = seen == 0 || hasEnded || bytes.count >= RequestParser.maximumHeadBytes
        return isDue || bytes[seen...].contains(0x0A)
    }

    private mutating func waitForMore(_ bytes: UnsafeRawBufferPointer) -> Step {
        // Below the limit of a head, which fits: at the limit the parser never says "incomplete".
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
            // Too much to drain; of unknown size; or perhaps never sent, as no 100 asks for it (RFC 9110 §10.1.1).
            mustClose = true
        }
    }
}

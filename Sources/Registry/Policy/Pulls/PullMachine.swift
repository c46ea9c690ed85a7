// The life of one blob pull as a pure value: events in, actions out. The runner (Pull/BlobPull) performs the actions
// after the call has returned. These rules hold whatever the upstream does:
//
// - A reader never gets a complete wrong body. The file that readers follow only ever grows, its hash covers exactly
//   the bytes they were given, and its last byte is withheld until that hash equals the digest.
// - A broken transfer is resumed where it stopped: by Range, or, where the upstream has no ranges, from the start with
//   the known bytes skipped. Either way the hash covers what readers got, so mixed content cannot pass.
// - If content from several transfers does not match its digest, one fresh start from zero is made; readers that were
//   given bytes of the rejected file get a short body.

internal import OCI

/// The states and transitions of one blob pull.
package struct PullMachine {
    /// Consecutive attempts without a new byte before a pull is given up.
    package static let maximumAttemptsWithoutProgress = 5
    /// Attempts in total: an upstream that breaks every few bytes must not keep a pull alive for ever.
    package static let maximumAttempts = 64
    /// Default of the first back-off; it doubles with each attempt that brings no new byte.
    package static let firstBackOffMilliseconds: UInt64 = 100

    private enum Room { case none, asItGrows, whole }

    private enum State: Equatable {
        case opening
        /// Requested from `offset`; the file holds the bytes before `have`.
        case requesting(offset: Int64)
        case reserving
        case streaming
        /// The file has the next bytes already, since they were requested ahead.
        case takingSpan
        case backingOff
        case verifying
        case startingOver
        case committing
        case over
    }

    private var state: State = .opening
    /// Bytes in the file at the last request or interruption.
    private var have: Int64 = 0
    /// The size that the upstream stated, or the length of the whole body.
    package private(set) var size: Int64?
    private var announced = false
    /// The size announced to readers; nil if it was unknown then. A fresh start must keep to it.
    private var promisedSize: Int64?
    /// The room that the file has, or that was requested for it.
    private var room = Room.none
    /// Requests for room without a result yet. A transfer can break and a new one be answered before they complete.
    private var pendingReservations = 0
    /// The body's length, if the body ended before its room was reserved.
    private var endedLength: Int64?
    /// Whether the file's bytes come from more than one transfer.
    private var isPieced = false
    private var hasStartedOver = false
    private var upstreamCannotResume = false
    private var attempts = 0
    private var attemptsWithoutProgress = 0

    private let firstBackOffMilliseconds: UInt64

    package init(firstBackOffMilliseconds: UInt64 = PullMachine.firstBackOffMilliseconds) {
        self.firstBackOffMilliseconds = firstBackOffMilliseconds
    }

    /// Whether the pull has ended, so that no further action follows.
    package var isOver: Bool { state == .over }

    /// Takes one event; returns what to do, in order.
    package mutating func handle(_ event: Event) -> [Action] {
        if case .reserved = event { pendingReservations = max(0, pendingReservations - 1) }
        switch (state, event) {
        case (.over, _): return []
        case (_, .storeFailed(let error)): return fail(error, keepPartial: false)
        case (.opening, .opened(let offset)), (.startingOver, .opened(let offset)): return opened(offset)
        case (.requesting(let offset), .answered(let answer)): return answered(answer, offset: offset)
        case (.reserving, .reserved) where pendingReservations == 0:
            state = .streaming
            let total = endedLength
            endedLength = nil
            return announceOnce() + (total.map { ended(total: $0) } ?? [])
        case (.reserving, .bodyEnded(let total)) where size == nil || total == size:
            // The store may have to make room first, and content without room is not kept.
            endedLength = total
            return []
        case (.streaming, .reachedSpan(let position)), (.requesting, .reachedSpan(let position)):
            return reachedSpan(position)
        case (.takingSpan, .tookSpan(let position)): return tookSpan(position)
        case (.reserving, .bodyEnded(let total)), (.streaming, .bodyEnded(let total)): return ended(total: total)
        case (.requesting, .broke(let error, let received)), (.reserving, .broke(let error, let received)),
            (.streaming, .broke(let error, let received)):
            return broke(error, received: received)
        case (.requesting, .refused(let error)): return fail(error, keepPartial: have > 0)
        case (.requesting, .rateLimited(let error, let canWait)): return rateLimited(error, canWait)
        case (.backingOff, .backOffElapsed): return request()
        case (.verifying, .verified(let matches)): return verified(matches)
        case (.committing, .committed):
            state = .over
            return [.finish]
        default: return []
        }
    }

    private mutating func opened(_ offset: Int64) -> [Action] {
        have = offset
        isPieced = offset > 0
        return request()
    }

    private mutating func request() -> [Action] {
        attempts += 1
        let offset = upstreamCannotResume ? 0 : have
        state = .requesting(offset: offset)
        return [.request(offset: offset)]
    }

    private mutating func answered(_ answer: Answer, offset: Int64) -> [Action] {
        switch answer.status {
        case 200: return streamWhole(answer)
        case 206 where offset > 0 && answer.rangeFirst == offset: return streamRest(answer)
        case 206, 416: return cannotResume(answer)
        default: return fail(.unavailable("the upstream answered \(answer.status)"), keepPartial: have > 0)
        }
    }

    /// Handles a 200: the whole content, of which the first `have` bytes are skipped.
    private mutating func streamWhole(_ answer: Answer) -> [Action] {
        guard agree(on: answer.contentLength) else { return contradiction() }
        if let length = answer.contentLength, length < have { return dropAndStartOver() }
        isPieced = have > 0
        return (have > 0 ? [.skip(have)] : []) + reserveOrStream()
    }

    /// Handles a 206 that begins at the requested offset.
    private mutating func streamRest(_ answer: Answer) -> [Action] {
        let (end, overflow) = have.addingReportingOverflow(answer.contentLength ?? 0)
        guard !overflow else { return contradiction() }
        let isRest = answer.contentLength != nil && answer.requestedEnd == nil
        let total = answer.rangeTotal ?? (isRest ? end : nil)
        guard agree(on: total) else { return contradiction() }
        if let total, answer.contentLength != nil, end != total, end != answer.requestedEnd {
            return cannotResume(answer)
        }
        isPieced = true
        return reserveOrStream()
    }

    private mutating func cannotResume(_ answer: Answer) -> [Action] {
        // The request asked for bytes after the last one: the partial file is already complete.
        if answer.status == 416, have > 0, let total = answer.rangeTotal, total == have, agree(on: total) {
            state = .verifying
            return [.dropExchange] + announceOnce() + [.verify]
        }
        if upstreamCannotResume || have == 0 {
            return [.dropExchange]
                + fail(.unavailable("the upstream answers ranges that were not asked for"), keepPartial: false)
        }
        upstreamCannotResume = true
        return [.dropExchange] + request()
    }

    private mutating func reserveOrStream() -> [Action] {
        let isWhole = size.map { $0 <= have } ?? false
        let needed: Room = size == nil ? .asItGrows : .whole
        guard !isWhole, room != .whole, room != needed else {
            guard isWhole || pendingReservations == 0 else {
                state = .reserving
                return []
            }
            state = .streaming
            return announceOnce()
        }
        room = needed
        pendingReservations += 1
        state = .reserving
        return [.reserve(size)]
    }

    private mutating func announceOnce() -> [Action] {
        guard !announced else { return [] }
        announced = true
        promisedSize = size
        return [.announce(sizeBytes: size)]
    }

    /// Takes a stated size unless a different one was stated before; nil states nothing.
    private mutating func agree(on total: Int64?) -> Bool {
        guard let total else { return true }
        guard let size else {
            // Readers were not given a size yet, so every size is acceptable.
            self.size = total
            return true
        }
        return size == total
    }

    private mutating func contradiction() -> [Action] {
        [.dropExchange]
            + fail(.unavailable("the upstream changed the blob's size between two answers"), keepPartial: false)
    }

    private mutating func reachedSpan(_ position: Int64) -> [Action] {
        have = max(have, position)
        // This request brought all that it was made for.
        attempts = max(0, attempts - 1)
        attemptsWithoutProgress = 0
        state = .takingSpan
        return [.dropExchange, .takeSpan(position: position)]
    }

    private mutating func tookSpan(_ position: Int64) -> [Action] {
        have = max(have, position)
        isPieced = true
        return have == size ? ended(total: have) : request()
    }

    private mutating func ended(total: Int64) -> [Action] {
        if let size, total != size {
            return broke(.unavailable("the upstream's body is not as long as it said"), received: total)
        }
        size = total
        state = .verifying
        return [.verify]
    }

    private mutating func broke(_ error: RegistryError, received: Int64) -> [Action] {
        let progressed = received > have
        let wasAnswered = announced || state == .streaming || state == .reserving
        have = max(have, received)
        attemptsWithoutProgress = progressed ? 0 : attemptsWithoutProgress + 1
        // Before the first answer the exchange makes its own retry, so the client gets the error now.
        guard wasAnswered || attempts > 1 else { return fail(error, keepPartial: have > 0) }
        guard attemptsWithoutProgress < PullMachine.maximumAttemptsWithoutProgress,
            attempts < PullMachine.maximumAttempts
        else {
            return fail(error, keepPartial: true)
        }
        if let size, have > size { return fail(error, keepPartial: false) }
        state = .backingOff
        isPieced = isPieced || have > 0
        let factor = UInt64(1) << min(attemptsWithoutProgress, PullMachine.maximumAttemptsWithoutProgress)
        return [.backOff(milliseconds: firstBackOffMilliseconds.multipliedSaturated(by: factor))]
    }

    private mutating func rateLimited(_ error: RegistryError, _ canWait: Bool) -> [Action] {
        guard canWait else { return fail(error, keepPartial: have > 0) }
        // The rate-limited request does not count as an attempt, so the next one is treated as the first.
        attempts -= 1
        state = .backingOff
        return [.waitForPause]
    }

    private mutating func verified(_ matches: Bool) -> [Action] {
        if matches {
            state = .committing
            return [.commit]
        }
        if isPieced, !hasStartedOver { return startOver() }
        return fail(
            RegistryError(
                status: 502, code: .digestInvalid, message: "the upstream's content does not match its digest"),
            keepPartial: false)
    }

    private mutating func dropAndStartOver() -> [Action] {
        guard !hasStartedOver else { return contradiction() }
        return [.dropExchange] + startOver()
    }

    private mutating func startOver() -> [Action] {
        hasStartedOver = true
        have = 0
        isPieced = false
        room = .none
        pendingReservations = 0
        size = promisedSize
        state = .startingOver
        return [.startOver]
    }

    private mutating func fail(_ error: RegistryError, keepPartial: Bool) -> [Action] {
        state = .over
        return [.fail(error, keepPartial: keepPartial)]
    }
}

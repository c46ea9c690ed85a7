// The life of one blob pull as a pure value: events in, actions out. The runner (Pull/BlobPull) performs the actions
// after the call has returned. What must hold whatever the upstream does:
//
// - A reader never gets a complete wrong body. The file that readers follow only ever grows, its hash covers exactly
//   the bytes they were given, and its last byte is withheld until that hash is the digest.
// - A broken transfer is resumed where it stopped: by Range, or where the upstream cannot, from the start with the
//   bytes already there passed over. Either way the hash covers what readers got, so mixed content cannot pass.
// - If content pieced together from several transfers does not match, one fresh start from zero is made; the readers
//   that have been given bytes of the rejected file are ended short.

internal import OCI

/// The states and transitions of one blob pull.
package struct PullMachine {
    /// Attempts in a row that brought nothing before a pull is given up.
    package static let maximumAttemptsWithoutProgress = 5
    /// Attempts in all: an upstream that breaks every few bytes must not keep a pull alive for ever.
    package static let maximumAttempts = 64
    /// First pause before another attempt, unless set otherwise; it doubles each time nothing came.
    package static let firstBackOffMilliseconds: UInt64 = 100

    private enum Room { case none, asItGrows, whole }

    private enum State: Equatable {
        case opening
        /// Asked from `offset`; bytes before `have` are in the file.
        case requesting(offset: Int64)
        case reserving
        case streaming
        case backingOff
        case verifying
        case startingOver
        case committing
        case over
    }

    private var state: State = .opening
    /// Bytes in the file when the current request was made.
    private var have: Int64 = 0
    /// The size that the upstream stated, or that the whole body came to.
    package private(set) var size: Int64?
    private var announced = false
    /// What the readers were promised: a later body of unknown length may turn out otherwise, this may not.
    private var promisedSize: Int64?
    /// What room the file being written has, or has been asked for.
    private var room = Room.none
    /// Requests for room without an answer. A transfer can break and a new one be answered before they are.
    private var pendingReservations = 0
    /// The body's length, when it has ended before there was an answer about its room.
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

    /// Whether nothing more will come of it.
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
            // Room may have to be made, and what finds none is not kept.
            endedLength = total
            return []
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

    /// A 200: all of it, of which `have` bytes are passed over.
    private mutating func streamWhole(_ answer: Answer) -> [Action] {
        guard agree(on: answer.contentLength) else { return contradiction() }
        if let length = answer.contentLength, length < have { return dropAndStartOver() }
        isPieced = have > 0
        return (have > 0 ? [.skip(have)] : []) + reserveOrStream()
    }

    /// A 206 that begins where it was asked to.
    private mutating func streamRest(_ answer: Answer) -> [Action] {
        let (end, overflow) = have.addingReportingOverflow(answer.contentLength ?? 0)
        guard !overflow else { return contradiction() }
        let total = answer.rangeTotal ?? (answer.contentLength == nil ? nil : end)
        guard agree(on: total) else { return contradiction() }
        if let total, answer.contentLength != nil, end != total { return cannotResume(answer) }
        isPieced = true
        return reserveOrStream()
    }

    private mutating func cannotResume(_ answer: Answer) -> [Action] {
        // Asked for what lies behind the last byte: the partial file is whole already.
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

    /// Takes a stated size unless another was stated before; nil states nothing.
    private mutating func agree(on total: Int64?) -> Bool {
        guard let total else { return true }
        guard let size else {
            // Readers of unknown length were promised nothing.
            self.size = total
            return true
        }
        return size == total
    }

    private mutating func contradiction() -> [Action] {
        [.dropExchange]
            + fail(.unavailable("the upstream changed the blob's size between two answers"), keepPartial: false)
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
        // Before any answer the exchange has done its own retry, and the client is better off with the error now.
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
        // It was no attempt at the content: what follows fails and is repeated as the first attempt would be.
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

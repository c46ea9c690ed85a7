import TestSupport
import Testing

@testable import OCI
@testable import Registry

@Suite struct PullMachineTests {
    static let trouble = RegistryError.unavailable("trouble")

    static func whole(_ length: Int64?) -> PullMachine.Event { .answered(.init(status: 200, contentLength: length)) }
    static func part(_ first: Int64, _ total: Int64) -> PullMachine.Event {
        .answered(.init(status: 206, contentLength: total - first, rangeFirst: first, rangeTotal: total))
    }

    @Test("a pull requests, reserves, announces, verifies and commits") func normalPull() {
        var machine = PullMachine()
        #expect(machine.handle(.opened(offset: 0)) == [.request(offset: 0)])
        #expect(machine.handle(Self.whole(10)) == [.reserve(10)])
        #expect(machine.handle(.reserved) == [.announce(sizeBytes: 10)])
        #expect(machine.handle(.bodyEnded(total: 10)) == [.verify])
        #expect(machine.handle(.verified(true)) == [.commit])
        #expect(machine.handle(.committed) == [.finish])
        #expect(machine.isOver)
    }

    @Test("a transfer that resumes before its reservation is answered waits for that answer")
    func resumesBeforeReserved() {
        var machine = PullMachine()
        _ = machine.handle(.opened(offset: 0))
        #expect(machine.handle(Self.whole(10)) == [.reserve(10)])
        #expect(machine.handle(.broke(Self.trouble, received: 4)) == [.backOff(milliseconds: 100)])
        #expect(machine.handle(.backOffElapsed) == [.request(offset: 4)])
        #expect(machine.handle(Self.part(4, 10)) == [])
        var refused = machine
        #expect(machine.handle(.reserved) == [.announce(sizeBytes: 10)])
        #expect(machine.handle(.bodyEnded(total: 10)) == [.verify])
        #expect(refused.handle(.storeFailed(Self.trouble)).contains(.announce(sizeBytes: 10)) == false)
        #expect(refused.isOver)
    }

    @Test("a transfer that resumes after its reservation was granted streams at once")
    func reservedDuringBackOff() {
        var machine = PullMachine()
        _ = machine.handle(.opened(offset: 0))
        _ = machine.handle(Self.whole(10))
        _ = machine.handle(.broke(Self.trouble, received: 4))
        #expect(machine.handle(.reserved) == [])
        #expect(machine.handle(.backOffElapsed) == [.request(offset: 4)])
        #expect(machine.handle(Self.part(4, 10)) == [.announce(sizeBytes: 10)])
    }

    @Test("a body without a length is announced without a size") func unknownSize() {
        var machine = PullMachine()
        _ = machine.handle(.opened(offset: 0))
        #expect(machine.handle(Self.whole(nil)) == [.reserve(nil)])
        #expect(machine.handle(.reserved) == [.announce(sizeBytes: nil)])
        #expect(machine.handle(.bodyEnded(total: 7)) == [.verify])
    }

    @Test("a broken transfer resumes at its offset after a back-off") func resume() {
        var machine = PullMachine()
        _ = machine.handle(.opened(offset: 0))
        _ = machine.handle(Self.whole(10))
        _ = machine.handle(.reserved)
        #expect(machine.handle(.broke(Self.trouble, received: 6)) == [.backOff(milliseconds: 100)])
        #expect(machine.handle(.backOffElapsed) == [.request(offset: 6)])
        #expect(machine.handle(Self.part(6, 10)) == [])
        #expect(machine.handle(.bodyEnded(total: 10)) == [.verify])
        #expect(machine.handle(.verified(true)) == [.commit])
    }

    @Test("a whole response to a range request skips the bytes already received") func noRanges() {
        var machine = PullMachine()
        _ = machine.handle(.opened(offset: 4))
        #expect(machine.handle(Self.whole(10)) == [.skip(4), .reserve(10)])
    }

    @Test("a wrong range is dropped and the whole blob requested") func wrongRange() {
        var machine = PullMachine()
        #expect(machine.handle(.opened(offset: 4)) == [.request(offset: 4)])
        #expect(machine.handle(Self.part(5, 10)) == [.dropExchange, .request(offset: 0)])
        #expect(machine.handle(Self.whole(10)) == [.skip(4), .reserve(10)])
    }

    @Test("a length that overflows with its offset ends the pull") func overflowingLength() {
        for total in [nil, 11, Int64.max] {
            var machine = PullMachine()
            _ = machine.handle(.opened(offset: 4))
            let actions = machine.handle(
                .answered(.init(status: 206, contentLength: .max, rangeFirst: 4, rangeTotal: total)))
            #expect(actions.first == .dropExchange)
            #expect(machine.isOver)
        }
    }

    @Test("a partial file that is already complete is only verified") func completePartial() {
        var machine = PullMachine()
        _ = machine.handle(.opened(offset: 10))
        let answer = PullMachine.Event.answered(.init(status: 416, rangeTotal: 10))
        #expect(machine.handle(answer) == [.dropExchange, .announce(sizeBytes: 10), .verify])
    }

    @Test("a partial file that is longer than the blob starts over") func longPartial() {
        var machine = PullMachine()
        _ = machine.handle(.opened(offset: 12))
        #expect(machine.handle(.answered(.init(status: 416, rangeTotal: 10))) == [.dropExchange, .request(offset: 0)])
        #expect(machine.handle(Self.whole(10)) == [.dropExchange, .startOver])
        #expect(machine.handle(.opened(offset: 0)) == [.request(offset: 0)])
    }

    @Test("resumed content with a wrong digest starts over once, then fails") func resumedMismatch() {
        var machine = PullMachine()
        _ = machine.handle(.opened(offset: 4))
        _ = machine.handle(Self.part(4, 10))
        _ = machine.handle(.reserved)
        _ = machine.handle(.bodyEnded(total: 10))
        #expect(machine.handle(.verified(false)) == [.startOver])
        #expect(machine.handle(.opened(offset: 0)) == [.request(offset: 0)])
        // The fresh file needs its own room.
        #expect(machine.handle(Self.whole(10)) == [.reserve(10)])
        #expect(machine.handle(.reserved) == [])
        _ = machine.handle(.bodyEnded(total: 10))
        guard case .fail(let error, keepPartial: false) = machine.handle(.verified(false)).first else {
            Issue.record("a second mismatch must fail")
            return
        }
        #expect(error.status == 502)
    }

    @Test("a wrong body of unknown length does not fix the length of the next attempt") func unknownLengthMismatch() {
        var machine = PullMachine()
        _ = machine.handle(.opened(offset: 4))
        _ = machine.handle(Self.whole(nil))
        _ = machine.handle(.reserved)
        _ = machine.handle(.bodyEnded(total: 9))
        #expect(machine.handle(.verified(false)) == [.startOver])
        _ = machine.handle(.opened(offset: 0))
        #expect(machine.handle(Self.whole(10)) == [.reserve(10)])
    }

    @Test("unresumed content with a wrong digest fails at once") func wholeMismatch() {
        var machine = PullMachine()
        _ = machine.handle(.opened(offset: 0))
        _ = machine.handle(Self.whole(10))
        _ = machine.handle(.reserved)
        _ = machine.handle(.bodyEnded(total: 10))
        guard case .fail(let error, keepPartial: false) = machine.handle(.verified(false)).first else {
            Issue.record("a mismatch must fail")
            return
        }
        #expect(error.code == .digestInvalid)
    }

    @Test("a size that changes between attempts ends the pull") func changedSize() {
        var machine = PullMachine()
        _ = machine.handle(.opened(offset: 0))
        _ = machine.handle(Self.whole(10))
        _ = machine.handle(.reserved)
        _ = machine.handle(.broke(Self.trouble, received: 5))
        _ = machine.handle(.backOffElapsed)
        let actions = machine.handle(Self.part(5, 11))
        #expect(actions.first == .dropExchange)
        #expect(machine.isOver)
    }

    @Test("a refusal and a failure before the first byte fail without retry") func earlyFailures() {
        var refused = PullMachine()
        _ = refused.handle(.opened(offset: 0))
        let unknown = RegistryError.blobUnknown("x")
        #expect(refused.handle(.refused(unknown)) == [.fail(unknown, keepPartial: false)])
        var unreachable = PullMachine()
        _ = unreachable.handle(.opened(offset: 0))
        #expect(unreachable.handle(.broke(Self.trouble, received: 0)) == [.fail(Self.trouble, keepPartial: false)])
    }

    @Test("attempts without progress are bounded, with growing back-offs") func attemptLimit() {
        var machine = PullMachine()
        _ = machine.handle(.opened(offset: 0))
        _ = machine.handle(Self.whole(100))
        _ = machine.handle(.reserved)
        var pauses: [UInt64] = []
        var received: Int64 = 50
        while true {
            let actions = machine.handle(.broke(Self.trouble, received: received))
            guard case .backOff(let milliseconds) = actions.first else {
                #expect(actions == [.fail(Self.trouble, keepPartial: true)])
                break
            }
            pauses.append(milliseconds)
            received = 50
            #expect(machine.handle(.backOffElapsed) == [.request(offset: 50)])
        }
        #expect(pauses == [100, 200, 400, 800, 1600])
    }

    @Test("a failed reservation fails the pull before a size is announced") func noRoom() {
        var machine = PullMachine()
        _ = machine.handle(.opened(offset: 0))
        _ = machine.handle(Self.whole(10))
        #expect(machine.handle(.storeFailed(Self.trouble)) == [.fail(Self.trouble, keepPartial: false)])
        #expect(machine.handle(.reserved) == [])
    }

    /// Any order of events: it never acts after the end, never commits what was not verified, never promises a size
    /// twice, and ends within a bounded number of requests.
    @Test("random events never commit unverified content and end within bounded requests", arguments: 0..<400)
    func randomEvents(seed: UInt64) {
        var random = SeededRandom(seed: seed)
        var machine = PullMachine()
        var announcements = 0
        var requests = 0
        var verifiedLast = false
        for _ in 0..<400 {
            let event = Self.randomEvent(&random)
            let wasOver = machine.isOver
            let actions = machine.handle(event)
            if wasOver { #expect(actions.isEmpty, "seed \(seed)") }
            for action in actions {
                switch action {
                case .announce: announcements += 1
                case .request: requests += 1
                case .commit: #expect(verifiedLast || event == .verified(true), "seed \(seed)")
                default: break
                }
            }
            verifiedLast = event == .verified(true)
        }
        #expect(announcements <= 1, "seed \(seed)")
        #expect(requests <= PullMachine.maximumAttempts + 2, "seed \(seed)")
    }

    static func randomEvent(_ random: inout SeededRandom) -> PullMachine.Event {
        let amount = Int64(random.next() % 12)
        switch random.next() % 10 {
        case 0: return .opened(offset: amount)
        case 1: return whole(random.next() % 4 == 0 ? nil : 10)
        case 2: return part(amount, 10)
        case 3: return .reserved
        case 4: return .bodyEnded(total: amount)
        case 5: return .broke(trouble, received: amount)
        case 6: return .backOffElapsed
        case 7: return .verified(random.next() % 2 == 0)
        case 8: return .committed
        default: return .answered(.init(status: 416, rangeTotal: amount))
        }
    }

    // MARK: 429

    @Test("a pull that waits out a pause retries without counting an attempt")
    func waitsForPause() {
        let limited = RegistryError(status: 429, code: .tooManyRequests, message: "slowly")
        var machine = PullMachine()
        _ = machine.handle(.opened(offset: 4))
        for _ in 0..<100 {
            #expect(machine.handle(.rateLimited(limited, canWait: true)) == [.waitForPause])
            #expect(machine.handle(.backOffElapsed) == [.request(offset: 4)])
        }
        // What fails before any answer fails at once, as in the first attempt.
        var other = machine
        #expect(other.handle(.broke(Self.trouble, received: 4)) == [.fail(Self.trouble, keepPartial: true)])
        #expect(machine.handle(.rateLimited(limited, canWait: false)) == [.fail(limited, keepPartial: true)])
    }

    @Test("a broken transfer that meets a 429 waits and resumes at its offset")
    func waitsAmidTheBody() {
        let limited = RegistryError(status: 429, code: .tooManyRequests, message: "slowly")
        var machine = PullMachine()
        _ = machine.handle(.opened(offset: 0))
        _ = machine.handle(Self.whole(10))
        _ = machine.handle(.reserved)
        #expect(machine.handle(.broke(Self.trouble, received: 6)) == [.backOff(milliseconds: 100)])
        #expect(machine.handle(.backOffElapsed) == [.request(offset: 6)])
        #expect(machine.handle(.rateLimited(limited, canWait: true)) == [.waitForPause])
        #expect(machine.handle(.backOffElapsed) == [.request(offset: 6)])
        #expect(machine.handle(Self.part(6, 10)) == [])
        #expect(machine.handle(.bodyEnded(total: 10)) == [.verify])
        #expect(machine.handle(.verified(true)) == [.commit])
    }
}

// Which of two attempts counts, without a socket.

import TestSupport
import Testing

@testable import Registry

@Suite struct HedgeMachineTests {
    private typealias Machine = HedgeMachine

    private static func machine(isReused: Bool) -> HedgeMachine {
        var machine = HedgeMachine()
        #expect(machine.handle(.connected(.first, isReused: isReused)) == [isReused ? .watch : .stopWatching])
        return machine
    }

    private static func failure(_ kind: TransferFailure.Kind, hadAnswer: Bool = false) -> TransferFailure {
        TransferFailure(kind: kind, reason: "r", hadAnswer: hadAnswer)
    }

    @Test("an answer on the first connection counts, whether it was used before or not", arguments: [false, true])
    func theFirstAnswerCounts(isReused: Bool) {
        var machine = Self.machine(isReused: isReused)
        #expect(machine.handle(.answered(.first, status: 200)) == [.stopWatching, .deliver(.first)])
        #expect(machine.winner == .first)
        #expect(machine.handle(.silence) == [])
    }

    @Test("a silent new connection is waited for: another one would not answer sooner")
    func aNewConnectionIsWaitedFor() {
        var machine = Self.machine(isReused: false)
        #expect(machine.handle(.silence) == [])
        #expect(
            machine.handle(.failed(.first, Self.failure(.broken))) == [.stopWatching, .fail(Self.failure(.broken))])
    }

    @Test("a silent reused connection is left for a new one when that answers")
    func theSecondAnswerCounts() {
        var machine = Self.machine(isReused: true)
        #expect(machine.handle(.silence) == [.startSecond])
        #expect(machine.handle(.silence) == [])
        #expect(machine.handle(.connected(.second, isReused: false)) == [])
        #expect(
            machine.handle(.answered(.second, status: 404)) == [
                .suspectIdleConnections, .cancel(.first), .deliver(.second),
            ])
        #expect(machine.winner == .second)
        #expect(machine.handle(.failed(.first, Self.failure(.broken))) == [])
    }

    @Test("a reused connection that answers after all counts, and the new one is given up")
    func theSlowFirstAnswerCounts() {
        var machine = Self.machine(isReused: true)
        _ = machine.handle(.silence)
        #expect(machine.handle(.answered(.first, status: 200)) == [.cancel(.second), .deliver(.first)])
    }

    @Test("a failed second attempt leaves the first one waiting; the failure of both is a failure")
    func bothFail() {
        var machine = Self.machine(isReused: true)
        _ = machine.handle(.silence)
        #expect(machine.handle(.failed(.second, Self.failure(.unreachable))) == [])
        #expect(machine.handle(.silence) == [])
        let late = Self.failure(.timedOut)
        #expect(machine.handle(.failed(.first, late)) == [.stopWatching, .fail(late)])
        var other = Self.machine(isReused: true)
        _ = other.handle(.silence)
        #expect(other.handle(.failed(.first, Self.failure(.broken))) == [])
        #expect(
            other.handle(.failed(.second, Self.failure(.unreachable))) == [
                .stopWatching, .fail(Self.failure(.unreachable)),
            ])
    }

    @Test("a reused connection that ends, or stays silent to the end, before it says anything is replaced at once")
    func aDeadReusedConnectionIsReplaced() {
        for kind in [TransferFailure.Kind.broken, .timedOut] {
            var machine = Self.machine(isReused: true)
            #expect(machine.handle(.failed(.first, Self.failure(kind))) == [.stopWatching, .startSecond])
            #expect(machine.handle(.answered(.second, status: 200)) == [.stopWatching, .deliver(.second)])
        }
        for failure in [Self.failure(.broken, hadAnswer: true), Self.failure(.localAddress), Self.failure(.untrusted)] {
            var machine = Self.machine(isReused: true)
            #expect(machine.handle(.failed(.first, failure)) == [.stopWatching, .fail(failure)])
        }
    }

    @Test("a 408 on a reused connection was not for this request; on a new one it is the answer")
    func requestTimeouts() {
        var machine = Self.machine(isReused: true)
        #expect(machine.handle(.answered(.first, status: 408)) == [.stopWatching, .cancel(.first), .startSecond])
        #expect(machine.handle(.answered(.second, status: 408)) == [.stopWatching, .deliver(.second)])
        var late = Self.machine(isReused: true)
        _ = late.handle(.silence)
        #expect(late.handle(.answered(.first, status: 408)) == [.cancel(.first)])
        #expect(late.handle(.answered(.second, status: 200)) == [.stopWatching, .deliver(.second)])
        var fresh = Self.machine(isReused: false)
        #expect(fresh.handle(.answered(.first, status: 408)) == [.stopWatching, .deliver(.first)])
    }

    @Test("libcurl's own second connection counts as new")
    func libcurlMayConnectAnew() {
        var machine = Self.machine(isReused: true)
        #expect(machine.handle(.connected(.first, isReused: false)) == [.stopWatching])
        #expect(machine.handle(.silence) == [])
        #expect(machine.handle(.answered(.first, status: 408)) == [.stopWatching, .deliver(.first)])
    }
}

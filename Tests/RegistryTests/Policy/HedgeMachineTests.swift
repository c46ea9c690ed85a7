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

    @Test("a response on the first connection counts, whether it was reused or not", arguments: [false, true])
    func firstAnswer(isReused: Bool) {
        var machine = Self.machine(isReused: isReused)
        #expect(machine.handle(.answered(.first, status: 200)) == [.stopWatching, .deliver(.first)])
        #expect(machine.winner == .first)
        #expect(machine.handle(.silence) == [])
    }

    @Test("a silent new connection is not hedged")
    func silentNewConnection() {
        var machine = Self.machine(isReused: false)
        #expect(machine.handle(.silence) == [])
        #expect(
            machine.handle(.failed(.first, Self.failure(.broken))) == [.stopWatching, .fail(Self.failure(.broken))])
    }

    @Test("a silent reused connection is abandoned when a new one gets a response")
    func secondAnswer() {
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

    @Test("a late response on a reused connection counts, and the new connection is abandoned")
    func slowFirstAnswer() {
        var machine = Self.machine(isReused: true)
        _ = machine.handle(.silence)
        #expect(machine.handle(.answered(.first, status: 200)) == [.cancel(.second), .deliver(.first)])
    }

    @Test("a failed second attempt leaves the first one waiting, and two failures are a failure")
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

    @Test("a reused connection that ends without a response is replaced at once")
    func deadReusedConnection() {
        for kind in [TransferFailure.Kind.broken, .timedOut] {
            var machine = Self.machine(isReused: true)
            #expect(machine.handle(.failed(.first, Self.failure(kind))) == [.stopWatching, .startSecond])
            #expect(machine.handle(.answered(.second, status: 200)) == [.stopWatching, .deliver(.second)])
        }
        for failure in [
            Self.failure(.broken, hadAnswer: true), Self.failure(.refusedAddress), Self.failure(.untrusted),
        ] {
            var machine = Self.machine(isReused: true)
            #expect(machine.handle(.failed(.first, failure)) == [.stopWatching, .fail(failure)])
        }
    }

    @Test("a 408 is retried after a reused connection, and is the response on a new one")
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
    func libcurlReconnects() {
        var machine = Self.machine(isReused: true)
        #expect(machine.handle(.connected(.first, isReused: false)) == [.stopWatching])
        #expect(machine.handle(.silence) == [])
        #expect(machine.handle(.answered(.first, status: 408)) == [.stopWatching, .deliver(.first)])
    }
}

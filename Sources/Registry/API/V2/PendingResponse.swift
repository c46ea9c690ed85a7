// A client that waits for an upstream. It is answered once: by what it waits for, or by the clock. How long that took
// is in the request's log line.

/// One response that one connection waits for.
final class PendingResponse {
    /// Let go once answered: what is waited for may hold this much longer.
    private var connection: Connection?
    private var timer: Timer?
    private let startMilliseconds: UInt64
    private(set) var isAnswered = false

    /// - Parameter late: what to do if nothing has come by the deadline.
    init(_ connection: Connection, deadlineMilliseconds: UInt64, late: @escaping (Connection) -> Void) {
        self.connection = connection
        startMilliseconds = connection.loop.nowMilliseconds
        let timer = Timer(on: connection.loop) { [weak self] in
            self?.answer(late)
        }
        timer.start(afterMilliseconds: deadlineMilliseconds)
        timer.unreference()
        self.timer = timer
    }

    /// Answers, unless that has been done.
    func answer(_ body: (Connection) -> Void) {
        guard let connection, !isAnswered else { return }
        isAnswered = true
        self.connection = nil
        timer?.close()
        timer = nil
        connection.waitedForUpstream(milliseconds: connection.loop.nowMilliseconds &- startMilliseconds)
        body(connection)
    }
}

// A response that waits for an upstream. It is sent once, by the result or by its deadline. The request's log line
// contains the waiting time.

/// One response that one connection waits for.
final class PendingResponse {
    /// Released after the response, since the completion may hold this object much longer.
    private var connection: Connection?
    private var timer: Timer?
    private let startMilliseconds: UInt64
    private(set) var isAnswered = false

    /// - Parameter late: called when the deadline passes without a response.
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

    /// Sends the response unless one has been sent.
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

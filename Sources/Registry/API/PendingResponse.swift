// A response that is given later.

internal import OCI

/// A response that waits, usually for an upstream. It is sent once, by the result or by its deadline. The request's log
/// line contains the time of waiting for an upstream.
final class PendingResponse {
    /// Released after the response, since the completion may hold this object much longer.
    private var connection: Connection?
    private var timer: Timer?
    private let startMilliseconds: UInt64
    private let waitsForUpstream: Bool
    private(set) var isAnswered = false

    /// - Parameter late: called when the deadline passes without a response.
    init(
        _ connection: Connection, deadlineMilliseconds: UInt64, waitsForUpstream: Bool = true,
        late: @escaping (Connection) -> Void
    ) {
        self.connection = connection
        self.waitsForUpstream = waitsForUpstream
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
        if waitsForUpstream {
            connection.waitedForUpstream(milliseconds: connection.loop.nowMilliseconds &- startMilliseconds)
        }
        body(connection)
    }
}

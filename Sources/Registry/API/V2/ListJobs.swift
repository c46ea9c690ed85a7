// The jobs that make responses from cached lists. A list may have 16 MiB, and a small request for a page of it is
// parsed with the whole list, so such jobs must not fill the pool that the store's work needs as well.

internal import OCI

/// Limits the concurrent jobs of lists.
final class ListJobs {
    /// Of the pool's threads.
    static let maximumAtOnce = 2
    /// Requests that may wait for a job. A test has fewer.
    var maximumWaiting = 1024

    private let offload: Offload
    private let gate = Gate(limit: ListJobs.maximumAtOnce)
    private var waitingCount = 0

    init(_ offload: Offload) { self.offload = offload }

    /// Runs `work` off the loop, and responds with its result.
    /// - Parameters:
    ///   - deadlineMilliseconds: how long the request may wait.
    ///   - respond: called unless the client has left or has its response.
    func run<R: Sendable>(
        for connection: Connection, deadlineMilliseconds: UInt64, _ work: @escaping @Sendable () throws -> R,
        respond: @escaping (Connection, Result<R, any Error>) -> Void
    ) {
        guard waitingCount < maximumWaiting else {
            return connection.respond(.unavailable("\(waitingCount) requests for lists wait: try again"))
        }
        let pending = PendingResponse(
            connection, deadlineMilliseconds: deadlineMilliseconds, waitsForUpstream: false
        ) { $0.respond(.unavailable("the list has not been read in time")) }
        waitingCount += 1
        gate.enter { [self] in
            waitingCount -= 1
            guard !pending.isAnswered, !connection.isClosing else { return gate.leave() }
            offload.run(work) { [self] result in
                gate.leave()
                pending.answer { respond($0, result) }
            }
        }
    }
}

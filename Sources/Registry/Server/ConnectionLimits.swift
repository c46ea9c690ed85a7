// How long a connection waits for its client in each state.

internal import OCI

extension Connection {
    /// A request head must be complete within this time after its first byte (slow-loris).
    static let headTimeoutMilliseconds: UInt64 = 10_000
    /// A connection without a request is kept open this long.
    static let idleTimeoutMilliseconds: UInt64 = 60_000
    /// Replaces both limits while the server stops. Longer than a request that was sent takes to arrive.
    static let drainIdleMilliseconds: UInt64 = 500
    /// A client that reads nothing for this long is considered gone.
    static let stallTimeoutMilliseconds: UInt64 = 120_000
    /// Time and bytes of reading and discarding after our FIN, so that closing does not reset data in flight.
    static let lingerMilliseconds: UInt64 = 2_000
    static let lingerBytes = 1024 * 1024

    func checkDeadlines(now: UInt64) {
        guard let limit = currentTimeoutMilliseconds, now &- waitingSinceMilliseconds >= limit, !isClosing else {
            return
        }
        if !isLingering, !machine.isAnswering, !machine.isIdle {
            return refuse(RegistryError(status: 408, code: .unsupported, message: "the request took too long"))
        }
        if server.isDraining, !isLingering, !machine.isAnswering { return finishOutput() }
        close()
    }

    /// The timeout of the current wait; nil while the connection does not wait for its client.
    private var currentTimeoutMilliseconds: UInt64? {
        if isLingering { return isBlocked ? Connection.stallTimeoutMilliseconds : Connection.lingerMilliseconds }
        if machine.isAnswering { return isBlocked ? Connection.stallTimeoutMilliseconds : nil }
        if server.isDraining { return Connection.drainIdleMilliseconds }
        return machine.isIdle ? Connection.idleTimeoutMilliseconds : Connection.headTimeoutMilliseconds
    }
}

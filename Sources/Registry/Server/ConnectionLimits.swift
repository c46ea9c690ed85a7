// How long a connection waits for its client, and for what.

internal import OCI

extension Connection {
    /// A request head that has begun must be whole within this (slow-loris).
    static let headTimeoutMilliseconds: UInt64 = 10_000
    /// A connection without a request is kept open this long.
    static let idleTimeoutMilliseconds: UInt64 = 60_000
    /// A reader that takes nothing for this long is gone.
    static let stallTimeoutMilliseconds: UInt64 = 120_000
    /// After our FIN, how long and how much is read and thrown away, so that closing does not reset what is on its way.
    static let lingerMilliseconds: UInt64 = 2_000
    static let lingerBytes = 1024 * 1024

    func checkDeadlines(now: UInt64) {
        guard let limit = currentTimeoutMilliseconds, now &- waitingSinceMilliseconds >= limit, !isClosing else {
            return
        }
        if !isLingering, !machine.isAnswering, !machine.isIdle {
            return refuse(RegistryError(status: 408, code: .unsupported, message: "the request took too long"))
        }
        close()
    }

    /// What is being waited for decides for how long; nil while it is not the client.
    private var currentTimeoutMilliseconds: UInt64? {
        if isLingering { return isBlocked ? Connection.stallTimeoutMilliseconds : Connection.lingerMilliseconds }
        if machine.isAnswering { return isBlocked ? Connection.stallTimeoutMilliseconds : nil }
        return machine.isIdle ? Connection.idleTimeoutMilliseconds : Connection.headTimeoutMilliseconds
    }
}

// An upstream that accepts connections and never answers.

internal import Foundation

/// Listens on loopback until it is released, and never answers.
package final class SilentSite {
    package let address: String
    private let listener: Int32

    package init() throws {
        let (descriptor, port) = try PlainSocket.listen(backlog: 8)
        listener = descriptor
        address = "127.0.0.1:\(port)"
    }

    deinit { close(listener) }

    /// Returns when a client has connected, or after a time that only a hang reaches.
    package func waitForAConnection() {
        var poll = pollfd(fd: listener, events: Int16(POLLIN), revents: 0)
        _ = Foundation.poll(&poll, 1, Int32(ChildProcess.patienceSeconds * 1000))
    }
}

// An upstream that accepts connections and never answers.

internal import Foundation

/// Listens on loopback until it is released, and never answers.
package final class SilentSite {
    package let address: String
    private let listener: Int32

    package init() throws {
        listener = socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        var name = sockaddr_in()
        name.sin_family = sa_family_t(AF_INET)
        inet_pton(AF_INET, "127.0.0.1", &name.sin_addr)
        var length = socklen_t(MemoryLayout<sockaddr_in>.size)
        let (descriptor, size) = (listener, length)
        let listens = withUnsafeMutablePointer(to: &name) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                bind(descriptor, $0, size) == 0 && listen(descriptor, 8) == 0
                    && getsockname(descriptor, $0, &length) == 0
            }
        }
        guard listens else { throw POSIXError(POSIXErrorCode(rawValue: errno) ?? .EIO) }
        address = "127.0.0.1:\(UInt16(bigEndian: name.sin_port))"
    }

    deinit { close(listener) }

    /// Returns when a client has connected, or after a time that only a hang reaches.
    package func waitForAConnection() {
        var poll = pollfd(fd: listener, events: Int16(POLLIN), revents: 0)
        _ = Foundation.poll(&poll, 1, Int32(ChildProcess.patienceSeconds * 1000))
    }
}

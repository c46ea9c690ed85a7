// Loopback ports without a server.

internal import Glibc

package enum LoopbackPort {
    /// A port on which nothing listens now.
    package static func free() -> UInt16 {
        let listener = PortHolder()
        defer { listener.close() }
        return listener.port
    }
}

/// Listens on a free loopback port, and never answers.
package struct PortHolder {
    package let port: UInt16
    private let descriptor: Int32

    package init() {
        guard let site = try? PlainSocket.listen(backlog: 8) else { preconditionFailure("no free port on loopback") }
        (descriptor, port) = site
    }

    package func close() { Glibc.close(descriptor) }
}

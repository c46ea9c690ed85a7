// Blocking sockets on loopback, for tests that need no event loop on their side.

internal import Foundation
internal import Glibc

/// Sockets on 127.0.0.1.
package enum PlainSocket {
    /// A listening socket on a free port.
    package static func listen(backlog: Int32) throws -> (descriptor: Int32, port: UInt16) {
        let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        var name = address(port: 0)
        var length = socklen_t(MemoryLayout<sockaddr_in>.size)
        let size = length
        let listens = withUnsafeMutablePointer(to: &name) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                bind(descriptor, $0, size) == 0 && Glibc.listen(descriptor, backlog) == 0
                    && getsockname(descriptor, $0, &length) == 0
            }
        }
        guard listens else { throw POSIXError(POSIXErrorCode(rawValue: errno) ?? .EIO) }
        return (descriptor, UInt16(bigEndian: name.sin_port))
    }

    /// A connected socket; negative if nothing listens on the port.
    /// - Parameter waits: whether to wait for the connection; otherwise the socket may be still connecting.
    package static func connect(to port: UInt16, waits: Bool = true) -> Int32 {
        let kind = Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue)
        let descriptor = socket(AF_INET, waits ? kind : kind | Int32(SOCK_NONBLOCK.rawValue), 0)
        var name = address(port: port)
        let code = withUnsafePointer(to: &name) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                Glibc.connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
        guard code == 0 || (!waits && errno == EINPROGRESS) else {
            close(descriptor)
            return -1
        }
        return descriptor
    }

    private static func address(port: UInt16) -> sockaddr_in {
        var name = sockaddr_in()
        name.sin_family = sa_family_t(AF_INET)
        name.sin_port = port.bigEndian
        inet_pton(AF_INET, "127.0.0.1", &name.sin_addr)
        return name
    }
}

// A slow path to a server: connections are accepted at once, and relayed after a delay.

internal import Foundation
internal import Glibc

/// Relays connections to a port of this machine until the value is released.
package final class DelayedRelay {
    package let port: UInt16
    private let listener: Int32

    /// - Parameter afterMilliseconds: how long an accepted connection is left without a relay.
    package init(to target: Int, afterMilliseconds: UInt32) throws {
        (listener, port) = try PlainSocket.listen(backlog: 64)
        let listener = listener
        Thread.detachNewThread {
            while true {
                let client = accept(listener, nil, nil)
                guard client >= 0 else { break }
                Thread.detachNewThread {
                    usleep(afterMilliseconds * 1000)
                    Self.relay(client, to: UInt16(target))
                }
            }
            close(listener)
        }
    }

    /// This makes `accept` return; its thread then closes the descriptor.
    deinit { shutdown(listener, Int32(SHUT_RDWR)) }

    private static func relay(_ client: Int32, to port: UInt16) {
        let server = PlainSocket.connect(to: port)
        guard server >= 0 else {
            close(client)
            return
        }
        let done = DispatchSemaphore(value: 0)
        Thread.detachNewThread {
            copy(from: server, to: client)
            done.signal()
        }
        copy(from: client, to: server)
        done.wait()
        close(client)
        close(server)
    }

    /// Copies until either end closes; then shuts down both, so that the other direction ends too.
    private static func copy(from source: Int32, to sink: Int32) {
        var buffer = [UInt8](repeating: 0, count: 64 * 1024)
        while true {
            let count = recv(source, &buffer, buffer.count, 0)
            guard count > 0, send(sink, buffer, count, Int32(MSG_NOSIGNAL)) == count else { break }
        }
        shutdown(source, Int32(SHUT_RDWR))
        shutdown(sink, Int32(SHUT_RDWR))
    }
}

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

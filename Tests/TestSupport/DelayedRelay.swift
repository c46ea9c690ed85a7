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

    /// Connects to the port and copies in both directions until either end closes; closes `client`.
    static func relay(_ client: Int32, to port: UInt16) {
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

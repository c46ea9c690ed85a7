// A listener on this machine that stands for the registry itself. A runtime that connects to it has bypassed the
// mirror.

internal import Glibc
internal import Synchronization

/// Counts connections to a port of 127.0.0.1, and closes each at once.
final class Listener: Sendable {
    let port: UInt16
    private let descriptor: Int32
    private let count = Atomic<Int>(0)

    var connections: Int { count.load(ordering: .relaxed) }

    /// Nil when there is no port to be had.
    init?() {
        let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        guard descriptor >= 0 else { return nil }
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
        var length = socklen_t(MemoryLayout<sockaddr_in>.size)
        let isBound = withUnsafeMutablePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                bind(descriptor, $0, length) == 0 && listen(descriptor, 16) == 0
                    && getsockname(descriptor, $0, &length) == 0
            }
        }
        guard isBound else {
            close(descriptor)
            return nil
        }
        self.descriptor = descriptor
        port = UInt16(bigEndian: address.sin_port)
    }

    /// Accepts in a thread of its own until `stop`.
    func start() {
        var thread = pthread_t()
        // Released by the thread.
        let context = Unmanaged.passRetained(self).toOpaque()
        let isStarted = pthread_create(
            &thread, nil,
            { context in
                guard let context else { return nil }
                let listener = Unmanaged<Listener>.fromOpaque(context).takeRetainedValue()
                while true {
                    let connection = accept(listener.descriptor, nil, nil)
                    if connection < 0 {
                        if errno == EINTR || errno == ECONNABORTED { continue }
                        return nil
                    }
                    listener.count.add(1, ordering: .relaxed)
                    close(connection)
                }
            }, context)
        if isStarted == 0 { pthread_detach(thread) } else { Unmanaged<Listener>.fromOpaque(context).release() }
    }

    /// Ends the thread: its `accept` fails (shutdown(2) of a listening socket, Linux).
    func stop() { shutdown(descriptor, Int32(SHUT_RDWR)) }

    deinit { close(descriptor) }
}

// Listening sockets: accepting connections, for TCP addresses and for Unix sockets (UnixSocket.swift), and binding
// TCP addresses.

internal import CLibuv
internal import CLinux
internal import Glibc

/// Accepts the connections of a listening socket.
final class Acceptor {
    /// Connections accepted in one iteration: a flood of new connections must not delay the existing ones.
    static let maximumAcceptsPerTurn = 64
    /// Pause after an accept failed for lack of descriptors or memory; meanwhile connections wait in the kernel.
    static let pauseMilliseconds: UInt64 = 100

    private let descriptor: Int32
    private var poll: SocketPoll?
    private var pause: Timer?

    /// Takes over a non-blocking listening socket, and closes it even when this throws.
    /// - Parameter connected: gets each connection's descriptor, and owns it from then on.
    init(on loop: EventLoop, descriptor: Int32, connected: @escaping (Int32) -> Void) throws(LoopError) {
        self.descriptor = descriptor
        let poll = SocketPoll(on: loop, descriptor: descriptor) { [unowned self] _, _, isFailed in
            if isFailed { waitAWhile() } else { accept(connected) }
        }
        guard let poll else {
            Glibc.close(descriptor)
            throw LoopError(call: "uv_poll_init", code: UV_EINVAL.rawValue)
        }
        self.poll = poll
        pause = Timer(on: loop) { [unowned self] in self.poll?.watch(readable: true, writable: false) }
        poll.watch(readable: true, writable: false)
    }

    func close() {
        guard let poll else { return }
        poll.close()
        pause?.close()
        (self.poll, pause) = (nil, nil)
        Glibc.close(descriptor)
    }

    private func accept(_ connected: (Int32) -> Void) {
        var peer = sockaddr_storage()
        for _ in 0..<Acceptor.maximumAcceptsPerTurn {
            let taken = Acceptor.take(descriptor, &peer)
            if taken < 0 { return failed(errno) }
            if LoopbackSocket.isLocal(taken, peer: peer) { LoopbackSocket.disablePacing(taken) }
            connected(taken)
            // `connected` may have closed this listener.
            guard poll != nil else { return }
        }
    }

    /// The next connection, with the flags that `linux_accept` sets. Where a system-call filter allows accept(2) only,
    /// `fcntl` sets them.
    private static func take(_ listener: Int32, _ peer: inout sockaddr_storage) -> Int32 {
        let taken = linux_accept(listener, &peer)
        guard taken < 0, errno == ENOSYS || errno == EPERM else { return taken }
        var length = socklen_t(MemoryLayout<sockaddr_storage>.size)
        let plain = withUnsafeMutablePointer(to: &peer) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { Glibc.accept(listener, $0, &length) }
        }
        guard plain >= 0 else { return plain }
        _ = fcntl(plain, F_SETFL, O_NONBLOCK)
        _ = fcntl(plain, F_SETFD, FD_CLOEXEC)
        return plain
    }

    /// Errors that concern only the accepted connection, or mean that there is none (accept(2)). The others persist, so
    /// accepting again at once would fail again.
    private static let passing: Set<Int32> = [
        EAGAIN, EINTR, ECONNABORTED, ENETDOWN, EPROTO, ENOPROTOOPT, EHOSTDOWN, ENONET, EHOSTUNREACH, EOPNOTSUPP,
        ENETUNREACH,
    ]

    private func failed(_ code: Int32) {
        if !Acceptor.passing.contains(code) { waitAWhile() }
    }

    private func waitAWhile() {
        poll?.watch(readable: false, writable: false)
        pause?.start(afterMilliseconds: Acceptor.pauseMilliseconds)
    }
}

/// Accepts connections on one address.
package final class TCPListener {
    /// Connections that the kernel queues while an iteration is busy; it caps this at net.core.somaxconn.
    static let backlog: Int32 = 4096

    private let acceptor: Acceptor
    /// The address that the listener is bound to: numeric host (IPv6 in brackets) and port.
    package let address: (text: String, port: UInt16)

    /// Binds and listens. Port 0 takes a free port (see `address`).
    /// - Parameter connected: gets each connection's descriptor, and owns it from then on.
    package init(
        on loop: EventLoop, host: String, port: UInt16, connected: @escaping (Int32) -> Void
    ) throws(LoopError) {
        let descriptor = try TCPListener.bound(host: host, port: port)
        address = SocketName.of(descriptor) ?? ("unknown", 0)
        guard listen(descriptor, TCPListener.backlog) == 0 else {
            let failure = LoopError(call: "listen on \(host):\(port)", code: -errno)
            Glibc.close(descriptor)
            throw failure
        }
        acceptor = try Acceptor(on: loop, descriptor: descriptor, connected: connected)
    }

    /// Takes over a socket that another process has opened.
    /// - Parameter connected: gets each connection's descriptor, and owns it from then on.
    package init(
        on loop: EventLoop, taking socket: ListeningSocket, connected: @escaping (Int32) -> Void
    ) throws(LoopError) {
        address = socket.address
        acceptor = try Acceptor(on: loop, descriptor: socket.descriptor, connected: connected)
    }

    package func close() { acceptor.close() }

    /// A socket bound to a numeric address. An IPv6 address may be in brackets, and its socket accepts IPv4 too. Names
    /// are not looked up: choosing one of a name's addresses would be a guess.
    private static func bound(host: String, port: UInt16) throws(LoopError) -> Int32 {
        let call = "bind \(host):\(port)"
        let name = host.hasPrefix("[") && host.hasSuffix("]") ? String(host.dropFirst().dropLast()) : host
        var v4 = sockaddr_in()
        if uv_ip4_addr(name, Int32(clamping: port), &v4) == 0 { return try bound(AF_INET, v4, call) }
        var v6 = sockaddr_in6()
        try LoopError.check(uv_ip6_addr(name, Int32(clamping: port), &v6), call)
        return try bound(AF_INET6, v6, call)
    }

    private static func bound<Address>(
        _ family: Int32, _ address: Address, _ call: String
    ) throws(LoopError) -> Int32 {
        let kind = Int32(SOCK_STREAM.rawValue) | Int32(SOCK_NONBLOCK.rawValue) | Int32(SOCK_CLOEXEC.rawValue)
        let descriptor = socket(family, kind, 0)
        guard descriptor >= 0 else { throw LoopError(call: call, code: -errno) }
        var (yes, no): (Int32, Int32) = (1, 0)
        let size = socklen_t(MemoryLayout<Int32>.size)
        // Without it a restarted server could not bind while its port is in TIME_WAIT.
        setsockopt(descriptor, SOL_SOCKET, SO_REUSEADDR, &yes, size)
        // Accepted connections inherit it. Responses are written whole, so Nagle's algorithm would only delay the last
        // segment of a body.
        setsockopt(descriptor, Int32(IPPROTO_TCP), TCP_NODELAY, &yes, size)
        if family == AF_INET6 { setsockopt(descriptor, Int32(IPPROTO_IPV6), IPV6_V6ONLY, &no, size) }
        let code = withUnsafePointer(to: address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                Glibc.bind(descriptor, $0, socklen_t(MemoryLayout<Address>.size))
            }
        }
        guard code == 0 else {
            let failure = LoopError(call: call, code: -errno)
            Glibc.close(descriptor)
            throw failure
        }
        return descriptor
    }
}

/// A listening TCP socket that another process has opened, and that this one has inherited.
package struct ListeningSocket: Sendable, Equatable {
    /// Why a descriptor is not such a socket.
    package struct Unusable: Error, Equatable, CustomStringConvertible {
        package let description: String
    }

    package let descriptor: Int32
    /// The numeric address that it is bound to, IPv6 in brackets.
    package let host: String
    package let port: UInt16

    /// `host:port`
    package var text: String { "\(host):\(port)" }
    var address: (text: String, port: UInt16) { (text, port) }

    /// Checks the descriptor, and prepares it for a loop: it does not block, and children do not get it.
    package init(descriptor: Int32) throws(Unusable) {
        guard fcntl(descriptor, F_GETFD) >= 0 else { throw Unusable(description: "is not open") }
        guard let kind = ListeningSocket.option(descriptor, SO_TYPE) else {
            throw Unusable(description: "is not a socket")
        }
        guard kind == Int32(SOCK_STREAM.rawValue), [AF_INET, AF_INET6].contains(ListeningSocket.family(descriptor)),
            let name = SocketName.of(descriptor), let colon = name.text.utf8.lastIndex(of: 0x3A)
        else { throw Unusable(description: "is not a TCP socket") }
        guard ListeningSocket.option(descriptor, SO_ACCEPTCONN) == 1 else {
            throw Unusable(description: "is not a listening socket: it needs ListenStream= with a port, and Accept=no")
        }
        self.descriptor = descriptor
        host = String(name.text[..<colon])
        port = name.port
        _ = fcntl(descriptor, F_SETFD, FD_CLOEXEC)
        _ = fcntl(descriptor, F_SETFL, fcntl(descriptor, F_GETFL) | O_NONBLOCK)
        // As `TCPListener` sets it on its own sockets; accepted connections inherit it.
        var yes: Int32 = 1
        setsockopt(descriptor, Int32(IPPROTO_TCP), TCP_NODELAY, &yes, socklen_t(MemoryLayout<Int32>.size))
    }

    private static func option(_ descriptor: Int32, _ name: Int32) -> Int32? {
        var value: Int32 = 0
        var length = socklen_t(MemoryLayout<Int32>.size)
        return getsockopt(descriptor, SOL_SOCKET, name, &value, &length) == 0 ? value : nil
    }

    private static func family(_ descriptor: Int32) -> Int32 {
        var storage = sockaddr_storage()
        var length = socklen_t(MemoryLayout<sockaddr_storage>.size)
        let code = withUnsafeMutablePointer(to: &storage) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { getsockname(descriptor, $0, &length) }
        }
        return code == 0 ? Int32(clamping: storage.ss_family) : -1
    }
}

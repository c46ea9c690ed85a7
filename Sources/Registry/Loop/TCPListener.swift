// Listening sockets.

internal import CLibuv
internal import Glibc

/// Accepts connections on one address (docs.libuv.org, "uv_listen").
package final class TCPListener {
    /// Connections the kernel keeps for us while a turn is busy; it caps this at net.core.somaxconn.
    static let backlog: Int32 = 4096
    /// Connections taken in one turn: a flood of new ones must not hold up those already here.
    static let maximumAcceptsPerTurn = 64

    private let loop: EventLoop
    private let handle: Handle<uv_tcp_t>
    private let connected: (TCPListener) -> Void
    private var acceptsThisTurn = 0

    /// Binds and listens. Port 0 takes a free one (see `address`).
    /// - Parameter connected: called for each connection; must call `accept(into:)`.
    package init(
        on loop: EventLoop, host: String, port: UInt16, connected: @escaping (TCPListener) -> Void
    ) throws(LoopError) {
        self.loop = loop
        self.connected = connected
        handle = try Handle("uv_tcp_init") { uv_tcp_init(loop.pointer, $0) }
        handle.owner = self
        do throws(LoopError) {
            try bind(host: host, port: port)
            let code = uv_listen(stream, TCPListener.backlog) { raw, status in
                guard status == 0, let raw else { return }
                let tcp = UnsafeMutableRawPointer(raw).assumingMemoryBound(to: uv_tcp_t.self)
                Handle.owner(of: tcp, as: TCPListener.self).ready()
            }
            try LoopError.check(code, "listen on \(host):\(port)")
        } catch {
            handle.close()
            throw error
        }
    }

    /// Hands the waiting connection to `stream`; false when it has gone in the meantime.
    package func accept(into stream: TCPStream) -> Bool { stream.accept(from: self.stream) }

    /// The address it is bound to: numeric host (IPv6 in brackets) and port.
    package var address: (text: String, port: UInt16) {
        TCPListener.name { uv_tcp_getsockname(handle.pointer, $0, $1) } ?? ("unknown", 0)
    }

    package func close() { handle.close() }

    private func ready() {
        acceptsThisTurn += 1
        if acceptsThisTurn == 1 { loop.deferred.enqueue { [self] in acceptsThisTurn = 0 } }
        guard acceptsThisTurn <= TCPListener.maximumAcceptsPerTurn else {
            // Not accepting makes libuv stop watching until somebody does.
            return loop.deferred.enqueue { [self] in if !handle.isClosed { connected(self) } }
        }
        connected(self)
    }

    /// Binds to a numeric address; an IPv6 one may stand in brackets. Names are not looked up: which of a name's
    /// addresses is meant would be a guess.
    private func bind(host: String, port: UInt16) throws(LoopError) {
        let call = "bind \(host):\(port)"
        let name = host.hasPrefix("[") && host.hasSuffix("]") ? String(host.dropFirst().dropLast()) : host
        var v4 = sockaddr_in()
        if uv_ip4_addr(name, Int32(port), &v4) == 0 {
            return try LoopError.check(withUnsafePointer(to: &v4) { bind(to: $0) }, call)
        }
        var v6 = sockaddr_in6()
        try LoopError.check(uv_ip6_addr(name, Int32(port), &v6), call)
        try LoopError.check(withUnsafePointer(to: &v6) { bind(to: $0) }, call)
    }

    private func bind<Address>(to address: UnsafePointer<Address>) -> Int32 {
        uv_tcp_bind(handle.pointer, UnsafeRawPointer(address).assumingMemoryBound(to: sockaddr.self), 0)
    }

    private var stream: UnsafeMutablePointer<uv_stream_t> {
        UnsafeMutableRawPointer(handle.pointer).assumingMemoryBound(to: uv_stream_t.self)
    }

    /// Formats the socket address that `get` fills in.
    static func name(
        _ get: (UnsafeMutablePointer<sockaddr>, UnsafeMutablePointer<Int32>) -> Int32
    ) -> (text: String, port: UInt16)? {
        var storage = sockaddr_storage()
        var length = Int32(MemoryLayout<sockaddr_storage>.size)
        return withUnsafeMutablePointer(to: &storage) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { address in
                guard get(address, &length) == 0 else { return nil }
                return describe(address, length: socklen_t(length))
            }
        }
    }

    private static func describe(_ address: UnsafePointer<sockaddr>, length: socklen_t) -> (String, UInt16)? {
        var host = [CChar](repeating: 0, count: Int(NI_MAXHOST))
        var service = [CChar](repeating: 0, count: Int(NI_MAXSERV))
        // `sa_family` comes first; its name is not visible when another C module was built before this one.
        let family = UnsafeRawPointer(address).loadUnaligned(as: UInt16.self)
        if family == UInt16(AF_UNIX) { return ("unix", 0) }
        let code = getnameinfo(
            address, length, &host, socklen_t(host.count), &service, socklen_t(service.count),
            NI_NUMERICHOST | NI_NUMERICSERV)
        guard code == 0 else { return nil }
        let text = String(decoding: host.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
        let port =
            UInt16(String(decoding: service.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)) ?? 0
        return ("\(family == UInt16(AF_INET6) ? "[\(text)]" : text):\(port)", port)
    }
}

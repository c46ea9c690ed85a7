// The addresses of sockets as text, for logs and banners.

internal import Glibc
internal import OCI

extension TCPStream {
    /// The peer as `address:port`, or as `unix:uid=1000`, for logs.
    package final var peerName: String {
        guard !isClosing, let name = SocketName.of(peerOf: descriptor) else { return "unknown" }
        return name.text == "unix" ? peerUser.map { "unix:uid=\($0)" } ?? name.text : name.text
    }

    /// The peer's address; nil for a Unix socket, and when the connection has ended.
    package final var peerAddress: NetworkAddress? {
        guard !isClosing, let name = SocketName.of(peerOf: descriptor)?.text,
            let colon = name.lastIndex(of: ":")
        else { return nil }
        // A zone may follow a link-local address (RFC 4007 §11).
        let address = name[..<colon].drop { $0 == "[" }.prefix { $0 != "]" && $0 != "%" }
        return NetworkAddress(literal: String(address))
    }

    /// The user at the other end of a Unix socket, as the kernel reports it (unix(7), SO_PEERCRED: process, user,
    /// group).
    private final var peerUser: UInt32? {
        var credentials: (pid: Int32, uid: UInt32, gid: UInt32) = (0, 0, 0)
        var length = socklen_t(MemoryLayout.size(ofValue: credentials))
        guard getsockopt(descriptor, SOL_SOCKET, SO_PEERCRED, &credentials, &length) == 0 else { return nil }
        return credentials.uid
    }
}

enum SocketName {
    /// The address that a socket is bound to.
    static func of(_ descriptor: Int32) -> (text: String, port: UInt16)? { name(descriptor, getsockname) }

    /// The address of a connection's peer; `unix` for a Unix socket, whose ends have no names.
    static func of(peerOf descriptor: Int32) -> (text: String, port: UInt16)? { name(descriptor, getpeername) }

    private static func name(
        _ descriptor: Int32,
        _ get: (Int32, UnsafeMutablePointer<sockaddr>, UnsafeMutablePointer<socklen_t>) -> Int32
    ) -> (text: String, port: UInt16)? {
        var storage = sockaddr_storage()
        var length = socklen_t(MemoryLayout<sockaddr_storage>.size)
        return withUnsafeMutablePointer(to: &storage) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { address in
                guard get(descriptor, address, &length) == 0 else { return nil }
                return describe(address, length: length)
            }
        }
    }

    private static func describe(_ address: UnsafePointer<sockaddr>, length: socklen_t) -> (String, UInt16)? {
        var host = [CChar](repeating: 0, count: Int(NI_MAXHOST))
        var service = [CChar](repeating: 0, count: Int(NI_MAXSERV))
        // `sa_family` is the first field; Swift does not see its name when another C module was built before this one.
        let family = UnsafeRawPointer(address).loadUnaligned(as: UInt16.self)
        if family == UInt16(AF_UNIX) { return ("unix", 0) }
        let code = getnameinfo(
            address, length, &host, socklen_t(host.count), &service, socklen_t(service.count),
            NI_NUMERICHOST | NI_NUMERICSERV)
        guard code == 0 else { return nil }
        let text = String(decoding: host.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
        let digits = String(decoding: service.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
        let port = OutsideNumber.decimal(digits, in: 0...UInt16.max) ?? 0
        return ("\(family == UInt16(AF_INET6) ? "[\(text)]" : text):\(port)", port)
    }
}

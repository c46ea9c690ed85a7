// The address of the server under test: an `http://host[:port]` URL, resolved once.

import Glibc

struct ServerAddress {
    struct Mistake: Error, CustomStringConvertible { let description: String }

    /// `host:port`, for the Host field.
    let authority: String
    private let family: Int32
    /// A `sockaddr` of that family.
    private let bytes: [UInt8]

    init(_ url: String) throws(Mistake) {
        let scheme = "http://"
        guard url.hasPrefix(scheme) else { throw Mistake(description: "must be http://host:port, not '\(url)'") }
        let rest = url.dropFirst(scheme.count).prefix { $0 != "/" }
        var (host, port) = (String(rest), "80")
        if let colon = rest.lastIndex(of: ":"), !rest[colon...].contains("]") {
            (host, port) = (String(rest[..<colon]), String(rest[rest.index(after: colon)...]))
        }
        if host.hasPrefix("["), host.hasSuffix("]") { host = String(host.dropFirst().dropLast()) }
        authority = String(rest)
        var hints = addrinfo()
        // Swift imports SOCK_STREAM as an enumeration member; the call takes an Int32.
        hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
        var list: UnsafeMutablePointer<addrinfo>?
        let code = getaddrinfo(host, port, &hints, &list)
        defer { if code == 0 { freeaddrinfo(list) } }
        guard code == 0, let first = list?.pointee, let address = first.ai_addr else {
            throw Mistake(description: "\(rest): \(String(cString: gai_strerror(code)))")
        }
        family = first.ai_family
        bytes = Array(UnsafeRawBufferPointer(start: address, count: Int(first.ai_addrlen)))
    }

    /// Starts connecting; returns the descriptor, or −1 with `errno` set.
    func connect() -> Int32 {
        let kind = Int32(SOCK_STREAM.rawValue) | Int32(SOCK_NONBLOCK.rawValue) | Int32(SOCK_CLOEXEC.rawValue)
        let descriptor = socket(family, kind, 0)
        guard descriptor >= 0 else { return -1 }
        var isOn: Int32 = 1
        setsockopt(descriptor, Int32(IPPROTO_TCP), TCP_NODELAY, &isOn, socklen_t(MemoryLayout<Int32>.size))
        let code = bytes.withUnsafeBytes { raw in
            raw.withMemoryRebound(to: sockaddr.self) { Glibc.connect(descriptor, $0.baseAddress, socklen_t(raw.count)) }
        }
        guard code == 0 || errno == EINPROGRESS else {
            let reason = errno
            close(descriptor)
            errno = reason
            return -1
        }
        return descriptor
    }
}

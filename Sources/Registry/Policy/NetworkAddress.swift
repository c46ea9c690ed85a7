// Network addresses, and the rule for those that an upstream may lead to. A redirect, a token realm or a DNS answer
// that points at this machine or its link (where cloud metadata services are) would turn the server against its own
// host, so such addresses are used only where the configuration names them.

internal import Glibc

/// An IPv4 or IPv6 address.
package struct NetworkAddress: Hashable, Sendable {
    /// 4 or 16 bytes, network order.
    package let bytes: [UInt8]

    /// - Parameter bytes: 4 or 16 of them, network order.
    package init?(bytes: [UInt8]) {
        guard bytes.count == 4 || bytes.count == 16 else { return nil }
        self.bytes = bytes
    }

    /// Reads a numeric address: IPv6 with or without brackets, without a zone. Nil for names.
    package init?(literal: String) {
        var text = literal
        if text.hasPrefix("["), text.hasSuffix("]") { text = String(text.dropFirst().dropLast()) }
        var address = [UInt8](repeating: 0, count: 16)
        if inet_pton(AF_INET, text, &address) == 1 {
            bytes = Array(address[..<4])
        } else if inet_pton(AF_INET6, text, &address) == 1 {
            bytes = address
        } else {
            return nil
        }
    }

    /// The numeric text; IPv6 without brackets.
    package var text: String {
        // INET6_ADDRSTRLEN: the longest address with its final zero (inet_ntop(3)).
        var buffer = [CChar](repeating: 0, count: 46)
        let family = bytes.count == 4 ? AF_INET : AF_INET6
        guard inet_ntop(family, bytes, &buffer, socklen_t(buffer.count)) != nil else { return "" }
        return String(decoding: buffer.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    /// Whether it is loopback, link-local, unspecified, multicast or broadcast; IPv4 addresses embedded in IPv6
    /// included.
    package var isLocal: Bool {
        guard bytes.count == 16 else { return NetworkAddress.isLocal(four: bytes[...]) }
        if let four = embeddedFour { return NetworkAddress.isLocal(four: four) }
        // fe80::/10 link-local, ff00::/8 multicast (RFC 4291 §2.4).
        return bytes[0] == 0xFF || (bytes[0] == 0xFE && bytes[1] & 0xC0 == 0x80)
    }

    /// Whether it is this machine: 127.0.0.0/8, ::1, or ::ffff:127.0.0.0/104 as a dual-stack socket shows it.
    package var isLoopback: Bool {
        if bytes.count == 4 { return bytes[0] == 127 }
        guard bytes[..<10].allSatisfy({ $0 == 0 }) else { return false }
        if bytes[10] == 0xFF, bytes[11] == 0xFF { return bytes[12] == 127 }
        return bytes[10..<15].allSatisfy { $0 == 0 } && bytes[15] == 1
    }

    /// The IPv4 address inside ::ffff:0:0/96, ::/96 (::1 and :: count as local, since they map to 0.0.0.0/8),
    /// 64:ff9b::/96 (RFC 6052) or 2002::/16 (RFC 3056).
    private var embeddedFour: ArraySlice<UInt8>? {
        let zeros = bytes[..<10].allSatisfy { $0 == 0 }
        if zeros, bytes[10] == bytes[11], bytes[10] == 0 || bytes[10] == 0xFF { return bytes[12...] }
        if bytes[..<12].elementsEqual([0, 0x64, 0xFF, 0x9B, 0, 0, 0, 0, 0, 0, 0, 0]) { return bytes[12...] }
        if bytes[0] == 0x20, bytes[1] == 0x02 { return bytes[2..<6] }
        return nil
    }

    /// 0/8, 127/8, 169.254/16, 224/4 and broadcast (RFC 6890 §2.2.2).
    private static func isLocal(four: ArraySlice<UInt8>) -> Bool {
        let first = four[four.startIndex]
        let second = four[four.startIndex + 1]
        if first == 0 || first == 127 || (224...239).contains(first) { return true }
        return (first == 169 && second == 254) || four.allSatisfy { $0 == 255 }
    }
}

/// Decides which addresses one request may connect to.
package struct AddressGuard: Sendable {
    /// Whether the configuration names the request's host; then every address is admitted.
    package var hostIsConfigured: Bool
    /// Whether the request goes through a proxy: curl then connects to nothing else, and operators name its address.
    package var isProxied = false

    package init(hostIsConfigured: Bool) { self.hostIsConfigured = hostIsConfigured }

    package func admits(_ address: NetworkAddress) -> Bool { hostIsConfigured || isProxied || !address.isLocal }

    /// Whether a host is known to be local from its text in a URL alone.
    package static func isLocal(host: String) -> Bool {
        if let address = NetworkAddress(literal: host) { return address.isLocal }
        // RFC 6761 §6.3: these names never leave the machine.
        return host == "localhost" || host.hasSuffix(".localhost")
    }
}

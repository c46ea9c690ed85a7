// Network addresses: IPv4 and IPv6, read from text and written as text. AddressGuard.swift judges where they lead.

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

    /// Whether it is this machine: 127.0.0.0/8, ::1, or ::ffff:127.0.0.0/104 as a dual-stack socket shows it.
    package var isLoopback: Bool {
        if bytes.count == 4 { return bytes[0] == 127 }
        guard bytes[..<10].allSatisfy({ $0 == 0 }) else { return false }
        if bytes[10] == 0xFF, bytes[11] == 0xFF { return bytes[12] == 127 }
        return bytes[10..<15].allSatisfy { $0 == 0 } && bytes[15] == 1
    }
}

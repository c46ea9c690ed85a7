// Connections that do not leave this machine: those of a node's own containerd, for example. Between
// the two ends there is no path that could be congested, and nothing to probe.

internal import CLinux
internal import Glibc

/// Whether both ends of a TCP connection are on this machine, and what is set on such connections.
enum LoopbackSocket {
    /// Every Linux has it and lets every process choose it; it neither paces nor probes (tcp(7), TCP_CONGESTION).
    private static var algorithm: StaticString { "reno" }

    /// Takes congestion control that spreads a body over time (bbr, where the administrator has made it the default)
    /// off a connection. Through the loopback device it only delays the body and has the kernel send it in smaller
    /// pieces: measured, 1 GiB took 0.33 s and as much CPU time with bbr, 0.15 s and 0.06 s without.
    static func disablePacing(_ descriptor: Int32) {
        // Where reno cannot be had the connection stays as it is.
        _ = linux_set_congestion_control(descriptor, algorithm.utf8Start, algorithm.utf8CodeUnitCount)
    }

    /// Whether the peer of a connection has a loopback address, or the very address that the connection has here.
    static func isLocal(_ descriptor: Int32, peer: sockaddr_storage) -> Bool {
        guard let there = Address(peer) else { return false }
        if there.isLoopback { return true }
        var own = sockaddr_storage()
        var length = socklen_t(MemoryLayout<sockaddr_storage>.size)
        let code = withUnsafeMutablePointer(to: &own) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { getsockname(descriptor, $0, &length) }
        }
        return code == 0 && Address(own) == there
    }

    /// An IPv6 address, or an IPv4 one as IPv6 writes it (RFC 4291 §2.5.5.2), in network order.
    struct Address: Equatable {
        let high: UInt64
        let low: UInt64

        /// Nil for addresses of other families.
        init?(_ storage: sockaddr_storage) {
            // The port stands before the address of IPv4 (ip(7)); port and flow before that of IPv6 (ipv6(7)).
            let (v4, v6) = (4, 8)
            let (family, words) = withUnsafeBytes(of: storage) { bytes in
                (
                    Int32(clamping: bytes.loadUnaligned(as: UInt16.self)),
                    (
                        bytes.loadUnaligned(fromByteOffset: v4, as: UInt32.self),
                        bytes.loadUnaligned(fromByteOffset: v6, as: UInt64.self),
                        bytes.loadUnaligned(fromByteOffset: v6 + 8, as: UInt64.self)
                    )
                )
            }
            switch family {
            case AF_INET: (high, low) = (0, 0xFFFF << 32 | UInt64(clamping: UInt32(bigEndian: words.0)))
            case AF_INET6: (high, low) = (UInt64(bigEndian: words.1), UInt64(bigEndian: words.2))
            default: return nil
            }
        }

        /// `::1`, or 127.0.0.0/8.
        var isLoopback: Bool { high == 0 && (low == 1 || low >> 24 == 0xFFFF << 8 | 127) }
    }
}

// TCP connections that do not leave this machine, for example those of the node's own containerd. Their path cannot be
// congested, so congestion control only delays them.

internal import CLinux
internal import Glibc

/// Whether both ends of a TCP connection are on this machine, and what is set on such connections.
enum LoopbackSocket {
    /// Every Linux kernel has it and lets every process choose it; it neither paces nor probes (tcp(7),
    /// TCP_CONGESTION).
    private static var algorithm: StaticString { "reno" }

    /// Replaces a congestion control that paces (bbr, where the administrator has made it the default). On loopback,
    /// pacing only delays a body and makes the kernel send smaller pieces: measured, 1 GiB took 0.33 s and as much CPU
    /// time with bbr, 0.15 s and 0.06 s without.
    static func disablePacing(_ descriptor: Int32) {
        // Without reno in the kernel, the connection stays as it is.
        _ = linux_set_congestion_control(descriptor, algorithm.utf8Start, algorithm.utf8CodeUnitCount)
    }

    /// Whether a connection's peer has a loopback address, or the same address as this end.
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

    /// An IPv6 address, or an IPv4 address mapped into IPv6 (RFC 4291 §2.5.5.2), as two numbers.
    struct Address: Equatable {
        let high: UInt64
        let low: UInt64

        /// Nil for addresses of other families.
        init?(_ storage: sockaddr_storage) {
            // The port precedes an IPv4 address (ip(7)); port and flow precede an IPv6 address (ipv6(7)).
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

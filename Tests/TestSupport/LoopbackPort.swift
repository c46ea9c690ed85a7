// Loopback ports without a server.

internal import Foundation
internal import Glibc

package enum LoopbackPort {
    /// A port on which nothing listens now.
    package static func free() -> UInt16 {
        let listener = PortHolder()
        defer { listener.close() }
        return listener.port
    }
}

/// Listens on a free loopback port, and never answers.
package struct PortHolder {
    package let port: UInt16
    private let descriptor: Int32

    package init() {
        // SOCK_STREAM is 1. struct sockaddr_in: family, port and address, the last two in network order.
        descriptor = socket(AF_INET, 1, 0)
        var name = [UInt8](repeating: 0, count: 16)
        name[0] = UInt8(AF_INET)
        name[4] = 127
        name[7] = 1
        var length = socklen_t(name.count)
        let isListening = name.withUnsafeMutableBytes { [descriptor] bytes in
            guard let pointer = bytes.baseAddress?.assumingMemoryBound(to: sockaddr.self) else { return false }
            return bind(descriptor, pointer, length) == 0 && listen(descriptor, 8) == 0
                && getsockname(descriptor, pointer, &length) == 0
        }
        precondition(isListening, "no free port on loopback")
        port = UInt16(name[2]) << 8 | UInt16(name[3])
    }

    package func close() { Glibc.close(descriptor) }
}

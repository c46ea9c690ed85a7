// Which connections stay on this machine.

import Glibc
import TestSupport
import Testing

@testable import Registry

@Suite struct LoopbackSocketTests {
    /// A name as the kernel gives it; of a family that has no addresses, all zeros.
    static func name(_ text: String) -> sockaddr_storage {
        var (storage, v4, v6) = (sockaddr_storage(), sockaddr_in(), sockaddr_in6())
        v4.sin_family = sa_family_t(AF_INET)
        v4.sin_port = 5000
        v6.sin6_family = sa_family_t(AF_INET6)
        v6.sin6_port = 5000
        v6.sin6_flowinfo = 7
        if inet_pton(AF_INET, text, &v4.sin_addr) == 1 {
            withUnsafeMutableBytes(of: &storage) { to in withUnsafeBytes(of: v4) { to.copyBytes(from: $0) } }
        } else if inet_pton(AF_INET6, text, &v6.sin6_addr) == 1 {
            withUnsafeMutableBytes(of: &storage) { to in withUnsafeBytes(of: v6) { to.copyBytes(from: $0) } }
        }
        return storage
    }

    @Test(
        "a loopback address is local in IPv4, IPv6 and mapped form",
        arguments: ["127.0.0.1", "127.255.0.9", "::1", "::ffff:127.0.0.1", "::ffff:127.9.9.9"])
    func loopback(_ text: String) throws {
        #expect(try #require(LoopbackSocket.Address(Self.name(text))).isLoopback)
        #expect(LoopbackSocket.isLocal(-1, peer: Self.name(text)))
    }

    @Test(
        "other addresses are not local",
        arguments: [
            "126.255.255.255", "128.0.0.1", "10.0.0.127", "0.0.0.1", "::", "::2", "::127.0.0.1", "1::1",
            "::fffe:127.0.0.1", "fe80::1", "::ffff:10.127.0.1",
        ])
    func elsewhere(_ text: String) throws {
        #expect(try !#require(LoopbackSocket.Address(Self.name(text))).isLoopback)
        #expect(!LoopbackSocket.isLocal(-1, peer: Self.name(text)))
    }

    @Test("an IPv4 address equals its IPv4-mapped IPv6 form") func mappedAddresses() throws {
        let plain = try #require(LoopbackSocket.Address(Self.name("192.0.2.7")))
        #expect(plain == LoopbackSocket.Address(Self.name("::ffff:192.0.2.7")))
        #expect(plain != LoopbackSocket.Address(Self.name("::192.0.2.7")))
        #expect(plain != LoopbackSocket.Address(Self.name("192.0.2.8")))
        #expect(LoopbackSocket.Address(Self.name("")) == nil)
    }
}

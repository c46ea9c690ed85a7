// Which connections stay on this machine, and that those are not paced.

import Glibc
import Testing

@testable import Registry

@Suite struct LocalPathTests {
    /// A name as the kernel gives it; of a family that has no addresses, all zeros.
    private static func name(_ text: String) -> sockaddr_storage {
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

    @Test(arguments: ["127.0.0.1", "127.255.0.9", "::1", "::ffff:127.0.0.1", "::ffff:127.9.9.9"])
    func loopback(_ text: String) throws {
        #expect(try #require(LocalPath.Address(Self.name(text))).isLoopback)
        #expect(LocalPath.leads(to: Self.name(text), from: -1))
    }

    @Test(arguments: [
        "126.255.255.255", "128.0.0.1", "10.0.0.127", "0.0.0.1", "::", "::2", "::127.0.0.1", "1::1",
        "::fffe:127.0.0.1", "fe80::1", "::ffff:10.127.0.1",
    ])
    func elsewhere(_ text: String) throws {
        #expect(try !#require(LocalPath.Address(Self.name(text))).isLoopback)
        #expect(!LocalPath.leads(to: Self.name(text), from: -1))
    }

    @Test func oneAddressInTwoFamiliesIsTheSame() throws {
        let plain = try #require(LocalPath.Address(Self.name("192.0.2.7")))
        #expect(plain == LocalPath.Address(Self.name("::ffff:192.0.2.7")))
        #expect(plain != LocalPath.Address(Self.name("::192.0.2.7")))
        #expect(plain != LocalPath.Address(Self.name("192.0.2.8")))
        #expect(LocalPath.Address(Self.name("")) == nil)
    }

    private static func algorithm(_ descriptor: Int32) -> String {
        var name = [UInt8](repeating: 0, count: 16)
        var length = socklen_t(name.count)
        #expect(getsockopt(descriptor, Int32(IPPROTO_TCP), TCP_CONGESTION, &name, &length) == 0)
        return String(decoding: name.prefix { $0 != 0 }, as: UTF8.self)
    }

    /// Whatever the listening socket would have its connections inherit; and only those from here.
    @Test func connectionsFromHereAreNotPaced() throws {
        let run = try LoopRun()
        let listener = socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_NONBLOCK.rawValue), 0)
        var name = Self.name("127.0.0.1")
        withUnsafeMutableBytes(of: &name) { $0.storeBytes(of: 0, toByteOffset: 2, as: UInt16.self) }
        var length = socklen_t(MemoryLayout<sockaddr_in>.size)
        try withUnsafeMutablePointer(to: &name) { pointer in
            try pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { address in
                try #require(bind(listener, address, length) == 0 && listen(listener, 1) == 0)
                try #require(getsockname(listener, address, &length) == 0)
            }
        }
        let others = try String(contentsOfFile: "/proc/sys/net/ipv4/tcp_allowed_congestion_control")
        if let other = others.split(whereSeparator: \.isWhitespace).first(where: { $0 != "reno" }) {
            let text = String(other)
            let size = socklen_t(text.utf8.count)
            try #require(setsockopt(listener, Int32(IPPROTO_TCP), TCP_CONGESTION, text, size) == 0)
            #expect(Self.algorithm(listener) == text)
        }
        var algorithms: [String] = []
        let acceptor = try Acceptor(on: run.loop, descriptor: listener) { descriptor in
            algorithms.append(Self.algorithm(descriptor))
            #expect(!LocalPath.leads(to: Self.name("192.0.2.7"), from: descriptor))
            close(descriptor)
            run.finish()
        }
        let client = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        try withUnsafeMutablePointer(to: &name) { pointer in
            try pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                try #require(connect(client, $0, length) == 0)
            }
        }
        run.run()
        #expect(algorithms == ["reno"])
        acceptor.close()
        close(client)
        run.close()
    }
}

extension String {
    fileprivate init(contentsOfFile path: String) throws {
        self = String(decoding: try Disk.readFile(path, maximumBytes: 4096), as: UTF8.self)
    }
}

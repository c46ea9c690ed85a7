// Taking connections: what is set on them, and what is done about those that fail.

import Glibc
import TestSupport
import Testing

@testable import Registry

@Suite struct AcceptorTests {
    /// A socket bound to a free port of 127.0.0.1, and what connects to it.
    private struct Site {
        let run: LoopRun
        let listener: Int32
        private let port: UInt16

        init() throws {
            run = try LoopRun()
            listener = socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_NONBLOCK.rawValue), 0)
            var name = sockaddr_in()
            name.sin_family = sa_family_t(AF_INET)
            inet_pton(AF_INET, "127.0.0.1", &name.sin_addr)
            var length = socklen_t(MemoryLayout<sockaddr_in>.size)
            let descriptor = listener
            try withUnsafeMutablePointer(to: &name) { pointer in
                try pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { address in
                    try #require(bind(descriptor, address, length) == 0)
                    // Only now is the port known.
                    try #require(getsockname(descriptor, address, &length) == 0)
                }
            }
            port = UInt16(bigEndian: name.sin_port)
        }

        func listen() { #expect(Glibc.listen(listener, 16) == 0) }

        func connect() throws -> Int32 {
            let client = PlainSocket.connect(to: port)
            try #require(client >= 0)
            return client
        }

        /// Ends a connection by RST.
        func reset(_ client: Int32) {
            var now = linger(l_onoff: 1, l_linger: 0)
            setsockopt(client, SOL_SOCKET, SO_LINGER, &now, socklen_t(MemoryLayout<linger>.size))
            close(client)
        }
    }

    private static func algorithm(_ descriptor: Int32) -> String {
        var name = [UInt8](repeating: 0, count: 16)
        var length = socklen_t(name.count)
        #expect(getsockopt(descriptor, Int32(IPPROTO_TCP), TCP_CONGESTION, &name, &length) == 0)
        return String(decoding: name.prefix { $0 != 0 }, as: UTF8.self)
    }

    /// Whatever the listening socket would have its connections inherit; and only those from here.
    @Test("accepted loopback connections are not paced, whatever the listener's algorithm") func pacing() throws {
        let site = try Site()
        site.listen()
        let allowed = try Disk.readFile("/proc/sys/net/ipv4/tcp_allowed_congestion_control", maximumBytes: 4096)
        let names = String(decoding: allowed, as: UTF8.self).split(whereSeparator: \.isWhitespace)
        if let other = names.first(where: { $0 != "reno" }).map({ String($0) }) {
            let size = socklen_t(other.utf8.count)
            try #require(setsockopt(site.listener, Int32(IPPROTO_TCP), TCP_CONGESTION, other, size) == 0)
            #expect(Self.algorithm(site.listener) == other)
        }
        var algorithms: [String] = []
        let acceptor = try Acceptor(on: site.run.loop, descriptor: site.listener) { descriptor in
            algorithms.append(Self.algorithm(descriptor))
            #expect(!LoopbackSocket.isLocal(descriptor, peer: LoopbackSocketTests.name("192.0.2.7")))
            close(descriptor)
            site.run.finish()
        }
        let client = try site.connect()
        site.run.run()
        #expect(algorithms == ["reno"])
        acceptor.close()
        close(client)
        site.run.close()
    }

    /// Connections that were reset while they waited do not hold up the one behind them for so much as a turn. (Linux
    /// hands them out like any other.)
    @Test("connections reset before accept do not delay the next one") func resetConnections() throws {
        let site = try Site()
        site.listen()
        for _ in 0..<8 { site.reset(try site.connect()) }
        let client = try site.connect()
        try #require(write(client, "x", 1) == 1)
        let before = site.run.loop.iterations.count()
        let acceptor = try Acceptor(on: site.run.loop, descriptor: site.listener) { descriptor in
            var byte: UInt8 = 0
            if read(descriptor, &byte, 1) == 1 { site.run.finish() }
            close(descriptor)
        }
        site.run.run()
        let turns = site.run.loop.iterations.count() - before
        #expect(turns <= 2, "\(turns) turns")
        acceptor.close()
        close(client)
        site.run.close()
    }

    /// A socket that nothing can be taken from, as when descriptors have run out: it is left alone for a while rather
    /// than asked over and over, and then asked again.
    @Test("a failing accept is retried later without keeping the loop busy") func failingAccept() throws {
        let site = try Site()
        var taken = 0
        // Nobody listens yet, which accept(2) answers with EINVAL, and epoll with an event each time it is asked.
        let acceptor = try Acceptor(on: site.run.loop, descriptor: site.listener) { descriptor in
            taken += 1
            close(descriptor)
            site.run.finish()
        }
        var client: Int32 = -1
        let later = Registry.Timer(on: site.run.loop) {
            site.listen()
            client = (try? site.connect()) ?? -1
        }
        later.start(afterMilliseconds: 20)
        site.run.run()
        #expect(taken == 1 && client >= 0)
        #expect(site.run.loop.iterations.count() < 50, "\(site.run.loop.iterations.count()) turns")
        later.close()
        acceptor.close()
        close(client)
        site.run.close()
    }
}

// Reaching an upstream: addresses that do not answer, lookups that have no place, and sockets whose numbers come back.

import Glibc
import TestSupport
import Testing

@testable import Registry

@Suite struct ConnectTests {
    /// A port at which connections are neither taken nor refused: the queue of its listening socket is full.
    private final class FullPort {
        let port: UInt16
        private let listener: Int32
        private var clients: [Int32] = []

        init() throws {
            (listener, port) = try PlainSocket.listen(backlog: 0)
            // One is taken into the queue (listen(2): its length is the backlog and one more); the kernel drops the
            // SYNs of all that follow.
            while true {
                let client = PlainSocket.connect(to: port, waits: false)
                try #require(client >= 0)
                clients.append(client)
                var poll = pollfd(fd: client, events: Int16(POLLOUT), revents: 0)
                if Glibc.poll(&poll, 1, 200) == 0 { break }
            }
        }

        deinit { for descriptor in clients + [listener] { close(descriptor) } }
    }

    private static func fail(
        _ url: String, _ limits: ConnectLimits, lookups: LookupShares<ObjectIdentifier>.Limits = .init(),
        _ change: (inout TransferRequest) -> Void = { _ in }
    ) throws -> TransferFailure? {
        let run = try LoopRun()
        let multi = try #require(CurlMulti(on: run.loop, limits: limits, lookups: lookups))
        run.atClose { multi.close() }
        let record = TransferRecord()
        record.onEnd = { run.finish() }
        var request = TransferRequest(
            url: try #require(UpstreamURL(url)), addresses: AddressGuard(hostIsConfigured: true),
            noProgressMilliseconds: 10_000)
        change(&request)
        let transfer = Transfer(request, on: multi, loop: run.loop, handler: record)
        run.run()
        withExtendedLifetime(transfer) {}
        #expect(multi.reading.lookupsRunning == 0 && multi.reading.lookupsWaiting == 0)
        run.close()
        return record.failure
    }

    @Test("a connection to a silent address fails at its limit, which the error names")
    func silentAddress() throws {
        let full = try FullPort()
        var limits = ConnectLimits()
        limits.addressMilliseconds = 100
        let failure = try Self.fail("http://127.0.0.1:\(full.port)/", limits)
        #expect(failure?.kind == .unreachable)
        #expect(failure?.reason == "connecting to 127.0.0.1 port \(full.port) took longer than 100 ms")
    }

    @Test("all addresses of a name together have a limit as well")
    func allAddresses() throws {
        let full = try FullPort()
        var limits = ConnectLimits()
        limits.connectMilliseconds = 100
        let failure = try Self.fail("http://127.0.0.1:\(full.port)/", limits)
        #expect(failure?.kind == .connectLimit)
        #expect(failure?.reason == "connecting to 127.0.0.1 took longer than 100 ms")
    }

    @Test("a lookup waits for a free place within the limit for lookups")
    func lookupWaits() throws {
        var limits = ConnectLimits()
        limits.lookupMilliseconds = 100
        var lookups = LookupShares<ObjectIdentifier>.Limits()
        lookups.unknown = 0
        let failure = try Self.fail("http://registry.invalid/", limits, lookups: lookups)
        #expect(failure?.kind == .connectLimit)
        #expect(failure?.reason == "name lookup of registry.invalid took longer than 100 ms")
    }

    @Test("a lookup is refused at once when too many are waiting")
    func tooManyLookups() throws {
        var lookups = LookupShares<ObjectIdentifier>.Limits()
        lookups.unknown = 0
        lookups.waitingUnknown = 0
        let failure = try Self.fail("http://registry.invalid/", ConnectLimits(), lookups: lookups)
        #expect(failure?.kind == .connectLimit)
        #expect(failure?.reason == "too many name lookups are under way")
        #expect(failure?.isRetryable == false)
    }

    @Test("numeric and local addresses need no place for a lookup", arguments: ["127.0.0.1", "localhost", "[::1]"])
    func noLookup(host: String) throws {
        var lookups = LookupShares<ObjectIdentifier>.Limits()
        lookups.all = 0
        lookups.waiting = 0
        // Nobody listens there; that is found out, rather than that there is no place.
        let failure = try Self.fail("http://\(host):9/", ConnectLimits(), lookups: lookups)
        #expect(failure?.kind == .unreachable)
    }

    @Test("an attempt that is cancelled while it waits for a lookup leaves the queue")
    func cancelledLookup() throws {
        let run = try LoopRun()
        var lookups = LookupShares<ObjectIdentifier>.Limits()
        lookups.unknown = 0
        let multi = try #require(CurlMulti(on: run.loop, lookups: lookups))
        run.atClose { multi.close() }
        let record = TransferRecord()
        let request = TransferRequest(
            url: try #require(UpstreamURL("http://registry.invalid/")), addresses: AddressGuard(hostIsConfigured: true),
            noProgressMilliseconds: 10_000)
        let transfers = (0..<3).map { _ in Transfer(request, on: multi, loop: run.loop, handler: record) }
        run.run(milliseconds: 100)
        #expect(multi.reading.lookupsWaiting == 3 && multi.transferCount == 0)
        for transfer in transfers.dropLast() { transfer.cancel() }
        run.run(milliseconds: 20)
        #expect(multi.reading.lookupsWaiting == 1)
        // The last one is there when everything is closed.
        run.close()
        #expect(record.failure == nil)
    }

    // MARK: Descriptors that come back

    private static let pollIn: Int32 = 1
    private static let pollRemove: Int32 = 4
    private static let selectError: Int32 = 4

    /// A regular file, which epoll does not watch (epoll_ctl(2), EPERM).
    private static func unwatchable() throws -> Int32 {
        let descriptor = open("/proc/self/status", O_RDONLY | O_CLOEXEC)
        try #require(descriptor >= 0)
        return descriptor
    }

    @Test("a socket that cannot be polled fails, unless curl has closed it by then")
    func unwatchableSocket() throws {
        let run = try LoopRun()
        var ready: [(Int32, Int32)] = []
        let sockets = CurlSockets(on: run.loop) { ready.append(($0, $1)) }
        let first = try Self.unwatchable()
        sockets.watch(first, Self.pollIn)
        run.run(milliseconds: 10)
        #expect(ready.map(\.0) == [first] && ready.map(\.1) == [Self.selectError])
        // Let go before the report is made, and its number given to a socket that can be watched.
        sockets.watch(first, Self.pollIn)
        sockets.watch(first, Self.pollRemove)
        var ends: [Int32] = [-1, -1]
        let kind = Int32(SOCK_STREAM.rawValue) | Int32(SOCK_NONBLOCK.rawValue) | Int32(SOCK_CLOEXEC.rawValue)
        try #require(socketpair(AF_UNIX, kind, 0, &ends) == 0)
        try #require(dup2(ends[0], first) == first)
        sockets.watch(first, Self.pollIn)
        run.run(milliseconds: 10)
        #expect(ready.count == 1)
        sockets.close()
        run.run(milliseconds: 5)
        for descriptor in ends + [first] { close(descriptor) }
        run.close()
    }

    @Test("a socket that reuses the descriptor of one that curl closed silently is polled anew")
    func reusedDescriptor() throws {
        let run = try LoopRun()
        var ready: [Int32] = []
        let sockets = CurlSockets(on: run.loop) { socket, _ in
            ready.append(socket)
            run.finish()
        }
        var (old, new): ([Int32], [Int32]) = ([-1, -1], [-1, -1])
        let kind = Int32(SOCK_STREAM.rawValue) | Int32(SOCK_NONBLOCK.rawValue) | Int32(SOCK_CLOEXEC.rawValue)
        try #require(socketpair(AF_UNIX, kind, 0, &old) == 0 && socketpair(AF_UNIX, kind, 0, &new) == 0)
        sockets.watch(old[0], Self.pollIn)
        // dup2 closes the old one first, and with it the kernel's watch.
        try #require(dup2(new[0], old[0]) == old[0])
        sockets.opened(old[0])
        try #require(write(new[1], "x", 1) == 1)
        run.run()
        #expect(ready == [old[0]])
        sockets.close()
        run.run(milliseconds: 5)
        for descriptor in old + new { close(descriptor) }
        run.close()
    }
}

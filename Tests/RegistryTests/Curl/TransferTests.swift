// What a transfer does that no exchange lets through: addresses refused below the names.

import Glibc
import TestSupport
import Testing

@testable import Registry

/// Keeps what a transfer says.
final class TransferRecord: TransferHandler {
    var head: UpstreamHead?
    var body: [UInt8] = []
    var failure: TransferFailure?
    var isEnded = false
    /// Called with each piece of a body.
    var onBytes: (Transfer) -> Void = { _ in }
    var onEnd: () -> Void = {}

    func transfer(_ transfer: Transfer, received head: UpstreamHead) { self.head = head }
    func transfer(_ transfer: Transfer, received bytes: UnsafeRawBufferPointer) -> Bool {
        body.append(contentsOf: bytes)
        onBytes(transfer)
        return true
    }
    func transfer(_ transfer: Transfer, ended failure: TransferFailure?) {
        self.failure = failure
        isEnded = true
        onEnd()
    }
}

@Suite struct TransferTests {
    private static func client() throws -> (LoopRun, CurlMulti, FakeUpstream) {
        let run = try LoopRun()
        let multi = try #require(CurlMulti(on: run.loop))
        let fake = FakeUpstream(on: run.loop)
        run.atClose { multi.close() }
        run.atClose { fake.close() }
        return (run, multi, fake)
    }

    private static func get(
        _ url: String, isConfigured: Bool, run: LoopRun, multi: CurlMulti
    ) throws -> TransferRecord {
        let record = TransferRecord()
        record.onEnd = { run.finish() }
        let request = TransferRequest(
            url: try #require(UpstreamURL(url)), addresses: AddressGuard(hostIsConfigured: isConfigured),
            noProgressMilliseconds: 10_000)
        let transfer = Transfer(request, on: multi, loop: run.loop, handler: record)
        run.run()
        withExtendedLifetime(transfer) {}
        return record
    }

    @Test("a POST sends its body, and a PUT an empty one") func requestBodies() throws {
        let (run, multi, fake) = try Self.client()
        fake.answer = { _ in .ok([1]) }
        for (method, body) in [
            (TransferRequest.Method.post, [UInt8](repeating: 0, count: 100_000)), (.post, []), (.put, []),
        ] {
            let record = TransferRecord()
            record.onEnd = { run.finish() }
            var request = TransferRequest(
                url: try #require(UpstreamURL("\(fake.url)/x")), addresses: AddressGuard(hostIsConfigured: true),
                noProgressMilliseconds: 10_000)
            request.method = method
            request.body = body
            request.headers = ["Content-Type: a/b"]
            let transfer = Transfer(request, on: multi, loop: run.loop, handler: record)
            run.run()
            withExtendedLifetime(transfer) {}
            #expect(record.body == [1])
            let received = try #require(fake.requests.last)
            #expect(received.method == (method == .post ? "POST" : "PUT"))
            #expect(received.body == body)
            #expect(received.header("content-length") == "\(body.count)")
            #expect(received.headers("content-type") == ["a/b"])
        }
        run.close()
    }

    /// A name that resolves to loopback is caught when its address is known.
    @Test("a name that resolves to loopback is refused before a connection is made") func localName() throws {
        let (run, multi, fake) = try Self.client()
        fake.answer = { _ in .ok([1]) }
        let refused = try Self.get("http://localhost:\(fake.port)/", isConfigured: false, run: run, multi: multi)
        #expect(refused.failure?.kind == .refusedAddress)
        #expect(fake.connectionCount == 0)
        let allowed = try Self.get("http://localhost:\(fake.port)/", isConfigured: true, run: run, multi: multi)
        #expect(allowed.body == [1])
        run.close()
    }

    /// The connection is there already, opened by somebody who may.
    @Test("a reused connection to loopback is refused before a request is sent") func reusedConnection() throws {
        let (run, multi, fake) = try Self.client()
        fake.answer = { _ in .ok([1]) }
        let url = "http://127.0.0.1:\(fake.port)/"
        #expect(try Self.get(url, isConfigured: true, run: run, multi: multi).body == [1])
        #expect(try Self.get(url, isConfigured: false, run: run, multi: multi).failure?.kind == .refusedAddress)
        #expect(fake.requests.count == 1)
        #expect(try Self.get(url, isConfigured: true, run: run, multi: multi).body == [1])
        run.close()
    }

    /// libcurl gives a new easy handle the address of one that was just freed. The end of the transfer that was
    /// cancelled is on its way then, and must not be taken for that of the new one.
    @Test("a transfer started while another is cancelled is not ended with it")
    func reusedHandle() throws {
        let (run, multi, fake) = try Self.client()
        fake.answer = { _ in .ok([1, 2, 3]) }
        let request = TransferRequest(
            url: try #require(UpstreamURL("http://127.0.0.1:\(fake.port)/")),
            addresses: AddressGuard(hostIsConfigured: true), noProgressMilliseconds: 10_000)
        for _ in 0..<20 {
            let (first, second) = (TransferRecord(), TransferRecord())
            var next: Transfer?
            first.onBytes = { transfer in
                transfer.cancel()
                next = Transfer(request, on: multi, loop: run.loop, handler: second)
            }
            second.onEnd = { run.finish() }
            let transfer = Transfer(request, on: multi, loop: run.loop, handler: first)
            run.run()
            #expect(!first.isEnded)
            #expect(second.failure == nil && second.body == [1, 2, 3])
            withExtendedLifetime((transfer, next)) {}
        }
        #expect(multi.transferCount == 0)
        run.close()
    }

    /// The whole answer and the reset behind it are there before curl looks: it is told of both at once.
    @Test("a response that arrived before a reset is read in full") func bytesBeforeReset() throws {
        let run = try LoopRun()
        let multi = try #require(CurlMulti(on: run.loop))
        let (listener, port) = try PlainSocket.listen(backlog: 1)
        run.atClose { multi.close() }
        run.atClose { close(listener) }
        var taken: SocketPoll?
        let poll = try #require(
            SocketPoll(on: run.loop, descriptor: listener) { _, _, _ in
                let descriptor = accept(listener, nil, nil)
                taken = SocketPoll(on: run.loop, descriptor: descriptor) { _, _, _ in
                    // In one go, so that curl sees nothing of it before it is over.
                    var request = [UInt8](repeating: 0, count: 4096)
                    #expect(recv(descriptor, &request, request.count, 0) > 0)
                    let answer = Array("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc".utf8)
                    #expect(send(descriptor, answer, answer.count, 0) == answer.count)
                    var linger = linger(l_onoff: 1, l_linger: 0)
                    setsockopt(
                        descriptor, SOL_SOCKET, SO_LINGER, &linger, socklen_t(MemoryLayout.size(ofValue: linger)))
                    taken?.close()
                    close(descriptor)
                }
                taken?.watch(readable: true, writable: false)
            })
        poll.watch(readable: true, writable: false)
        run.atClose { poll.close() }
        let record = try Self.get("http://127.0.0.1:\(port)/", isConfigured: true, run: run, multi: multi)
        #expect(record.failure == nil && record.head?.status == 200 && record.body == Array("abc".utf8))
        run.close()
    }
}

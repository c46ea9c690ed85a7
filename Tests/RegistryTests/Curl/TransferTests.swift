// What a transfer does that no exchange lets through: addresses refused below the names.

import Testing

@testable import Registry

@Suite struct TransferTests {
    private final class Record: TransferHandler {
        var head: UpstreamHead?
        var body: [UInt8] = []
        var failure: TransferFailure?
        var onEnd: () -> Void = {}

        func transfer(_ transfer: Transfer, received head: UpstreamHead) { self.head = head }
        func transfer(_ transfer: Transfer, received bytes: UnsafeRawBufferPointer) -> Bool {
            body.append(contentsOf: bytes)
            return true
        }
        func transfer(_ transfer: Transfer, ended failure: TransferFailure?) {
            self.failure = failure
            onEnd()
        }
    }

    private static func get(_ url: String, isConfigured: Bool, run: LoopRun, multi: CurlMulti) throws -> Record {
        let record = Record()
        record.onEnd = { run.finish() }
        let request = TransferRequest(
            url: try #require(UpstreamURL(url)), addresses: AddressGuard(hostIsConfigured: isConfigured),
            noProgressMilliseconds: 10_000)
        let transfer = Transfer(request, on: multi, loop: run.loop, handler: record)
        run.run()
        withExtendedLifetime(transfer) {}
        return record
    }

    /// A name that resolves to loopback is caught when its address is known.
    @Test func aNameForThisMachineIsRefusedBeforeAConnectionIsMade() throws {
        let run = try LoopRun()
        let multi = try #require(CurlMulti(on: run.loop))
        let fake = FakeUpstream(on: run.loop)
        run.atClose { multi.close() }
        run.atClose { fake.close() }
        fake.answer = { _ in .ok([1]) }
        let refused = try Self.get("http://localhost:\(fake.port)/", isConfigured: false, run: run, multi: multi)
        #expect(refused.failure?.kind == .localAddress)
        #expect(fake.connectionCount == 0)
        let allowed = try Self.get("http://localhost:\(fake.port)/", isConfigured: true, run: run, multi: multi)
        #expect(allowed.body == [1])
        run.close()
    }

    /// The connection is there already, opened by somebody who may.
    @Test func aReusedConnectionIsRefusedBeforeARequestIsSent() throws {
        let run = try LoopRun()
        let multi = try #require(CurlMulti(on: run.loop))
        let fake = FakeUpstream(on: run.loop)
        run.atClose { multi.close() }
        run.atClose { fake.close() }
        fake.answer = { _ in .ok([1]) }
        let url = "http://127.0.0.1:\(fake.port)/"
        #expect(try Self.get(url, isConfigured: true, run: run, multi: multi).body == [1])
        #expect(try Self.get(url, isConfigured: false, run: run, multi: multi).failure?.kind == .localAddress)
        #expect(fake.requests.count == 1)
        #expect(try Self.get(url, isConfigured: true, run: run, multi: multi).body == [1])
        run.close()
    }
}

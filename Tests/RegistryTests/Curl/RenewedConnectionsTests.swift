// A reload renews the connections to upstreams: transfers that run end on theirs, and later ones get new ones.

import TestSupport
import Testing

@testable import Registry

@Suite struct RenewedConnectionsTests {
    private let run: LoopRun
    private let multi: CurlMulti
    private let fake: FakeUpstream

    init() throws {
        run = try LoopRun()
        let multi = try #require(CurlMulti(on: run.loop))
        let fake = FakeUpstream(on: run.loop)
        (self.multi, self.fake) = (multi, fake)
        run.atClose { multi.close() }
        run.atClose { fake.close() }
    }

    private func start(_ path: String, _ record: TransferRecord) throws -> Transfer {
        let request = TransferRequest(
            url: try #require(UpstreamURL("\(fake.url)\(path)")), addresses: AddressGuard(hostIsConfigured: true),
            noProgressMilliseconds: 10_000)
        return Transfer(request, on: multi, loop: run.loop, handler: record)
    }

    private func get(_ path: String) throws -> TransferRecord {
        let record = TransferRecord()
        let transfer = try start(path, record)
        run.wait { record.isEnded }
        withExtendedLifetime(transfer) {}
        return record
    }

    @Test("an idle connection is closed and not used again") func idle() throws {
        fake.answer = { _ in .ok([1]) }
        #expect(try get("/a").body == [1])
        #expect(try get("/a").body == [1])
        multi.renewConnections()
        #expect(try get("/a").body == [1])
        #expect(fake.requests.map(\.connection) == [0, 0, 1])
        run.wait { fake.openConnectionCount == 1 }
        run.close()
    }

    @Test("a running transfer ends on its connection, which is closed then") func running() throws {
        let text = String(repeating: "a", count: 2000)
        fake.on("/slow", .ok(Array(text.utf8)).stall(after: 1000))
        fake.on("/a", .ok([1]))
        let record = TransferRecord()
        let transfer = try start("/slow", record)
        run.wait { record.body.count == 1000 }
        for _ in 0..<3 {
            multi.renewConnections()
            #expect(try get("/a").body == [1])
        }
        #expect(fake.requests.map(\.connection) == [0, 1, 2, 3])
        #expect(!record.isEnded)
        run.wait { fake.openConnectionCount == 2 }
        fake.push(String(text.prefix(1000)), onConnection: 0)
        run.wait { record.isEnded }
        #expect(record.body == Array(text.utf8) && record.failure == nil)
        run.wait { multi.transferCount == 0 }
        withExtendedLifetime(transfer) {}
        run.close()
    }

    @Test("a transfer that is cancelled after the renewal frees its connection") func cancelled() throws {
        fake.on("/slow", .ok([1, 2]).stall(after: 1))
        fake.on("/a", .ok([1]))
        let record = TransferRecord()
        let transfer = try start("/slow", record)
        run.wait { record.body.count == 1 }
        multi.renewConnections()
        transfer.cancel()
        run.wait { fake.openConnectionCount == 0 && multi.transferCount == 0 }
        #expect(try get("/a").body == [1])
        run.close()
    }
}

// The limits of lists: their files, the bytes that are being fetched, and the jobs that read them.

import Foundation
import TestSupport
import Testing

@testable import OCI
@testable import Registry

@Suite struct ListLimitTests {
    private func name(_ number: Int, host: String = "a.test") throws -> ListName {
        ListName(
            host: try #require(RegistryHost(host)), repository: try #require(RepositoryName("deep/down/r\(number)")),
            kind: .tags)
    }

    @Test("short lists always find room, and long lists of one host leave room for other hosts") func bytes() throws {
        var gathered = GatheredLists()
        let long = GatheredLists.maximumBytesPerHost + GatheredLists.freeBytes
        #expect(gathered.add(long, to: try name(0)))
        #expect(!gathered.add(GatheredLists.freeBytes + 1, to: try name(1)))
        #expect(gathered.add(GatheredLists.freeBytes, to: try name(1)))
        #expect(!gathered.add(1, to: try name(1)))
        #expect(gathered.add(long, to: try name(2, host: "b.test")))
        #expect(gathered.bytes == GatheredLists.maximumBytes)
        #expect(!gathered.add(GatheredLists.freeBytes + 1, to: try name(3, host: "c.test")))
        #expect(!gathered.add(.max, to: try name(4, host: "d.test")))
        for number in 0..<5 {
            for host in ["a.test", "b.test", "c.test", "d.test"] { gathered.remove(try name(number, host: host)) }
        }
        #expect(gathered.isEmpty)
    }

    @Test("when there are too many files the oldest go, with the directories that are empty then") func sweep() throws {
        let fixture = try StoreFixture()
        let store = fixture.store
        let list = KeptList(checkedAtSeconds: 5, pages: [Array("{\"tags\":[]}".utf8)])
        for number in 0..<8 {
            let error = try fixture.wait { store.putList(try! name(number), list, then: $0) }  // valid names
            #expect(error == nil)
            var times = [timeval(tv_sec: 1000 + number, tv_usec: 0), timeval(tv_sec: 1000 + number, tv_usec: 0)]
            #expect(utimes(store.layout.list(try name(number)), &times) == 0)
        }
        #expect(try ListFiles(store.layout).sweep(maximumBytes: .max, maximumFiles: 8) == 0)
        #expect(try ListFiles(store.layout).sweep(maximumBytes: .max, maximumFiles: 7) == 5)
        let directories = try FileManager.default.contentsOfDirectory(atPath: "\(store.layout.lists)/a.test/deep/down")
        #expect(Set(directories) == Set((5..<8).map { "r\($0)" }))
        #expect(try ListFiles(store.layout).sweep(maximumBytes: 0, maximumFiles: 0) == 3)
        #expect(try FileManager.default.contentsOfDirectory(atPath: store.layout.lists).isEmpty)
        // A directory that was removed is made again.
        let error = try fixture.wait { store.putList(try! name(0), list, then: $0) }  // a valid name
        #expect(try error == nil && fixture.exists(store.layout.list(name(0))))
    }

    @Test("small files count with what they take on the disk") func smallFiles() throws {
        let fixture = try StoreFixture()
        let list = KeptList(checkedAtSeconds: 5, pages: [[0x7B, 0x7D]])
        // The first write of a process sweeps.
        fixture.store.lists.unsweptBytes = 0
        let error = try fixture.wait { fixture.store.putList(try! name(0), list, then: $0) }  // a valid name
        #expect(error == nil && fixture.store.lists.unsweptBytes == Lists.minimumFileBytes)
    }

    /// The pool is blocked, so that the jobs of lists cannot run.
    @Test("requests beyond those that may wait for a list get a 503, and the others their list") func jobs() throws {
        let mirror = try MirrorKit()
        SignedImage.put(on: mirror.fake)
        mirror.api.listJobs.maximumWaiting = 3
        #expect(mirror.get(SignedImage.tags).status == 200)
        let (gate, blocked) = (DispatchSemaphore(value: 0), 64)
        for _ in 0..<blocked { mirror.offload.run({ gate.wait() }, then: { _ in }) }
        let clients = (0..<20).map { _ in mirror.start(.get(SignedImage.tags)) }
        mirror.wait(until: { clients.count(where: \.isDone) == 20 - 3 - ListJobs.maximumAtOnce })
        for client in clients where client.isDone {
            #expect(client.response.status == 503 && client.response.text.contains("requests for lists wait"))
        }
        for _ in 0..<blocked { gate.signal() }
        mirror.wait(for: clients)
        #expect(clients.count { $0.response.status == 200 } == 3 + ListJobs.maximumAtOnce)
        mirror.close()
    }
}

// Readiness and the disk: a full or broken disk is reported, and a server that can still serve from it stays ready to
// serve.

import Foundation
import Glibc
import TestSupport
import Testing

@testable import OCI
@testable import Registry

@Suite struct DiskReadinessTests {
    @Test("a disk without room for a refused blob makes /readyz?pull fail, though small writes fit", .needs(.root))
    func nearlyFullDisk() throws {
        let disk = try SmallDisk(sizeBytes: 8 << 20)
        let kit = try HealthKit(imagePath: disk.path)
        #expect(kit.ask("/readyz?pull").status == 200)
        // All but 100 kB is taken; a blob comes that would need more.
        let filler = disk.path + "/filler"
        let descriptor = try Disk.open(filler, O_RDWR | O_CREAT)
        let free = try Disk.freeSpace(descriptor, filler)
        try Disk.write([UInt8](repeating: 1, count: Int(free) - 100_000), to: descriptor, filler)
        #expect(kit.ask("/readyz?pull").status == 200, "no write has been refused yet")
        let bytes = pattern(1_000_000)
        let target = "/v2/team/app/blobs/\(digestOf(bytes))"
        kit.mirror.fake.on(target) { .blob(bytes, for: $0) }
        // The upstream is asked before the room is: the head may be out when the pull fails, and the body ends short.
        let passed = kit.mirror.get(target)
        #expect(passed.header("x-ociregistry-cache") == "bypass" || !passed.isComplete)
        kit.mirror.settle()
        let full = kit.ask("/readyz?pull")
        #expect(full.status == 503 && full.text.hasPrefix("pull: no room: "))
        #expect(kit.ask("/readyz").status == 200, "what is cached is served")
        #expect(try kit.mirror.scrape()["ociregistry_ready_for_pulls"] == 0)
        #expect(kit.ask("/livez").status == 200)
        // Room again.
        close(descriptor)
        unlink(filler)
        #expect(kit.ask("/readyz?pull").status == 200)
        #expect(try kit.mirror.scrape()["ociregistry_ready_for_pulls"] == 1)
        #expect(kit.mirror.get(target).status == 200)
        kit.mirror.settle()
        kit.close()
    }

    @Test("a full disk is ready to serve, not to pull; an air-gapped server never pulls", .needs(.root))
    func fullDisk() throws {
        let disk = try SmallDisk(sizeBytes: 1 << 20)
        let kit = try HealthKit(imagePath: disk.path)
        let filler = disk.path + "/filler"
        let descriptor = try Disk.open(filler, O_RDWR | O_CREAT)
        var written: Int64 = 0
        let page = pattern(4096)
        while (try? page.withUnsafeBytes { try Disk.write($0, to: descriptor, at: written, filler) }) != nil {
            written += 4096
        }
        let full = kit.ask("/readyz?pull")
        #expect(full.status == 503 && full.text.hasPrefix("pull: no room: "))
        let verbose = kit.ask("/readyz?verbose")
        #expect(verbose.status == 200 && verbose.text.hasPrefix("ok\n") && verbose.text.contains("[-] pull: no room: "))
        #expect(kit.ask("/readyz?verbose&pull").status == 503)
        #expect(kit.ask("/readyz").status == 200 && kit.ask("/readyz").text == "ok\n")
        close(descriptor)
        kit.close()
        let reader = try HealthKit(imagePath: disk.path, pulls: false)
        let airGapped = reader.ask("/readyz?pull&verbose")
        #expect(airGapped.status == 200 && airGapped.text.contains("[+] pull: air-gapped, nothing is pulled\n"))
        reader.close()
    }

    /// Each tiny image takes several inodes; those of an image that was refused are free again, and are too few.
    @Test("when inodes run out the server is ready to serve, not to pull, and a restart serves", .needs(.root))
    func inodesRunOut() throws {
        let disk = try SmallDisk(sizeBytes: 20 << 20, inodes: 120)
        let kit = try HealthKit(imagePath: disk.path)
        let images = (0..<60).map { FakeImage(layerBytes: [10], seed: UInt64(1000 + $0)) }
        for (number, image) in images.enumerated() { image.put(on: kit.mirror.fake, tag: "t\(number)") }
        func isServed(_ number: Int, by mirror: MirrorKit) -> Bool {
            let blobs = images[number].blobs.map { mirror.get("/v2/team/app/blobs/\(digestOf($0))") }
            return mirror.get("/v2/team/app/manifests/t\(number)").status == 200
                && zip(blobs, images[number].blobs).allSatisfy { $0.status == 200 && $0.body == $1 }
                && blobs.allSatisfy { $0.header("x-ociregistry-cache") == nil }
        }
        let served = images.indices.filter { isServed($0, by: kit.mirror) }
        kit.mirror.settle()
        #expect(served.count > 5 && served.count < images.count)
        #expect(served.prefix(5).allSatisfy { isServed($0, by: kit.mirror) })
        #expect(kit.ask("/readyz").status == 200)
        let pull = kit.ask("/readyz?pull")
        #expect(pull.status == 503 && pull.text.hasPrefix("pull: no room: "), "\(pull.text)")
        #expect(try kit.mirror.scrape()["ociregistry_ready_for_pulls"] == 0)
        kit.close()
        let restarted = try HealthKit(imagePath: disk.path)
        #expect(restarted.ask("/readyz").status == 200 && restarted.ask("/readyz?pull").status == 503)
        // Nothing is asked of the upstream, which knows none of it any more.
        #expect(served.prefix(5).allSatisfy { isServed($0, by: restarted.mirror) })
        restarted.close()
    }

    /// What an upstream claims says nothing of the disk: there is room, so the server is ready.
    @Test("a blob larger than any disk does not make the server unready") func absurdSize() throws {
        let fixture = try StoreFixture()
        let ingest = try fixture.begin(try fixture.key(digestOf([1])))
        let error: StoreError? = try fixture.wait { ingest.reserve(totalBytes: Int64.max / 2, then: $0) }
        #expect(error?.isNoSpace == true && fixture.store.roomWantedBytes > 0)
        let look: Result<DiskReport, StoreError> = try fixture.wait { fixture.store.lookAtDisk(then: $0) }
        let report = try look.get()
        #expect(report.wantedBytes <= Store.maximumWantedBytes)
        if !report.isFull { #expect(fixture.store.roomWantedBytes == 0) }
        ingest.discard()
    }

    @Test("a refused write is forgotten once as many bytes have been written") func refusalForgotten() throws {
        let fixture = try StoreFixture()
        let refusal = StoreError.noSpace(call: "write", path: "x")
        fixture.store.noteFailure(refusal, bytes: 500_000)
        fixture.store.noteFailure(refusal, bytes: 100)
        fixture.store.noteRoom(for: 10)
        fixture.store.noteFailure(.system(call: "write", path: "x", code: EIO), bytes: 900_000)
        #expect(fixture.store.roomWantedBytes == 500_000)
        fixture.store.noteRoom(for: 500_000)
        #expect(fixture.store.roomWantedBytes == 0)
    }

    @Test("an unreadable store is not ready, and an unwritable one is not ready for pulls")
    func unreadableStore() throws {
        let kit = try HealthKit()
        let layout = kit.mirror.store.layout
        for (directory, target, name) in [
            (layout.temporary, "/readyz?pull", "pull"), (layout.blobs, "/readyz", "store"),
            (layout.manifests, "/readyz", "store"), (layout.tags, "/readyz", "store"),
        ] {
            try FileManager.default.moveItem(atPath: directory, toPath: directory + ".away")
            let ready = kit.ask(target)
            #expect(ready.status == 503 && ready.text.hasPrefix("\(name): \(directory)"), "\(ready.text)")
            #expect(kit.ask("/readyz").status == (name == "pull" ? 200 : 503))
            try FileManager.default.moveItem(atPath: directory + ".away", toPath: directory)
            #expect(kit.ask("/readyz?pull").status == 200)
        }
        kit.close()
    }
}

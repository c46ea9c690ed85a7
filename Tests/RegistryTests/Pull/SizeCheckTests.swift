// Blobs whose size is not what a manifest says: cut off while no server ran, or a manifest with a wrong size.

import Foundation
import Glibc
import TestSupport
import Testing

@testable import Configuration
@testable import Registry

@Suite struct SizeCheckTests {
    private static let image = FakeImage(layerBytes: [200_000, 900_000], seed: 98)
    private static let layer = image.layers[1]
    private static let sizeDamage = "ociregistry_store_damaged_files_total{by=\"size\"}"

    private static func target(_ blob: [UInt8]) -> String { "/v2/team/app/blobs/\(digestOf(blob))" }

    /// A directory in which a former server has left an image, one layer of which was cut off since.
    private static func damagedCache() throws -> TemporaryDirectory {
        let directory = try TemporaryDirectory()
        let mirror = try MirrorKit {
            $0.imagePath = directory.path
            $0.prefetchLayers = .manifest
        }
        image.put(on: mirror.fake, tag: "v1")
        #expect(mirror.get("/v2/team/app/manifests/v1").status == 200)
        mirror.settle()
        let path = mirror.store.layout.blob(digestOf(layer))
        mirror.close()
        #expect(truncate(path, 300_000) == 0)
        return directory
    }

    /// Until the blob is being hashed: requests for it wait for that, or come later.
    private static func waitForSizeCheck(_ mirror: MirrorKit) {
        mirror.wait(until: {
            !mirror.store.sizeChecks.pending.isEmpty
                || mirror.store.damageCounts[Int(DamageFinder.size.rawValue)] > 0
        })
    }

    @Test("a layer truncated while no server ran is pulled again when its image is requested")
    func truncatedLayer() throws {
        let directory = try Self.damagedCache()
        let mirror = try MirrorKit {
            $0.imagePath = directory.path
            $0.prefetchLayers = .manifest
        }
        mirror.wait(until: { mirror.store.isRecovered })
        Self.image.put(on: mirror.fake, tag: "v1")
        #expect(mirror.store.blobSize(digestOf(Self.layer)) == .present(300_000), "the walk knows no better")
        #expect(mirror.get("/v2/team/app/manifests/v1").body == Self.image.manifest)
        Self.waitForSizeCheck(mirror)
        #expect(mirror.get(Self.target(Self.layer)).body == Self.layer)
        mirror.settle()
        #expect(mirror.fake.requests(to: Self.target(Self.layer)).count == 1)
        #expect(try mirror.scrape()[Self.sizeDamage] == 1)
        #expect(try Disk.names(in: mirror.store.layout.quarantine).count == 1)
        #expect(mirror.inspectBlobs() == ([], 3))
        mirror.close()
    }

    @Test("in an air gap a truncated layer is quarantined and not found")
    func truncatedInAirGap() throws {
        let directory = try Self.damagedCache()
        let mirror = try MirrorKit {
            $0.imagePath = directory.path
            $0.policy = API.Policy(airGapped: true, defaultHost: MirrorKit.host)
        }
        mirror.wait(until: { mirror.store.isRecovered })
        #expect(mirror.get("/v2/team/app/manifests/v1").status == 200)
        Self.waitForSizeCheck(mirror)
        #expect(mirror.get(Self.target(Self.layer)).status == 404)
        mirror.settle()
        #expect(try mirror.scrape()[Self.sizeDamage] == 1)
        #expect(mirror.get("/v2/team/app/manifests/v1").status == 200)
        #expect(mirror.get(Self.target(Self.image.layers[0])).body == Self.image.layers[0])
        #expect(mirror.fake.requests.isEmpty)
        mirror.close()
    }

    @Test("manifests with a wrong size cause a blob to be hashed once, and never remove it")
    func lyingManifests() throws {
        let mirror = try MirrorKit { $0.prefetchLayers = .manifest }
        Self.image.put(on: mirror.fake, tag: "v1")
        #expect(mirror.get("/v2/team/app/manifests/v1").status == 200)
        mirror.settle()
        let asked = mirror.fake.requests(to: Self.target(Self.layer)).count
        for (number, size) in [7, 5_000_000_000, Int.max].enumerated() {
            let stated = "\"size\":\(Self.layer.count)"
            let text = String(decoding: Self.image.manifest, as: UTF8.self)
                .replacingOccurrences(of: stated, with: "\"size\":\(size)")
            let lie = Array(text.utf8)
            #expect(lie != Self.image.manifest)
            mirror.fake.on(
                "/v2/team/app/manifests/lie\(number)",
                .manifest(lie, type: FakeImage.type, digest: "\(digestOf(lie))"))
            #expect(mirror.get("/v2/team/app/manifests/lie\(number)").body == lie)
            mirror.settle()
        }
        #expect(mirror.store.sizeChecks.verified == [digestOf(Self.layer)])
        let notices = mirror.log.entries.filter { $0.message.contains("wrong size for a blob") }
        #expect(notices.count == 1 && notices[0]["stated"] == "7")
        #expect(mirror.get(Self.target(Self.layer)).body == Self.layer)
        #expect(mirror.fake.requests(to: Self.target(Self.layer)).count == asked)
        #expect(try Disk.names(in: mirror.store.layout.quarantine).isEmpty)
        #expect(try mirror.scrape()[Self.sizeDamage] == 0)
        mirror.close()
    }

    @Test("readers of a blob are released when its hash check takes too long")
    func readersAreReleased() throws {
        let fixture = try StoreFixture()
        let digest = try fixture.put(pattern(5000))
        fixture.store.openFiles.removeAll()
        let check = SizeChecks.Check(statedBytes: 1)
        check.timer = Registry.Timer(on: fixture.loop) {}
        fixture.store.sizeChecks.pending[digest] = check
        var found: OpenFile?
        fixture.store.findBlob(digest) { found = $0 }
        #expect(found == nil && check.readers.count == 1)
        check.releaseReaders()
        try fixture.wait(until: { found != nil })
        fixture.store.openFiles.removeAll()
        #expect(try fixture.find(digest) != nil, "no reader waits any more")
        fixture.store.sizeChecks.pending = [:]
    }
}

// A cache that is full: images leave for others, none of them by halves, and nobody who has been given a manifest is
// refused its layers.

import Foundation
import TestSupport
import Testing

@testable import Configuration
@testable import Registry

@Suite struct EvictionTests {
    private static let layerBytes = [200_000, 300_000]
    private static let imageBytes: Int64 = 500_000

    private static func image(_ number: Int) -> FakeImage {
        FakeImage(layerBytes: layerBytes, seed: UInt64(1000 + number))
    }

    /// What `pull` returns for a blob that passed through without being kept.
    private static let passed = 0

    /// Pulls an image as a client does: the tag's manifest, then what it lists.
    /// - Returns: the statuses of all answers; bodies are checked.
    private static func pull(_ mirror: MirrorKit, _ image: FakeImage, _ tag: String) -> [Int] {
        let manifest = mirror.get("/v2/team/app/manifests/\(tag)")
        guard manifest.status == 200 else { return [manifest.status] }
        #expect(manifest.body == image.manifest)
        return [200]
            + image.blobs.map { blob in
                let answer = mirror.ask(.get("/v2/team/app/blobs/\(digestOf(blob))"))
                if answer.response.status == 200 {
                    #expect(answer.isComplete && answer.response.body == blob, "a 200 is whole and right")
                }
                let isPassed = answer.response.header("x-ociregistry-cache") == "bypass"
                return isPassed ? passed : answer.response.status
            }
    }

    /// Whatever manifest is cached has its blobs, unless an upstream has never given them.
    private static func expectNoHalves(
        _ mirror: MirrorKit, _ images: [FakeImage], _ location: SourceLocation = #_sourceLocation
    ) {
        mirror.settle()
        for image in images where mirror.store.manifests[image.digest] != nil {
            for blob in image.blobs {
                #expect(mirror.store.blobs[digestOf(blob)] != nil, "half an image", sourceLocation: location)
            }
        }
    }

    @Test("a stream of images stays within maxBytes, and pinned images stay") func budget() throws {
        let limit = 4 * Self.imageBytes
        let mirror = try MirrorKit {
            $0.limits.leaseSeconds = 0
            $0.limits.budget.maxBytes = limit
            $0.limits.isPinned = { $0.name.hasSuffix(":v0") }
        }
        mirror.wait(until: { mirror.store.isRecovered })
        let images = (0..<20).map { Self.image($0) }
        for (number, image) in images.enumerated() {
            image.put(on: mirror.fake, tag: "v\(number)")
            #expect(Self.pull(mirror, image, "v\(number)") == [200, 200, 200, 200], "image \(number)")
            #expect(mirror.store.usedBytes <= limit)
            Self.expectNoHalves(mirror, images)
        }
        let scrape = try mirror.scrape()
        #expect(scrape["ociregistry_store_removed_images_total{reason=\"no_room\"}"] ?? 0 >= 15)
        #expect(scrape["ociregistry_store_used_bytes"] ?? .infinity <= Double(limit))
        #expect(scrape["ociregistry_store_max_bytes"] == Double(limit))
        #expect(scrape["ociregistry_store_write_failures_total{reason=\"no_space\"}"] == 0)
        #expect(mirror.store.manifests[images[0].digest] != nil, "a pinned image never leaves")
        #expect(mirror.inspectBlobs().wrong.isEmpty)
        mirror.close()
    }

    @Test("leased images stay, and blobs without room pass through until a lease ends") func leases() throws {
        let mirror = try MirrorKit { $0.limits.budget.maxBytes = 2 * Self.imageBytes + 50_000 }
        mirror.wait(until: { mirror.store.isRecovered })
        let images = (0..<3).map { Self.image($0) }
        for (number, image) in images.enumerated() { image.put(on: mirror.fake, tag: "v\(number)") }
        for number in 0..<2 { #expect(!Self.pull(mirror, images[number], "v\(number)").contains(Self.passed)) }
        let refused = Self.pull(mirror, images[2], "v2")
        #expect(refused.contains(Self.passed), "the other two have just been served")
        let answer = mirror.get("/v2/team/app/blobs/\(digestOf(images[2].blobs[2]))")
        #expect(answer.status == 200 && answer.header("x-ociregistry-cache") == "bypass")
        #expect(try mirror.scrape()["ociregistry_store_write_failures_total{reason=\"no_space\"}"] ?? 0 > 0)
        for number in 0..<2 { #expect(!Self.pull(mirror, images[number], "v\(number)").contains(Self.passed)) }
        // Their leases end; what was refused is pulled.
        for image in images[..<2] { mirror.store.endLease(of: image.digest) }
        #expect(Self.pull(mirror, images[2], "v2") == [200, 200, 200, 200])
        mirror.close()
    }

    /// A full cache of pinned images: the store is walked once, not for every pull.
    @Test("an eviction that found too little is not repeated until something can be removed")
    func lookInVain() throws {
        let mirror = try MirrorKit {
            $0.limits.budget.maxBytes = 2 * Self.imageBytes + 50_000
            $0.limits.isPinned = { $0.name.hasSuffix(":v0") || $0.name.hasSuffix(":v1") }
        }
        mirror.wait(until: { mirror.store.isRecovered })
        let images = (0..<3).map { Self.image($0) }
        for (number, image) in images.enumerated() { image.put(on: mirror.fake, tag: "v\(number)") }
        for number in 0..<2 { #expect(!Self.pull(mirror, images[number], "v\(number)").contains(Self.passed)) }
        mirror.settle()
        // The first may have been the one that keeps the cache below its high watermark.
        func looks() -> UInt64 { mirror.store.evictionBackOff.inVain }
        for _ in 0..<20 {
            let blob = mirror.get("/v2/team/app/blobs/\(digestOf(images[2].blobs[2]))")
            #expect(blob.status == 200 && blob.header("x-ociregistry-cache") == "bypass")
        }
        #expect(looks() == 1)
        let scrape = try mirror.scrape()
        #expect(scrape["ociregistry_store_evictions_in_vain_total"] == Double(looks()))
        #expect(scrape["ociregistry_store_refused_admissions_total"] ?? 0 >= 1)
        #expect(scrape["ociregistry_pulls_passed_through_total"] == 20)
        // Its manifest is new, and in use for as long as any.
        #expect(mirror.get("/v2/team/app/manifests/v2").status == 200)
        let passed = mirror.get("/v2/team/app/blobs/\(digestOf(images[2].blobs[2]))")
        #expect(passed.header("x-ociregistry-cache") == "bypass")
        #expect(looks() == 1)
        // An operator's prune makes room, and is noticed at once.
        mirror.wait(for: { done in
            mirror.store.prune(
                selecting: { $0.name.hasSuffix(":v0") }, ignoringLease: true, reporting: { _ in }
            ) { _ in done() }
        })
        #expect(Self.pull(mirror, images[2], "v2") == [200, 200, 200, 200])
        mirror.close()
    }

    @Test("the next eviction runs when a lease ends, not before") func leaseEnds() throws {
        let mirror = try MirrorKit {
            $0.limits.budget.maxBytes = Self.imageBytes + 50_000
            $0.limits.leaseSeconds = 1000
        }
        mirror.wait(until: { mirror.store.isRecovered })
        let images = (0..<2).map { Self.image($0) }
        for (number, image) in images.enumerated() { image.put(on: mirror.fake, tag: "v\(number)") }
        #expect(!Self.pull(mirror, images[0], "v0").contains(Self.passed))
        mirror.settle()
        #expect(Self.pull(mirror, images[1], "v1").contains(Self.passed))
        let store = mirror.store
        #expect(store.evictionBackOff.inVain == 1)
        #expect(store.evictionBackOff.isActive(now: mirror.run.loop.nowMilliseconds + 500_000))
        let reach = store.millisecondsToLeaseEnd(of: images[0].digest)
        #expect(reach >= 601_000, "a lease of a thousand seconds, as far as it matters")
        mirror.close()
    }

    @Test("a blob larger than the budget passes through and evicts nothing") func oversizedBlob() throws {
        let mirror = try MirrorKit {
            $0.limits.leaseSeconds = 0
            $0.limits.budget.maxBytes = Self.imageBytes + 50_000
        }
        mirror.wait(until: { mirror.store.isRecovered })
        let image = Self.image(1)
        image.put(on: mirror.fake, tag: "v1")
        #expect(Self.pull(mirror, image, "v1") == [200, 200, 200, 200])
        // A client has the last byte before the disk has the blob.
        mirror.settle()
        let large = pattern(Int(Self.imageBytes) * 2)
        mirror.fake.on("/v2/team/app/blobs/\(digestOf(large))") { .blob(large, for: $0) }
        let passed = mirror.get("/v2/team/app/blobs/\(digestOf(large))")
        #expect(passed.body == large && passed.header("x-ociregistry-cache") == "bypass")
        #expect(mirror.store.blobs.count == 3)
        mirror.close()
    }

    @Test("minFreeBytes is kept when other files fill the disk", .needs(.root)) func minFree() throws {
        let disk = try SmallDisk(sizeBytes: 8 << 20)
        let mirror = try MirrorKit {
            $0.imagePath = disk.path
            $0.limits.leaseSeconds = 0
            $0.limits.budget.minFreeBytes = 2 << 20
        }
        mirror.wait(until: { mirror.store.isRecovered })
        let images = (0..<20).map { Self.image($0) }
        for (number, image) in images.enumerated() {
            image.put(on: mirror.fake, tag: "v\(number)")
            // Somebody else's file takes a third of it.
            if number == 10 { try Data(count: 3 << 20).write(to: URL(filePath: "\(disk.path)/other")) }
            #expect(Self.pull(mirror, image, "v\(number)") == [200, 200, 200, 200], "image \(number)")
            mirror.settle()
            #expect(try Disk.space(disk.path).freeBytes >= 2 << 20)
            Self.expectNoHalves(mirror, images)
        }
        mirror.close()
    }
}

// Build caches and single blobs, as clients request them from the whole server.

import Foundation
import TestSupport
import Testing

@testable import Configuration
@testable import OCI
@testable import Registry

@Suite struct BuildCacheTests {
    private static let blobBytes = 200_000
    private static let alone = (0..<6).map { pattern(blobBytes, seed: UInt64(800 + $0)) }

    private static func path(_ blob: [UInt8]) -> String { "/v2/team/app/blobs/\(digestOf(blob))" }

    private func mirror(_ change: (inout MirrorKit.Options) -> Void = { _ in }) throws -> MirrorKit {
        let mirror = try MirrorKit(change)
        mirror.wait(until: { mirror.store.isRecovered })
        for blob in Self.alone { mirror.fake.on(Self.path(blob), { .blob(blob, for: $0) }) }
        return mirror
    }

    @Test(
        "of a build cache only the requested blobs are pulled, and they are served again without its upstream",
        arguments: FakeBuildCache.Form.allCases, [PrefetchLayers.layer, .manifest])
    func onDemand(_ form: FakeBuildCache.Form, _ prefetch: PrefetchLayers) throws {
        let mirror = try mirror { $0.prefetchLayers = prefetch }
        let cache = FakeBuildCache(form)
        cache.put(on: mirror.fake, tag: "cache")
        for _ in 0..<2 {
            let manifest = mirror.get("/v2/team/app/manifests/cache")
            #expect(manifest.body == cache.manifest && manifest.header("content-type") == cache.mediaType.text)
            for blob in [cache.config, cache.layers[1]] { #expect(mirror.get(Self.path(blob)).body == blob) }
            mirror.settle()
        }
        #expect(mirror.fake.requests(to: Self.path(cache.layers[1])).count == 1)
        #expect(mirror.fake.requests(to: Self.path(cache.layers[0])).isEmpty, "no client has asked for it")
        mirror.fake.close()
        #expect(mirror.get(Self.path(cache.layers[1])).body == cache.layers[1])
        mirror.close()
    }

    @Test("a cache full of blobs without an image keeps those in use, and the least recently used leaves first")
    func fullOfBlobs() throws {
        let mirror = try mirror { $0.limits.budget.maxBytes = 4 * Int64(Self.blobBytes) }
        let digests = Self.alone.map { digestOf($0) }
        for number in 0..<3 {
            #expect(mirror.get(Self.path(Self.alone[number])).body == Self.alone[number])
            mirror.settle()
            mirror.store.age(digests[number], secondsAgo: 9000 - Int64(number))
        }
        // The oldest is requested once more.
        #expect(mirror.get(Self.path(Self.alone[0])).body == Self.alone[0])
        #expect(mirror.fake.requests(to: Self.path(Self.alone[0])).count == 1, "a hit")
        for number in 3..<6 {
            let answer = mirror.get(Self.path(Self.alone[number]))
            #expect(answer.body == Self.alone[number])
            mirror.settle()
            if mirror.store.blobs[digests[number]] != nil { mirror.store.age(digests[number], secondsAgo: 5000) }
            #expect(mirror.store.usedBytes <= 4 * Int64(Self.blobBytes))
            #expect(mirror.store.blobs[digests[0]] != nil, "it is in use")
        }
        #expect(mirror.store.blobs[digests[1]] == nil && mirror.store.blobs[digests[2]] == nil)
        #expect(mirror.store.blobs[digests[5]] != nil)
        #expect(mirror.store.writeFailures.noSpace == 0 && mirror.store.removals.evictedBytes > 0)
        #expect(mirror.inspectBlobs().wrong.isEmpty)
        mirror.close()
    }

    @Test("a pinned build cache stays while blobs without an image and other build caches are evicted")
    func pinned() throws {
        let (kept, other) = (
            FakeBuildCache(layerBytes: [Self.blobBytes], seed: 5), FakeBuildCache(layerBytes: [Self.blobBytes], seed: 6)
        )
        let mirror = try mirror {
            $0.limits.budget.maxBytes = 4 * Int64(Self.blobBytes)
            $0.limits.isPinned = { $0.name.hasSuffix(":kept") }
        }
        for (cache, tag) in [(kept, "kept"), (other, "other")] {
            cache.put(on: mirror.fake, tag: tag)
            #expect(mirror.get("/v2/team/app/manifests/\(tag)").body == cache.manifest)
            for blob in cache.blobs { #expect(mirror.get(Self.path(blob)).body == blob) }
            mirror.settle()
            for blob in cache.blobs { mirror.store.age(digestOf(blob), secondsAgo: 9000) }
            mirror.store.accessTimes.touch(cache.digest, at: EventLoop.unixSeconds - 9000)
        }
        for blob in Self.alone {
            #expect(mirror.get(Self.path(blob)).body == blob)
            mirror.settle()
            if mirror.store.blobs[digestOf(blob)] != nil { mirror.store.age(digestOf(blob), secondsAgo: 3000) }
        }
        #expect(mirror.store.manifests[kept.digest] != nil && mirror.store.manifests[other.digest] == nil)
        for blob in kept.blobs { #expect(mirror.store.blobs[digestOf(blob)] != nil) }
        for blob in other.blobs { #expect(mirror.store.blobs[digestOf(blob)] == nil) }
        #expect(mirror.store.writeFailures.noSpace == 0)
        mirror.close()
    }

    @Test("each kind of hit renews the last use of a blob without an image, from a file and from memory")
    func hits() throws {
        let mirror = try mirror()
        let small = pattern(500, seed: 90)
        mirror.fake.on(Self.path(small), { .blob(small, for: $0) })
        for blob in [small, Self.alone[0]] {
            let (path, digest) = (Self.path(blob), digestOf(blob))
            let hits: [(String, () -> Int)] = [
                ("GET", { mirror.get(path).status }), ("the same target again", { mirror.get(path).status }),
                ("HEAD", { mirror.head(path).status }), ("a range", { mirror.get(path, range: "bytes=1-2").status }),
                ("a condition", { mirror.get(path, [("If-None-Match", "\"\(digest)\"")]).status }),
            ]
            #expect(mirror.get(path).body == blob)
            mirror.settle()
            #expect(mirror.store.recordedAge(of: digest) == nil, "its file's time says when it came")
            for (name, hit) in hits {
                mirror.store.age(digest, secondsAgo: 9000)
                mirror.store.openFiles.value(for: digest)?.nextTouchMilliseconds = 0
                mirror.store.smallBlobs.value(for: digest)?.nextTouchMilliseconds = 0
                #expect([200, 206, 304].contains(hit()), "\(name)")
                #expect(mirror.store.recordedAge(of: digest).map { $0 < 60 } == true, "\(name)")
            }
            // Many more within half a minute are one use.
            #expect(mirror.get(path).status == 200)
            _ = mirror.store.accessTimes.takeUnwritten()
            for _ in 0..<20 { #expect(mirror.get(path).status == 200) }
            #expect(!mirror.store.accessTimes.hasUnwritten)
        }
        mirror.close()
    }

    @Test("uses of an image's blobs are not recorded once the image has been found complete") func imageBlobs() throws {
        let mirror = try mirror { $0.prefetchLayers = .manifest }
        let image = FakeImage(seed: 91)
        image.put(on: mirror.fake, tag: "v1")
        #expect(mirror.get("/v2/team/app/manifests/v1").body == image.manifest)
        for blob in image.blobs { #expect(mirror.get(Self.path(blob)).body == blob) }
        mirror.settle()
        mirror.store.manifestCache.value(for: image.digest)?.nextWholeCheckMilliseconds = 0
        mirror.store.manifestCache.value(for: image.digest)?.nextWholeChecks = [:]
        #expect(mirror.get("/v2/team/app/manifests/v1").body == image.manifest)
        mirror.wait(until: { image.blobs.allSatisfy { mirror.store.blobs[digestOf($0)]?.isNamed == true } })
        for blob in image.blobs {
            mirror.store.openFiles.value(for: digestOf(blob))?.nextTouchMilliseconds = 0
            mirror.store.smallBlobs.value(for: digestOf(blob))?.nextTouchMilliseconds = 0
            #expect(mirror.get(Self.path(blob)).body == blob)
            #expect(mirror.store.recordedAge(of: digestOf(blob)) == nil)
        }
        #expect(mirror.store.accessTimes.seconds.count == 1, "the manifest's")
        mirror.close()
    }
}

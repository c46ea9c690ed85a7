// When the rest of an image is fetched: with the first layer that a client asks for.

import TestSupport
import Testing

@testable import Configuration
@testable import OCI
@testable import Registry

@Suite struct PrefetchTests {
    private static let image = FakeImage(layerBytes: [1000, 10_000, 300_000, 80], seed: 41)

    private func mirror() throws -> MirrorKit {
        let mirror = try MirrorKit { $0.prefetchLayers = .layer }
        Self.image.put(on: mirror.fake, tag: "v1")
        return mirror
    }

    private static func path(_ blob: [UInt8], _ repository: String = "team/app") -> String {
        "/v2/\(repository)/blobs/\(digestOf(blob))"
    }

    private func isWhole(_ mirror: MirrorKit) -> Bool {
        Self.image.blobs.allSatisfy { mirror.store.blobSize(digestOf($0)) == .present(Int64($0.count)) }
    }

    @Test("a manifest and its config bring nothing, the first layer brings the rest, each blob once")
    func firstLayer() throws {
        let mirror = try mirror()
        #expect(mirror.get("/v2/team/app/manifests/v1").body == Self.image.manifest)
        mirror.wait(until: { !mirror.puller.incompleteImages.isEmpty })
        #expect(mirror.get(Self.path(Self.image.config)).body == Self.image.config)
        mirror.settle()
        #expect(mirror.fake.requests.count == 2)
        #expect(mirror.get(Self.path(Self.image.layers[2])).body == Self.image.layers[2])
        mirror.wait(until: { isWhole(mirror) })
        mirror.settle()
        #expect(mirror.fake.requests.count == 1 + Self.image.blobs.count && mirror.puller.incompleteImages.isEmpty)
        mirror.close()
    }

    @Test("a layer that is in the cache already brings the rest as well, in memory or on disk")
    func cachedLayer() throws {
        for layer in [0, 2] {
            let mirror = try mirror()
            let target = Self.path(Self.image.layers[layer])
            for _ in 0..<3 { #expect(mirror.get(target).status == 200) }
            #expect(mirror.get("/v2/team/app/manifests/v1").status == 200)
            mirror.wait(until: { !mirror.puller.incompleteImages.isEmpty })
            #expect(mirror.head(target).status == 200)
            mirror.settle()
            #expect(mirror.fake.requests.count == 2, "a HEAD is no request for a layer")
            #expect(mirror.get(target).status == 200)
            mirror.wait(until: { isWhole(mirror) })
            mirror.close()
        }
    }

    @Test("a layer asked for together with the manifest brings the rest")
    func layerBesideManifest() throws {
        let mirror = try mirror()
        mirror.fake.on(Self.path(Self.image.layers[2])) {
            .blob(Self.image.layers[2], for: $0).delayed(milliseconds: 100)
        }
        let clients = [Self.path(Self.image.layers[2]), "/v2/team/app/manifests/v1"].map { mirror.start(.get($0)) }
        mirror.wait(for: clients)
        mirror.wait(until: { isWhole(mirror) })
        mirror.close()
    }

    @Test("the same layer in another repository brings nothing")
    func otherRepository() throws {
        let mirror = try mirror()
        mirror.fake.on(Self.path(Self.image.layers[0], "team/other")) { .blob(Self.image.layers[0], for: $0) }
        #expect(mirror.get("/v2/team/app/manifests/v1").status == 200)
        mirror.wait(until: { !mirror.puller.incompleteImages.isEmpty })
        #expect(mirror.get(Self.path(Self.image.layers[0], "team/other")).status == 200)
        mirror.settle()
        #expect(mirror.fake.requests.count == 2 && !mirror.puller.incompleteImages.isEmpty)
        mirror.close()
    }
}

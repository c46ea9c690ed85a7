// Upstreams that answer a GET and refuse the HEAD of the same content.

import TestSupport
import Testing

@testable import Configuration
@testable import OCI
@testable import Registry

@Suite struct RefusedHeadTests {
    private static let image = FakeImage(seed: 71)
    private static let byTag = "/v2/team/app/manifests/v1"
    private static let blob = "/v2/team/app/blobs/\(digestOf(image.layers[0]))"

    private func mirror(_ status: Int, latest: Bool = false) throws -> MirrorKit {
        let mirror = try MirrorKit {
            $0.policy.tags = TagPolicies(checksLatest: latest)
        }
        mirror.fake.on(Self.byTag) { $0.method == "HEAD" ? .status(status) : Self.image.answer }
        mirror.fake.on(Self.blob) { $0.method == "HEAD" ? .status(status) : .blob(Self.image.layers[0], for: $0) }
        return mirror
    }

    @Test("a HEAD that is refused is answered by a GET", arguments: [400, 403, 404, 405, 501])
    func refused(_ status: Int) throws {
        let mirror = try mirror(status)
        let manifest = mirror.head(Self.byTag)
        #expect(manifest.status == 200 && manifest.header("docker-content-digest") == "\(Self.image.digest)")
        #expect(manifest.contentLength == Self.image.manifest.count && manifest.body.isEmpty)
        let blob = mirror.head(Self.blob)
        #expect(blob.status == 200 && blob.contentLength == Self.image.layers[0].count && blob.body.isEmpty)
        #expect(mirror.fake.requests.map(\.method) == ["HEAD", "GET", "HEAD", "GET"])
        mirror.close()
    }

    @Test("a HEAD without a length, or of no length, is answered by a GET")
    func withoutLength() throws {
        let mirror = try mirror(200)
        #expect(mirror.head(Self.byTag).contentLength == Self.image.manifest.count)
        mirror.close()
    }

    @Test("a failure that concerns the GET as well is final", arguments: [500, 503])
    func final(_ status: Int) throws {
        let mirror = try mirror(status)
        #expect(mirror.head(Self.byTag).status == 503 && mirror.head(Self.blob).status == 503)
        #expect(mirror.fake.requests.allSatisfy { $0.method == "HEAD" })
        mirror.close()
    }

    @Test("what a GET does not find either is not found")
    func missing() throws {
        let mirror = try MirrorKit()
        #expect(mirror.head(Self.byTag).status == 404 && mirror.head(Self.blob).status == 404)
        mirror.close()
    }

    @Test("latest moves where its HEAD is refused", arguments: [404, 405])
    func latest(_ status: Int) throws {
        let mirror = try mirror(status, latest: true)
        let target = "/v2/team/app/manifests/latest"
        let newer = FakeImage(seed: 72)
        for image in [Self.image, newer] {
            mirror.fake.on(target) { $0.method == "HEAD" ? .status(status) : image.answer }
            #expect(mirror.get(target).body == image.manifest)
        }
        mirror.fake.on(target, .status(500))
        #expect(mirror.get(target).body == newer.manifest, "stale")
        mirror.close()
    }
}

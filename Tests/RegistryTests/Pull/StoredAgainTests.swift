// Images that are pulled again while a prune waits to remove their files.

import Foundation
import TestSupport
import Testing

@testable import OCI
@testable import Registry

@Suite struct StoredAgainTests {
    /// The files of a step are removed only when the proofs of their content have been. A busy disk makes that a while.
    @Test("an image that is stored again while a prune waits for the disk keeps its files")
    func storedAgain() throws {
        let directory = try TemporaryDirectory()
        let image = FakeImage()
        let mirror = try MirrorKit { $0.imagePath = directory.path }
        image.put(on: mirror.fake, tag: "v1")
        let store = mirror.store
        func pull() {
            #expect(mirror.get("/v2/team/app/manifests/v1").body == image.manifest)
            #expect(mirror.get("/v2/team/app/manifests/\(image.digest)").body == image.manifest)
            for blob in image.blobs { #expect(mirror.get("/v2/team/app/blobs/\(digestOf(blob))").body == blob) }
            mirror.settle()
        }
        pull()
        let gate = Gatekeeper()
        var isPruned = false
        store.prune(selecting: { _ in true }, ignoringLease: true, reporting: { _ in }) { _ in isPruned = true }
        // All threads of the pool are taken when the scan ends, so no file can be written or removed after it.
        for _ in 0..<(Offload.threads + 3) { mirror.offload.run({ gate.pass() }, then: { _ in }) }
        mirror.wait(until: { store.manifests[image.digest] == nil && store.tags.count == 0 })
        let host = MirrorKit.host
        let repository = try #require(RepositoryName("team/app"))
        var written = 0
        store.putManifest(
            image.manifest, digest: image.digest, mediaType: .ociManifest, blobs: image.blobs.map { digestOf($0) }
        ) { _ in written += 1 }
        store.setTag(host: host, repository: repository, tag: "v1", digest: image.digest) { _ in written += 1 }
        store.noteDigest(host: host, repository: repository, digest: image.digest) { _ in written += 1 }
        gate.open()
        mirror.wait(until: { isPruned && written == 3 })
        mirror.settle()
        let layout = store.layout
        let tag = TagName(host: host, repository: repository, tag: "v1")
        for path in [
            layout.manifest(image.digest, .ociManifest), layout.tag(tag),
            layout.nameFile(host, repository, .digest(image.digest)),
        ] {
            #expect((try? Disk.status(at: path)) != nil, "\(path)")
        }
        pull()
        mirror.close()
    }

    @Test("an image that is not stored again loses its files") func notStoredAgain() throws {
        let mirror = try MirrorKit()
        let image = FakeImage()
        image.put(on: mirror.fake, tag: "v1")
        #expect(mirror.get("/v2/team/app/manifests/v1").status == 200)
        mirror.settle()
        var isPruned = false
        mirror.store.prune(selecting: { _ in true }, ignoringLease: true, reporting: { _ in }) { _ in isPruned = true }
        mirror.wait(until: { isPruned })
        #expect((try? Disk.status(at: mirror.store.layout.manifest(image.digest, .ociManifest))) == nil)
        mirror.close()
    }
}

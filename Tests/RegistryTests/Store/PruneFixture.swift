// A cache with images for the tests of pruning.

import TestSupport
import Testing

@testable import OCI
@testable import Registry

/// A store with images that were last used as long ago as a test states.
struct PruneFixture {
    let fixture = Result { try StoreFixture() }
    static let host = RegistryHost("registry.test")!  // a valid host

    var store: Store { get throws { try fixture.get().store } }

    static func repository(_ name: String) -> RepositoryName { RepositoryName(name)! }  // literals of these tests

    /// Puts an image with its blobs under a name; an index above it if `index` is its tag.
    func put(
        _ image: FakeImage, as reference: String, in repository: String = "team/app", usedSecondsAgo: Int64 = 3600
    ) throws {
        let fixture = try fixture.get()
        for blob in image.blobs { try fixture.put(blob) }
        try put(image.manifest, .ociManifest, as: reference, in: repository, usedSecondsAgo: usedSecondsAgo)
    }

    func put(
        _ manifest: [UInt8], _ type: MediaType, as reference: String, in repository: String = "team/app",
        usedSecondsAgo: Int64 = 3600
    ) throws {
        let fixture = try fixture.get()
        let digest = digestOf(manifest)
        let _: Result<CachedManifest, StoreError> = try fixture.wait {
            fixture.store.putManifest(manifest, digest: digest, mediaType: type, then: $0)
        }
        let name = Self.repository(repository)
        let error: StoreError? = try fixture.wait { done in
            switch Reference(reference) {
            case .tag(let tag):
                fixture.store.setTag(host: Self.host, repository: name, tag: tag, digest: digest, then: done)
            default: fixture.store.noteDigest(host: Self.host, repository: name, digest: digest, then: done)
            }
        }
        #expect(error == nil)
        use(digest, secondsAgo: usedSecondsAgo)
    }

    func use(_ digest: Digest, secondsAgo: Int64) {
        (try? store)?.accessTimes.touch(digest, at: EventLoop.unixSeconds - secondsAgo)
    }

    func names() throws -> [String] {
        let fixture = try fixture.get()
        let images: Result<[CachedImage], any Error> = try fixture.wait {
            fixture.store.images(making: { $0 }, then: $0)
        }
        return try images.get().map { String($0.name.dropFirst("registry.test/".count).prefix(24)) }
    }

    @discardableResult
    func prune(
        limit: Int? = nil, dryRun: Bool = false, ignoringLease: Bool = false,
        _ selecting: @escaping @Sendable (CachedImage) throws -> Bool = { _ in true }
    ) throws -> PruneReport {
        let fixture = try fixture.get()
        let result: Result<PruneReport, any Error> = try fixture.wait { done in
            fixture.store.prune(
                selecting: selecting, limit: limit, dryRun: dryRun, ignoringLease: ignoringLease,
                reporting: { $0 }, then: done)
        }
        return try result.get()
    }

    func has(_ blob: [UInt8]) throws -> Bool {
        let fixture = try fixture.get()
        let file: OpenFile? = try fixture.wait { fixture.store.findBlob(digestOf(blob), then: $0) }
        return file != nil
    }

    /// Every manifest that can be found has all its blobs.
    func expectWhole(_ images: [FakeImage], _ location: SourceLocation = #_sourceLocation) throws {
        let fixture = try fixture.get()
        for image in images where try fixture.findManifest(image.digest) != nil {
            for blob in image.blobs { #expect(try has(blob), sourceLocation: location) }
        }
    }
}

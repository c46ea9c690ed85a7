// Referrers follow their images: into the cache by loads, out of it by exports, and out of it by prunes.

import Foundation
import TestSupport
import Testing

@testable import ImageArchive
@testable import OCI
@testable import Registry

@Suite struct ReferrerLifeTests {
    private typealias Signed = SignedImage
    private let files: TemporaryDirectory
    private static let empty = Array("{}".utf8)
    private static let name = "registry.test/team/app:v1"

    init() throws { files = try TemporaryDirectory() }

    private func load(
        _ mirror: MirrorKit, _ text: String, _ change: (inout LoadChoices) -> Void = { _ in }
    ) throws -> LoadReport {
        var choices = LoadChoices(platforms: .only(Platform(os: "linux", architecture: "amd64")))
        change(&choices)
        let context = LoadContext(
            loop: mirror.run.loop, offload: mirror.offload, store: mirror.store, puller: mirror.puller,
            names: mirror.api.names, tags: mirror.api.tags, pseudonym: "test")
        var report: LoadReport?
        Loader(context, choices, onEvent: { _ in }).load(text) { report = $0 }
        mirror.wait(until: { report != nil })
        return try #require(report)
    }

    /// An upstream with an image, a signature of it, a signature of that, and one under cosign's tag.
    private func put(on fake: FakeUpstream) -> (signature: [UInt8], second: [UInt8], old: FakeImage) {
        Signed.put(on: fake)
        let signature = Signed.signature(1)
        let second = Array(
            String(decoding: Signed.signature(2), as: UTF8.self).replacingOccurrences(
                of: "\(Signed.image.digest)", with: "\(digestOf(signature))"
            ).utf8)
        let old = FakeImage(layerBytes: [10], seed: 9)
        old.put(on: fake, tag: "sha256-\(Signed.image.digest.hex).sig")
        fake.on(Signed.referrers, Signed.index([Signed.entry(1)]))
        let entry = FakeImage.descriptor(FakeImage.type, second)
        fake.on("/v2/team/app/referrers/\(digestOf(signature))", Signed.index([entry]))
        for bytes in [signature, second] {
            fake.on(
                "/v2/team/app/manifests/\(digestOf(bytes))",
                .manifest(bytes, type: FakeImage.type, digest: "\(digestOf(bytes))"))
        }
        fake.on("/v2/team/app/blobs/\(digestOf(Self.empty))", .ok(Self.empty))
        return (signature, second, old)
    }

    @Test("a load with referrers brings signatures along, an export takes them, and an air-gapped server lists them")
    func journey() throws {
        let path = "\(files.path)/out"
        var parts: (signature: [UInt8], second: [UInt8], old: FakeImage)?
        do {
            let mirror = try MirrorKit()
            parts = put(on: mirror.fake)
            let list = try files.write(Self.name, to: "list.txt")
            let report = try load(mirror, list) { $0.includesReferrers = true }
            #expect(report.failures.isEmpty && report.progress.loaded == 1, "\(report.failures)")
            #expect(try load(mirror, list) { $0.includesReferrers = true }.progress.present == 1)
            mirror.settle()
            let export = try CacheExport(
                imagePath: mirror.directory.path, .named([try #require(ImageName(Self.name))]))
            #expect(export.problems.isEmpty && export.names.count == 4, "\(export.names)")
            try export.write(to: path) { _ in }
            mirror.close()
        }
        let (signature, second, old) = try #require(parts)
        let mirror = try MirrorKit { $0.policy.airGapped = true }
        #expect(mirror.get(Signed.referrers).status == 503)
        #expect(try load(mirror, path) { $0.isAirGapped = true }.failures.isEmpty)
        mirror.settle()
        let lists = [(Signed.image.digest, [signature]), (digestOf(signature), [second]), (digestOf(second), [])]
        for (subject, expected) in lists {
            let answer = mirror.get("/v2/team/app/referrers/\(subject)")
            #expect(answer.status == 200, "\(subject)")
            #expect(try ReferrersIndex(answer.body).entries.map(\.digest) == expected.map { "\(digestOf($0))" })
        }
        for bytes in [signature, second] {
            #expect(mirror.get("/v2/team/app/manifests/\(digestOf(bytes))").body == bytes)
        }
        #expect(mirror.get("/v2/team/app/manifests/sha256-\(Signed.image.digest.hex).sig").body == old.manifest)
        #expect(mirror.fake.connectionCount == 0)
        mirror.close()
    }

    @Test("without the option a load asks for no referrers, and with it a failing list fails the image")
    func option() throws {
        let mirror = try MirrorKit()
        _ = put(on: mirror.fake)
        let list = try files.write(Self.name, to: "list.txt")
        #expect(try load(mirror, list).failures.isEmpty)
        #expect(mirror.fake.requests(to: Signed.referrers).isEmpty)
        mirror.fake.on(Signed.referrers, .status(500))
        let report = try load(mirror, list) { $0.includesReferrers = true }
        #expect(report.failures.first?.reason.contains("the referrers of registry.test/team/app@") == true)
        // A list may name what the registry has removed since.
        mirror.fake.on(Signed.referrers, Signed.index([Signed.entry(1), Signed.entry(8)]))
        #expect(try load(mirror, list) { $0.includesReferrers = true }.failures.isEmpty)
        mirror.close()
    }

    @Test(
        "a load says what it has left out of an endless list of referrers", arguments: ["manifests", "blobs", "bytes"])
    func limits(_ what: String) throws {
        let mirror = try MirrorKit()
        _ = put(on: mirror.fake)
        switch what {
        case "manifests": mirror.puller.referrersLimits.manifests = 2
        case "blobs": mirror.puller.referrersLimits.blobs = 1
        default: mirror.puller.referrersLimits.blobBytes = 1
        }
        let report = try load(mirror, try files.write(Self.name, to: "list.txt")) { $0.includesReferrers = true }
        let reasons = report.failures.map(\.reason).filter { $0.contains("more referrers than are fetched") }
        #expect(reasons.count == 1, "\(report.failures)")
        #expect(reasons.first?.contains(what == "manifests" ? "manifests beyond" : "blobs beyond") == true)
        mirror.close()
    }

    @Test("a layout's referrers without names belong to the repository of their image", arguments: [false, true])
    func unnamed(_ isResolved: Bool) throws {
        let (image, signature) = (Signed.image, Signed.signature(1))
        try FileManager.default.createDirectory(
            atPath: "\(files.path)/layout/blobs/sha256", withIntermediateDirectories: true)
        for bytes in image.blobs + [image.manifest, signature, Self.empty] {
            try Data(bytes).write(to: URL(fileURLWithPath: "\(files.path)/layout/blobs/sha256/\(digestOf(bytes).hex)"))
        }
        let name = isResolved ? "v1" : Self.name
        let named =
            FakeImage.descriptor(FakeImage.type, image.manifest).dropLast()
            + ",\"annotations\":{\"org.opencontainers.image.ref.name\":\"\(name)\"}}"
        let entries = "\(named),\(FakeImage.descriptor(FakeImage.type, signature))"
        _ = try files.write("{\"schemaVersion\":2,\"manifests\":[\(entries)]}", to: "layout/index.json")
        _ = try files.write("{\"imageLayoutVersion\":\"1.0.0\"}", to: "layout/oci-layout")
        let mirror = try MirrorKit { $0.policy.airGapped = true }
        let report = try load(mirror, "\(files.path)/layout") {
            if isResolved { $0.resolveAs = ImageName(Self.name) }
        }
        #expect(report.failures.isEmpty && report.progress.loaded == 2, "\(report.failures)")
        mirror.settle()
        let answer = mirror.get(Signed.referrers)
        #expect(try ReferrersIndex(answer.body).entries.map(\.digest) == ["\(digestOf(signature))"])
        mirror.close()
    }

    // MARK: Pruning

    @Test("a referrer is used when its image is, and leaves with it unless it has a name of its own")
    func pruning() throws {
        let cache = PruneFixture()
        let (image, other) = (Signed.image, FakeImage(seed: 8))
        let (signature, named) = (Signed.signature(1), Signed.signature(2))
        let tag = "sha256-\(image.digest.hex).sig"
        let old = FakeImage(layerBytes: [10], seed: 9)
        try cache.put(image, as: "v1", usedSecondsAgo: 1000)
        try cache.put(other, as: "v2", usedSecondsAgo: 3000)
        try cache.put(signature, .ociManifest, as: "\(digestOf(signature))", usedSecondsAgo: 9000)
        try cache.put(named, .ociManifest, as: "my-signature", usedSecondsAgo: 9000)
        try cache.put(old, as: tag, usedSecondsAgo: 9000)
        let cutoff = EventLoop.unixSeconds - 2000
        let first = try cache.prune(ignoringLease: true) { $0.pulledSeconds < cutoff }
        #expect(Set(first.images.map(\.reference)) == [.tag("v2"), .tag("my-signature")])
        let second = try cache.prune(ignoringLease: true) { $0.reference == .tag("v1") }
        #expect(second.images.map(\.reference).first == .tag("v1"), "its referrers after it")
        #expect(second.images.count == 3)
        #expect(try cache.names().isEmpty)
    }

    @Test("the referrers of a pinned image stay, those of others do not")
    func pinned() throws {
        let image = Signed.image
        let scan = { (pinned: Bool) throws -> [Reference] in
            let cache = PruneFixture()
            let signature = Signed.signature(1)
            try cache.put(image, as: "v1")
            try cache.put(signature, .ociManifest, as: "\(digestOf(signature))", usedSecondsAgo: 9000)
            let layout = try cache.store.layout
            let all = try ImageScan(layout)
            let images = all.images(DigestMap())
            let isPinned = { (image: CachedImage) in pinned && image.name.hasSuffix(":v1") }
            return ReferrerLife(images, all).select(images, isPinned: isPinned, selecting: { !isPinned($0) })
                .map(\.image.reference)
        }
        #expect(try scan(true).isEmpty)
        #expect(try scan(false).count == 2)
    }
}

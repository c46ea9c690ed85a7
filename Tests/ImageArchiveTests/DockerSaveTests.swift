// Tarballs without a registry's manifest: one is made, always the same.

import TestSupport
import Testing

@testable import Configuration
@testable import ImageArchive
@testable import OCI
@testable import Registry

@Suite struct DockerSaveTests {
    private let directory: TemporaryDirectory

    init() throws { directory = try TemporaryDirectory() }

    private func open(_ sample: SampleArchive) throws -> ImageArchive {
        try ImageArchive.open(try sample.write(to: directory, "image.tar"))
    }

    @Test("a docker save tarball gets a Docker manifest built from its config and layers") func manifest() throws {
        let sample = SampleArchive.saved()
        let archive = try open(sample)
        #expect(archive.kind == .dockerSave)
        #expect(archive.images.map { $0.names.map(\.description) } == [["docker.io/library/one:1"]])
        let selection = try #require(try archive.select(.only(.machine)).first)
        let manifest = try #require(selection.manifests.first)
        #expect(manifest.isMade && manifest.mediaType == .dockerManifest)
        let layers = ["first", "second"].map { Array($0.utf8) }
        let digests = layers.map { layer in layer.withUnsafeBytes { Digest.of($0) } }
        let config = sample.files[0]
        let type = "application/vnd.docker.image.rootfs.diff.tar"
        #expect(
            String(decoding: manifest.bytes, as: UTF8.self) == """
                {"schemaVersion":2,"mediaType":"application/vnd.docker.distribution.manifest.v2+json",\
                "config":{"mediaType":"application/vnd.docker.container.image.v1+json","size":\(config.content.count),\
                "digest":"sha256:\(config.name.dropLast(5))"},\
                "layers":[{"mediaType":"\(type)","size":5,"digest":"\(digests[0])"},\
                {"mediaType":"\(type)","size":6,"digest":"\(digests[1])"}]}
                """)
        let decoded = try Manifest.decode(manifest.bytes, contentType: MediaType.dockerManifest.text)
        #expect(decoded.ownBlobs == selection.blobs)
        let contents = try archive.contents(selection.blobs.map(\.digest))
        #expect(digests.map { contents[$0] } == layers)
        // The order of the files, and whatever else is there, change nothing.
        var other = sample
        other.files.reverse()
        other.add("repositories", "{}")
        #expect(try open(other).images.map(\.top) == [manifest.digest])
    }

    /// Tools that are not docker put compressed layers into such tarballs.
    @Test(
        "compressed layers of a docker save tarball are accepted, checked and bounded",
        .needs(.zstd), arguments: ["gzip", "zstd"])
    func compressedLayers(_ program: String) throws {
        let layer = (0..<300_000).map { UInt8(truncatingIfNeeded: $0 / 3) }
        var sample = SampleArchive.saved([layer, Array("plain".utf8)])
        let packed = try Command.check([program, "-q", "-c", try directory.write(layer, to: "layer")])
        sample.replace("layer0/layer.tar", with: packed)
        let archive = try open(sample)
        let selection = try #require(try archive.select(.all).first)
        let digest = packed.withUnsafeBytes { Digest.of($0) }
        #expect(selection.blobs[1].digest == digest)
        #expect(selection.blobs[1].mediaType == "application/vnd.docker.image.rootfs.diff.tar.\(program)")
        #expect(try archive.contents([digest])[digest] == packed)

        // Not what the config says is in it.
        let wrong = try Command.check([program, "-q", "-c", try directory.write([1, 2, 3], to: "layer")])
        sample.replace("layer0/layer.tar", with: wrong)
        let error = #expect(throws: ArchiveError.self) { try open(sample) }
        #expect(error?.entry == "layer0/layer.tar")
        guard case .wrongDigest = error?.problem else { throw try #require(error) }

        // Cut short inside.
        sample.replace("layer0/layer.tar", with: Array(packed.dropLast(20)))
        #expect(throws: ArchiveError.self) { try open(sample) }

        // A bomb.
        let zeros = try Command.check([
            program, "-q", "-c", try directory.write([UInt8](repeating: 0, count: 8 << 20), to: "layer"),
        ])
        sample.replace("layer0/layer.tar", with: zeros)
        var limits = ArchiveLimits()
        limits.freeExpansionBytes = 1 << 20
        limits.expansion = 20
        let path = try sample.write(to: directory, "bomb.tar")
        let bomb = #expect(throws: ArchiveError.self) { try ImageArchive.open(path, limits: limits) }
        guard case .limit = bomb?.problem else { throw try #require(bomb) }
    }

    /// docker writes a layer that two images have in common as a link to the other's.
    @Test("a layer that is a link to another layer is followed, only inside the archive") func layerLinks() throws {
        let sample = SampleArchive.saved()
        let layer = sample.files.first { $0.name == "layer1/layer.tar" }
        var without = sample
        without.remove("layer1/layer.tar")
        without.files.append(("elsewhere/layer.tar", try #require(layer).content))
        let top = try open(sample).images.map(\.top)
        var tar = TarBuilder(without.files)
        tar.add("layer1/layer.tar", type: "2", link: "../elsewhere/layer.tar")
        let path = try directory.write(tar.finished, to: "linked.tar")
        let archive = try ImageArchive.open(path)
        #expect(archive.images.map(\.top) == top)
        #expect(try archive.contents(try archive.select(.all)[0].blobs.map(\.digest)).count == 3)

        for target in ["../../etc/passwd", "/etc/passwd", "../layer1/layer.tar", "../nowhere", ""] {
            var bad = TarBuilder(without.files)
            bad.add("layer1/layer.tar", type: "2", link: target)
            let path = try directory.write(bad.finished, to: "bad.tar")
            #expect(throws: ArchiveError.self, "\(target)") { try ImageArchive.open(path) }
        }
    }

    @Test("a docker save tarball whose config, layers and names disagree is refused") func mismatches() throws {
        var sample = SampleArchive.saved()
        // A layer that does not hash to its diff_id shows when it is read.
        sample.replace("layer0/layer.tar", with: Array("fisrt".utf8))
        let archive = try open(sample)
        let error = #expect(throws: ArchiveError.self) {
            try archive.contents(try archive.select(.all)[0].blobs.map(\.digest))
        }
        #expect(error?.entry == "layer0/layer.tar")
        // A config that is not what it is called.
        var config = SampleArchive.saved()
        config.replace(config.files[0].name, with: config.files[0].content + [0x20])
        #expect(throws: ArchiveError.self) { try open(config) }
        // Fewer layers than the config has.
        var fewer = SampleArchive.saved()
        let list = #"[{"Config":"\#(fewer.files[0].name)","RepoTags":null,"Layers":["layer0/layer.tar"]}]"#
        fewer.replace("manifest.json", with: Array(list.utf8))
        #expect(throws: ArchiveError.self) { try open(fewer) }
        // A layer that is not there, and one by a name that leads outside.
        for name in ["gone/layer.tar", "../layer0/layer.tar", "/layer0/layer.tar"] {
            let text = list.replacing("\"layer0/layer.tar\"", with: "\"layer0/layer.tar\",\"\(name)\"")
            fewer.replace("manifest.json", with: Array(text.utf8))
            #expect(
                try #require(#expect(throws: ArchiveError.self) { try open(fewer) }).entry?.hasSuffix("layer.tar")
                    == true)
        }
    }
}

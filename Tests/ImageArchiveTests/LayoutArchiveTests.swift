// OCI layouts: what is found in them and what of it is chosen.

import TestSupport
import Testing

@testable import Configuration
@testable import ImageArchive
@testable import OCI
@testable import Registry

@Suite struct LayoutArchiveTests {
    private let directory: TemporaryDirectory

    init() throws { directory = try TemporaryDirectory() }

    private func open(_ archive: SampleArchive) throws -> ImageArchive {
        try ImageArchive.open(try archive.write(to: directory, "image.tar"))
    }

    @Test("an OCI layout reads the same as a tarball and as a directory") func tarAndDirectory() throws {
        let (sample, top) = SampleArchive.one()
        let tar = try open(sample)
        let unpacked = try ImageArchive.open(try sample.unpack(to: directory, "layout"))
        for archive in [tar, unpacked] {
            #expect(archive.kind == .ociLayout)
            #expect(archive.images.map(\.top) == [top])
            #expect(archive.images.first?.names.map(\.description) == ["docker.io/library/one:1"])
            let selection = try #require(try archive.select(.only(.machine)).first)
            #expect(selection.manifests.map(\.digest) == [top])
            #expect(selection.manifests.allSatisfy { !$0.isMade })
            #expect(selection.blobs.count == 3)
            let contents = try archive.contents(selection.blobs.map(\.digest))
            #expect(contents.values.contains(Array("second layer".utf8)))
        }
    }

    @Test("blobs are read in bounded steps, each with a begin and an end") func steps() throws {
        var sample = SampleArchive()
        let large = [UInt8](repeating: 7, count: BlobReader.stepBytes * 2 + 5)
        let digests = [sample.addBlob(large), sample.addBlob([]), sample.addBlob([1], .sha512)]
        let top = sample.addImage(["layer"])
        sample.addLayout([sample.descriptor(top, MediaType.ociManifest.text)])
        for archive in [try open(sample), try ImageArchive.open(try sample.unpack(to: directory, "layout"))] {
            let reader = try BlobReader(archive, blobs: digests)
            var sizes: [Digest: [Int]] = [:]
            var ended: Set<Digest> = []
            var current: Digest?
            while let step = try reader.next() {
                switch step {
                case .begin(let digest, let size):
                    current = digest
                    sizes[digest] = [Int(size)]
                case .bytes(let bytes): if let current { sizes[current]?.append(bytes.count) }
                case .end(let digest): ended.insert(digest)
                }
            }
            #expect(ended == Set(digests))
            #expect(sizes[digests[1]] == [0])
            #expect(sizes[digests[2]] == [1, 1])
            let pieces = try #require(sizes[digests[0]])
            #expect(pieces[0] == large.count && pieces.dropFirst().reduce(0, +) == large.count)
            #expect(pieces.dropFirst().allSatisfy { $0 <= BlobReader.stepBytes * 2 })
            #expect(try reader.next() == nil)
        }
    }

    /// Whole names, bare words, containerd's key first, several names of one image, no name at all.
    @Test("names come from annotations, and a bare tag is a label instead of a name") func names() throws {
        var sample = SampleArchive()
        let images = ["a", "b", "c"].map { sample.addImage([$0]) }
        let type = MediaType.ociManifest.text
        let both = """
            ,"annotations":{"io.containerd.image.name":"quay.io/x/y:2","org.opencontainers.image.ref.name":"2"}
            """
        sample.addLayout([
            sample.descriptor(images[0], type, SampleArchive.name("latest")), sample.descriptor(images[1], type, both),
            sample.descriptor(images[1], type, SampleArchive.name("hello:1")), sample.descriptor(images[2], type),
        ])
        let archive = try open(sample)
        #expect(archive.images.map(\.top) == images)
        #expect(
            archive.images.map { $0.names.map(\.description) } == [
                [], ["quay.io/x/y:2", "docker.io/library/hello:1"], [],
            ])
        #expect(archive.images.map(\.label) == ["latest", "2", nil])
    }

    /// Newer dockers: the layout has no whole names, and manifest.json beside it has.
    @Test("names come from manifest.json where the layout has none") func namesFromManifestJSON() throws {
        var sample = SampleArchive()
        let top = sample.addImage(["a"])
        sample.addLayout([sample.descriptor(top, MediaType.ociManifest.text, SampleArchive.name("1"))])
        let config = try #require(try open(sample).manifests[top]?.blobs.first?.digest)
        sample.add(
            "manifest.json",
            """
            [{"Config":"\(EntryName.blob(config))","RepoTags":["one:1","quay.io/two:2"],"Layers":[]}]
            """)
        let archive = try open(sample)
        #expect(archive.kind == .ociLayout)
        #expect(archive.images.first?.names.map(\.description) == ["docker.io/library/one:1", "quay.io/two:2"])
    }

    /// An index of three platforms of which two are here, with attestations of both.
    @Test("the wanted platforms of an index are selected with their attestations") func platforms() throws {
        var sample = SampleArchive()
        let type = MediaType.ociManifest.text
        let amd = sample.addImage(["amd64"])
        let arm = sample.addImage(["arm64"])
        let absent =
            #"{"mediaType":"\#(type)","digest":"sha256:\#(String(repeating: "0", count: 64))","size":9"#
            + SampleArchive.platform("linux/s390x") + "}"
        func attestation(_ digest: Digest, of subject: Digest) -> String {
            sample.descriptor(
                digest, type,
                SampleArchive.platform("unknown/unknown")
                    + #","annotations":{"vnd.docker.reference.digest":"\#(subject)"}"#)
        }
        let amdNote = sample.addImage(["about amd64"])
        let armNote = sample.addImage(["about arm64"])
        let index = sample.addIndex([
            sample.descriptor(amd, type, SampleArchive.platform("linux/amd64")),
            sample.descriptor(arm, type, SampleArchive.platform("linux/arm64")), absent,
            attestation(amdNote, of: amd), attestation(armNote, of: arm),
        ])
        sample.addLayout([sample.descriptor(index, MediaType.ociIndex.text, SampleArchive.name("x.io/multi:1"))])
        let archive = try open(sample)
        func chosen(_ choice: PlatformChoice) throws -> [Digest] {
            try archive.select(choice).flatMap { $0.manifests.map(\.digest) }
        }
        #expect(try chosen(.only(Platform(os: "linux", architecture: "arm64"))) == [arm, armNote, index])
        #expect(try chosen(.all) == [amd, arm, amdNote, armNote, index])
        let none = Platform(os: "linux", architecture: "s390x")
        let error = #expect(throws: ArchiveError.self) { try archive.select(.only(none)) }
        let found = ["amd64", "arm64"].map { Platform(os: "linux", architecture: $0) }
        #expect(error?.problem == .noPlatform(wanted: none, found: found))
        #expect(error?.entry == "x.io/multi:1")
    }

    /// Some tools list each platform's image in index.json itself, all of one name.
    @Test("platform images listed in index.json under one name are selected by platform")
    func topLevelPlatforms() throws {
        var sample = SampleArchive()
        let images = ["amd64", "arm64"].map { sample.addImage([$0]) }
        sample.addLayout(
            zip(images, ["linux/amd64", "linux/arm64"]).map { image, platform in
                sample.descriptor(
                    image, MediaType.ociManifest.text,
                    SampleArchive.platform(platform) + SampleArchive.name("x.io/multi:1"))
            })
        let archive = try open(sample)
        let arm = try archive.select(.only(Platform(os: "linux", architecture: "arm64")))
        #expect(arm.map(\.image.top) == [images[1]])
        let error = #expect(throws: ArchiveError.self) { try archive.select(.all) }
        guard case .ambiguous = error?.problem else { throw try #require(error) }
    }

    /// Types that are no manifest's are passed over, foreign layers may be absent.
    @Test("descriptors of other types are ignored, and foreign layers may be absent") func ignoredContent() throws {
        var sample = SampleArchive()
        let note = sample.addBlob(Array("<xml/>".utf8))
        let config = sample.addBlob(Array("{}".utf8))
        let foreign =
            #"{"mediaType":"a/b","digest":"sha256:\#(String(repeating: "1", count: 64))","size":5,"#
            + #""urls":["https://x.example/layer"]}"#
        let text = #"{"schemaVersion":2,"config":\#(sample.descriptor(config, "c/d")),"layers":[\#(foreign)]}"#
        let top = sample.addBlob(Array(text.utf8))
        sample.addLayout([sample.descriptor(note, "text/xml"), sample.descriptor(top, MediaType.ociManifest.text)])
        let selection = try #require(try open(sample).select(.all).first)
        #expect(selection.blobs.map(\.digest) == [config])
    }

    /// Documents that do not fit the first pass's memory are read in later ones.
    @Test("documents beyond the memory of one pass are read in further passes, up to a limit")
    func manyDocuments() throws {
        var sample = SampleArchive()
        let images = (0..<40).map { sample.addImage(["\($0)"]) }
        let index = sample.addIndex(images.map { sample.descriptor($0, MediaType.ociManifest.text) })
        sample.addLayout([sample.descriptor(index, MediaType.ociIndex.text)])
        var limits = ArchiveLimits()
        limits.documentsBytes = 40 * 512
        let path = try sample.write(to: directory, "image.tar")
        #expect(try ImageArchive.open(path, limits: limits).manifests.count == 41)
        limits.documentsBytes = 4096
        let error = #expect(throws: ArchiveError.self) { try ImageArchive.open(path, limits: limits) }
        guard case .limit = error?.problem else { throw try #require(error) }
    }
}

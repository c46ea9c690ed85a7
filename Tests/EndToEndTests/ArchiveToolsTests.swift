// Archives written by the tools that people write them with, read here; and what is written here, read by them.

import Foundation
import TestSupport
import Testing

@testable import ImageArchive
@testable import OCI
@testable import Registry

@Suite(.needs(.sampleImages, .zstd)) struct ArchiveToolsTests {
    private let files: TemporaryDirectory
    private let name = "docker.io/library/small:1.0"

    init() throws { files = try TemporaryDirectory() }

    /// A layout with an image of three layers, one of them a megabyte of noise, made with umoci.
    private func makeLayout() throws -> String {
        let layout = files.file("layout")
        try Command.check(["umoci", "init", "--layout", layout])
        try Command.check(["umoci", "new", "--image", "\(layout):latest"])
        let noise = try FileHandle(forReadingFrom: URL(fileURLWithPath: "/dev/urandom")).read(upToCount: 1 << 20)
        try files.write([UInt8](noise ?? Data()), to: "noise")
        for (index, file) in ["noise", "second", "third"].enumerated() {
            if index > 0 { try files.write("\(file)\n", to: file) }
            try Command.check(["umoci", "insert", "--image", "\(layout):latest", files.file(file), "/\(file)"])
        }
        return layout
    }

    private func skopeo(_ arguments: String...) throws {
        try Command.check(
            ["skopeo", "--insecure-policy", "--tmpdir", files.path, "copy", "--quiet"] + arguments,
            environment: ["TMPDIR": files.path])
    }

    /// The manifest as the layout's own files have it.
    private func rawManifest(_ source: String) throws -> [UInt8] {
        try Command.check(["skopeo", "inspect", "--raw", source])
    }

    private func packed(_ path: String) throws -> [String] {
        try Command.check(["gzip", "-k", path])
        try Command.check(["zstd", "-q", "-k", path])
        return [path, path + ".gz", path + ".zst"]
    }

    /// All that is chosen can be read, and verifies.
    private func read(_ archive: ImageArchive) throws -> ImageSelection {
        let selection = try #require(try archive.select(.only(.machine)).first)
        let contents = try archive.contents(selection.blobs.map(\.digest))
        #expect(selection.blobs.allSatisfy { Int64(contents[$0.digest]?.count ?? -1) == $0.sizeBytes })
        return selection
    }

    private func config(of selection: ImageSelection) throws -> Digest {
        let top = try #require(selection.manifests.last)
        return try #require(try Manifest.decode(top.bytes, contentType: nil).config).digest
    }

    @Test("a layout directory made by umoci is read with its manifest unchanged") func umociLayoutDirectory() throws {
        let layout = try makeLayout()
        let archive = try ImageArchive.open(layout)
        #expect(archive.images.count == 1 && archive.images[0].names.isEmpty && archive.images[0].label == "latest")
        #expect(try read(archive).manifests.last?.bytes == rawManifest("oci:\(layout):latest"))
    }

    @Test("an oci-archive made by skopeo is read with its manifest unchanged") func skopeoOCIArchive() throws {
        let layout = try makeLayout()
        let tar = files.file("oci.tar")
        try skopeo("oci:\(layout):latest", "oci-archive:\(tar):\(name)")
        for path in try packed(tar) {
            let archive = try ImageArchive.open(path)
            #expect(archive.kind == .ociLayout && archive.images[0].names.map(\.description) == [name])
            #expect(try read(archive).manifests.last?.bytes == rawManifest("oci:\(layout):latest"))
        }
    }

    /// The same image always gives the same manifest, which skopeo takes from the layout written here.
    @Test("a docker-archive made by skopeo always gives the same manifest") func skopeoDockerArchive() throws {
        let layout = try makeLayout()
        let tar = files.file("docker.tar")
        try skopeo("oci:\(layout):latest", "docker-archive:\(tar):\(name)")
        var tops: Set<Digest> = []
        for path in try packed(tar) {
            let archive = try ImageArchive.open(path)
            #expect(archive.kind == .dockerSave && archive.images[0].names.map(\.description) == [name])
            let selection = try read(archive)
            #expect(selection.blobs.count == 4)
            tops.insert(selection.image.top)
        }
        #expect(tops.count == 1)
        let again = files.file("again.tar")
        try skopeo("oci:\(layout):latest", "docker-archive:\(again):\(name)")
        #expect(try ImageArchive.open(again).images.map(\.top) == Array(tops))
    }

    /// An index over three platforms, whole and of one platform, carried out and in again.
    @Test("skopeo reads written layouts of an index with all platforms and with one") func skopeoIndexes() throws {
        let registry = try DockerRegistry(storing: try SampleImages.storage())
        let layout = files.file("multi")
        let source = "docker://\(registry.address)/\(SampleImage.multi)"
        try skopeo("--all", "--src-tls-verify=false", source, "oci:\(layout):\(name)")
        let archive = try ImageArchive.open(layout)
        let all = try #require(try archive.select(.all).first)
        #expect(all.manifests.count == 4 && all.manifests.last?.mediaType == .ociIndex)
        let arm = try #require(try archive.select(.only(Platform(os: "linux", architecture: "arm64"))).first)
        #expect(arm.manifests.count == 2 && arm.image.top == all.image.top)

        // Out again, by this server's writer: everything, and the index with one platform of three.
        for (selection, file) in [(all, "all"), (arm, "arm")] {
            for form in [ImageLayoutWriter.Form.tar, .directory] {
                let path = files.file("\(file)-\(form)")
                try write(selection, of: archive, to: path, form)
                let transport = form == .tar ? "oci-archive" : "oci"
                let from = "\(transport):\(path):\(name)"
                let to = files.file("copied-\(file)-\(form)")
                if file == "all" {
                    try skopeo("--all", from, "dir:\(to)")
                } else {
                    try skopeo("--override-arch", "arm64", from, "dir:\(to)")
                }
                let manifest = try Data(contentsOf: URL(fileURLWithPath: "\(to)/manifest.json"))
                #expect(Array(manifest) == (file == "all" ? all.manifests.last?.bytes : arm.manifests.first?.bytes))
                #expect(try ImageArchive.open(path).images.map(\.top) == [all.image.top])
            }
        }
        try registry.stop()
    }

    @Test(
        "archives saved by podman are read with every name, in each format",
        .needs(.podman), arguments: ["docker-archive", "oci-archive", "oci-dir", "docker-archive-many"])
    func podmanSaves(_ format: String) throws {
        let layout = try makeLayout()
        let podman = try Podman(registries: "unqualified-search-registries = []\n")
        try skopeo("oci:\(layout):latest", "oci-archive:\(files.file("made.tar")):\(name)")
        try podman("load", "--quiet", "--input", files.file("made.tar"))
        let path = files.file("saved")
        let names: [String]
        if format == "docker-archive-many" {
            let more = ["quay.io/x/y:2", "localhost/z:3"]
            try podman("tag", name, more[0])
            try podman("tag", name, more[1])
            try podman("save", "--quiet", "--multi-image-archive", "--output", path, name, more[0], more[1])
            names = [name] + more
        } else {
            try podman("save", "--quiet", "--format", format, "--output", path, name)
            names = [name]
        }
        let archive = try ImageArchive.open(path)
        #expect(archive.images.flatMap(\.names).map(\.description).sorted() == names.sorted())
        #expect(archive.kind == (format.hasPrefix("docker") ? .dockerSave : .ociLayout))
        _ = try read(archive)
    }

    /// Two images with layers in common, of which docker writes links to the first image's.
    @Test("a tarball of two images with shared layers saved by docker is read", .needs(.root, .docker, .containerd))
    func dockerSaves() throws {
        let layout = try makeLayout()
        let more = try files.write("more\n", to: "more")
        try Command.check(["umoci", "insert", "--image", "\(layout):latest", "--tag", "more", more, "/more"])
        let docker = try Docker(mirror: "127.0.0.1:9")
        var expected: Set<Digest> = []
        for (tag, image) in [("latest", "small:1.0"), ("more", "quay.io/more/x:2")] {
            let path = files.file("\(tag).tar")
            try skopeo("oci:\(layout):\(tag)", "docker-archive:\(path):\(image)")
            expected.insert(try config(of: try read(try ImageArchive.open(path))))
            try docker("load", "--quiet", "--input", path)
        }
        let saved = files.file("saved.tar")
        try docker("save", "--output", saved, "small:1.0", "quay.io/more/x:2")
        let archive = try ImageArchive.open(saved)
        let selections = try archive.select(.only(.machine))
        let names = selections.flatMap { $0.image.names.map(\.description) }
        #expect(names.sorted() == [name, "quay.io/more/x:2"])
        // docker keeps layers as files and makes the tarballs anew, and from release 25 a manifest of its own. The
        // config, and so what the image is, stays.
        let contents = try archive.contents(Set(selections.flatMap { $0.blobs.map(\.digest) }))
        #expect(contents.count == 2 + 4)
        #expect(Set(try selections.map(config)) == expected)
    }

    /// (podman takes the name of an unpacked layout from its path, so that goes by skopeo above.)
    @Test("podman loads a written tarball with the same digest", .needs(.podman)) func podmanLoads() throws {
        let archive = try ImageArchive.open(try makeLayout())
        let path = files.file("written")
        try write(try read(archive), of: archive, to: path, .tar)
        let podman = try Podman(registries: "unqualified-search-registries = []\n")
        try podman("load", "--quiet", "--input", path)
        let digest = try podman("image", "inspect", "--format", "{{.Digest}}", name)
        #expect(digest == archive.images[0].top.description)
    }

    /// As `export` will: each blob in a file, and the writer over them.
    private func write(
        _ selection: ImageSelection, of archive: ImageArchive, to path: String, _ form: ImageLayoutWriter.Form
    ) throws {
        var blobs: [LayoutBlob] = []
        for (digest, bytes) in try archive.contents(selection.blobs.map(\.digest)) {
            let file = try files.write(bytes, to: "store/\(digest.hex)")
            blobs.append(LayoutBlob(digest: digest, sizeBytes: Int64(bytes.count), path: file))
        }
        try ImageLayoutWriter(
            images: [LayoutImage(name: try #require(ImageName(name)), top: selection.image.top)],
            manifests: selection.manifests.map {
                LayoutManifest(digest: $0.digest, mediaType: $0.mediaType, bytes: $0.bytes)
            },
            blobs: blobs
        ).write(to: path, form)
    }
}

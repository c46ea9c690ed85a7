// What is written can be read, and is the same every time.

import Foundation
import TestSupport
import Testing

@testable import ImageArchive
@testable import OCI
@testable import Registry

@Suite struct ImageLayoutWriterTests {
    private let directory: TemporaryDirectory

    init() throws { directory = try TemporaryDirectory() }

    /// A writer for an index over two images, one with a sha512 digest, whose blobs lie in files.
    private func writer(damaging damaged: String? = nil) throws -> ImageLayoutWriter {
        var sample = SampleArchive()
        let type = MediaType.ociManifest.text
        let images = [sample.addImage(["one"]), sample.addImage(["two"], .sha512)]
        let index = sample.addIndex([
            sample.descriptor(images[0], type, SampleArchive.platform("linux/amd64")),
            sample.descriptor(images[1], type, SampleArchive.platform("linux/arm64")),
        ])
        sample.addLayout([sample.descriptor(index, MediaType.ociIndex.text)])
        let archive = try ImageArchive.open(try sample.write(to: directory, "source.tar"))
        let selection = try #require(try archive.select(.all).first)
        let blobs = try archive.contents(selection.blobs.map(\.digest)).map { digest, bytes in
            let isDamaged = damaged.map { bytes == Array($0.utf8) } ?? false
            let path = try directory.write(isDamaged ? bytes.reversed() : bytes, to: "store/\(digest.hex)")
            return LayoutBlob(digest: digest, sizeBytes: Int64(bytes.count), path: path)
        }
        let manifests = selection.manifests.map {
            LayoutManifest(digest: $0.digest, mediaType: $0.mediaType, bytes: $0.bytes)
        }
        let names = ["x.io/multi:2", "x.io/multi:1"].compactMap { ImageName($0) }
        return ImageLayoutWriter(
            images: names.map { LayoutImage(name: $0, top: index) }, manifests: manifests.shuffled(),
            blobs: blobs.shuffled())
    }

    @Test(
        "a written layout reads back with the same images, manifests and blobs",
        arguments: [ImageLayoutWriter.Form.tar, .directory])
    func roundTrip(_ form: ImageLayoutWriter.Form) throws {
        let path = directory.file("out")
        var copied = 0
        try writer().write(to: path, form) { copied += $0 }
        let source = try ImageArchive.open(directory.file("source.tar"))
        let archive = try ImageArchive.open(path)
        #expect(archive.images.map(\.top) == source.images.map(\.top))
        #expect(archive.images[0].names.map(\.description) == ["x.io/multi:1", "x.io/multi:2"])
        #expect(archive.manifests.mapValues(\.bytes) == source.manifests.mapValues(\.bytes))
        let digests = try archive.select(.all)[0].blobs.map(\.digest)
        #expect(Set(digests) == Set(try source.select(.all)[0].blobs.map(\.digest)))
        let contents = try archive.contents(digests)
        #expect(contents.values.reduce(0) { $0 + $1.count } == copied)
        #expect(
            try FileManager.default.contentsOfDirectory(atPath: directory.path).allSatisfy { !$0.hasSuffix(".part") })
        // A second time, something is there.
        #expect(throws: ArchiveError(path, .exists)) { try writer().write(to: path, form) }
    }

    @Test("writing the same images twice gives the same bytes") func reproducible() throws {
        for name in ["a", "b"] { try writer().write(to: directory.file(name), .tar) }
        try Command.check(["cmp", directory.file("a"), directory.file("b")])
        let list = String(
            decoding: try Command.check(["tar", "--full-time", "--utc", "--numeric-owner", "-tvf", directory.file("a")]
            ),
            as: UTF8.self
        ).split(separator: "\n")
        #expect(list.count == 9)
        #expect(list.allSatisfy { $0.hasPrefix("-rw-r--r-- 0/0 ") && $0.contains(" 1970-01-01 00:00:00 ") })
        let names = list.compactMap { $0.split(separator: " ").last }
        #expect(names.prefix(2) == ["oci-layout", "index.json"])
        #expect(names.dropFirst(2).sorted() == Array(names.dropFirst(2)))
    }

    @Test(
        "a damaged blob stops the writer, and no output is left", arguments: [ImageLayoutWriter.Form.tar, .directory])
    func damagedBlob(_ form: ImageLayoutWriter.Form) throws {
        let before = try Set(FileManager.default.contentsOfDirectory(atPath: directory.path))
        let writer = try writer(damaging: "two")
        let error = #expect(throws: ArchiveError.self) { try writer.write(to: directory.file("out"), form) }
        guard case .wrongDigest = error?.problem else { throw try #require(error) }
        #expect(error?.archive.hasPrefix(directory.file("store/")) == true)
        let after = try Set(FileManager.default.contentsOfDirectory(atPath: directory.path))
        #expect(after.subtracting(before) == ["source.tar", "store"])
    }

    @Test("a missing directory or blob file is reported with the failed call") func systemErrors() throws {
        let full = #expect(throws: ArchiveError.self) {
            try self.writer().write(to: directory.file("none/out"), .tar)
        }
        #expect(full?.problem == .system(call: "open", code: ENOENT))
        let digest = [UInt8]([1]).withUnsafeBytes { Digest.of($0) }
        let writer = ImageLayoutWriter(
            images: [], manifests: [], blobs: [LayoutBlob(digest: digest, sizeBytes: 1, path: directory.file("gone"))])
        #expect(throws: ArchiveError(directory.file("gone"), .system(call: "open", code: ENOENT))) {
            try writer.write(to: directory.file("out"), .directory)
        }
    }
}

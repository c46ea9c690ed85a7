// Archives that nobody made to be loaded: each is refused, by name, with the reason.

import Foundation
import TestSupport
import Testing

@testable import ImageArchive
@testable import OCI
@testable import Registry

@Suite struct HostileArchiveTests {
    private let directory: TemporaryDirectory

    init() throws { directory = try TemporaryDirectory() }

    /// What comes of opening it, choosing everything and reading every blob.
    private func refusal(_ path: String, _ limits: ArchiveLimits = ArchiveLimits()) -> ArchiveError? {
        #expect(throws: ArchiveError.self) {
            let archive = try ImageArchive.open(path, limits: limits)
            let selections = try archive.select(.all)
            try archive.readBlobs(Set(selections.flatMap { $0.blobs.map(\.digest) })) { _, _ in }
        }
    }

    private func refusal(_ sample: SampleArchive, _ limits: ArchiveLimits = ArchiveLimits()) throws -> ArchiveError? {
        refusal(try sample.write(to: directory, "image.tar"), limits)
    }

    private func refusal(adding change: (inout TarBuilder) -> Void) throws -> ArchiveError? {
        var tar = TarBuilder(SampleArchive.one().archive.files)
        change(&tar)
        return refusal(try directory.write(tar.finished, to: "image.tar"))
    }

    @Test(
        "an entry whose name leads outside or has control characters is refused",
        arguments: ["/etc/passwd", "../x", "a/../../x", "blobs/..", "a\u{7}b"])
    func badNames(_ name: String) throws {
        let error = try refusal { $0.add(name) }
        #expect(error?.entry == name && error?.problem == .badName)
        #expect(error.map { !$0.description.contains("\u{7}") } == true)
    }

    @Test("an entry name longer than 4096 bytes is refused") func longNames() throws {
        let error = try refusal {
            $0.addLongName(String(repeating: "a", count: 5000))
            $0.add("a")
        }
        #expect(error?.problem == .limit("a name longer than 4096 bytes"))
    }

    /// What would be made by unpacking: there is nothing of the kind in an image archive.
    @Test(
        "hard links, devices and FIFOs in an archive are refused",
        arguments: [("1", "a hard link"), ("3", "a device"), ("4", "a device"), ("6", "a FIFO")])
    func specialFiles(_ type: String, _ words: String) throws {
        let error = try refusal { $0.add("x", type: Character(type), link: "index.json") }
        #expect(error == ArchiveError(directory.file("image.tar"), entry: "x", .notAFile(words)))
    }

    /// A link that nothing refers to is nothing; as a blob or a document it is refused.
    @Test("a symbolic link in place of a blob or document is refused, and an unused one ignored") func links() throws {
        let (sample, top) = SampleArchive.one()
        for name in [EntryName.blob(top), "index.json"] {
            var files = sample
            files.remove(name)
            var tar = TarBuilder(files.files)
            tar.add(name, type: "2", link: "/etc/passwd")
            let error = refusal(try directory.write(tar.finished, to: "image.tar"))
            #expect(error?.entry == name)
        }
        var tar = TarBuilder(sample.files)
        tar.add("unrelated", type: "2", link: "/etc/passwd")
        _ = try ImageArchive.open(try directory.write(tar.finished, to: "image.tar"))
    }

    @Test("symbolic links in a layout directory are not followed") func directoryLinks() throws {
        let (sample, top) = SampleArchive.one()
        let path = try sample.unpack(to: directory, "layout")
        let blob = "\(path)/\(EntryName.blob(top))"
        try FileManager.default.moveItem(atPath: blob, toPath: "\(path)/elsewhere")
        try FileManager.default.createSymbolicLink(atPath: blob, withDestinationPath: "../../elsewhere")
        #expect(refusal(path)?.problem == .notAFile("a link"))
        try FileManager.default.removeItem(atPath: blob)
        try FileManager.default.moveItem(atPath: "\(path)/elsewhere", toPath: blob)
        try FileManager.default.moveItem(atPath: "\(path)/blobs", toPath: "\(path)/real")
        try FileManager.default.createSymbolicLink(atPath: "\(path)/blobs", withDestinationPath: "real")
        #expect(refusal(path) != nil)
    }

    @Test("a sparse file in an archive is refused") func sparseFiles() throws {
        try directory.write([], to: "in/index.json")
        #expect(truncate(directory.file("in/index.json"), 1 << 40) == 0)
        try Command.check(["tar", "-C", directory.file("in"), "-Scf", directory.file("image.tar"), "index.json"])
        #expect(refusal(directory.file("image.tar"))?.problem == .notAFile("a sparse file"))
    }

    @Test("entries of the same name are refused unless their content is the same") func duplicates() throws {
        let error = try refusal { $0.add("index.json", Array("{}".utf8)) }
        #expect(error?.entry == "index.json" && error?.problem == .duplicate)
        let (sample, _) = SampleArchive.one()
        let index = try #require(sample.files.last)
        let other = try refusal { $0.add(index.name, [UInt8(ascii: "{")] + index.content.dropFirst(2) + [0x20]) }
        #expect(other?.entry == "index.json" && other?.problem == .duplicate)
        // The same twice is harmless.
        var tar = TarBuilder(sample.files + sample.files)
        tar.add("blobs", type: "5")
        let archive = try ImageArchive.open(try directory.write(tar.finished, to: "image.tar"))
        #expect(try archive.contents(try archive.select(.all).flatMap { $0.blobs.map(\.digest) }).count == 3)
    }

    @Test("content that does not match the digest in its name is refused") func wrongDigests() throws {
        let (sample, top) = SampleArchive.one()
        for file in sample.files where file.name.hasPrefix("blobs/") {
            var bad = sample
            // White space at the end: still JSON where it was.
            bad.replace(file.name, with: file.content.dropLast() + [0x20])
            for path in [try bad.write(to: directory, "image.tar"), try bad.unpack(to: directory, "layout")] {
                let error = refusal(path)
                #expect(error?.entry == file.name)
                guard case .wrongDigest(let expected, _) = error?.problem else {
                    Issue.record("\(String(describing: error))")
                    continue
                }
                #expect(EntryName.blob(expected) == file.name)
            }
            #expect(EntryName.digest(file.name) != nil)
        }
        #expect(sample.files.contains { $0.name == EntryName.blob(top) })
    }

    @Test("blobs of the wrong size and missing blobs are refused") func wrongSizes() throws {
        let (sample, top) = SampleArchive.one()
        for file in sample.files where file.name.hasPrefix("blobs/") {
            var longer = sample
            longer.replace(file.name, with: file.content + [0x20])
            let error = try refusal(longer)
            #expect(error?.entry == file.name)
            let sizes = (Int64(file.content.count), Int64(file.content.count + 1))
            #expect(error?.problem == .wrongSize(expected: sizes.0, found: sizes.1))
            var without = sample
            without.remove(file.name)
            let absent = try refusal(without)
            #expect(absent?.entry == file.name && absent?.problem == .missing)
        }
        #expect(sample.files.contains { $0.name == EntryName.blob(top) })
    }

    /// Cut anywhere, it is an error or, after the last file's end, still whole; never a crash.
    @Test("a truncated archive is an error at any length") func truncation() throws {
        let (sample, _) = SampleArchive.one()
        let bytes = TarBuilder(sample.files).bytes
        for count in stride(from: 0, to: bytes.count - 512, by: 100) {
            #expect(refusal(try directory.write(Array(bytes[..<count]), to: "image.tar")) != nil, "\(count)")
        }
        let error = try refusal { $0.add("blobs/sha256/x", Array("short".utf8), stated: 1 << 30) }
        #expect(error?.problem == .unreadable("the archive is cut short in it"))
    }

    @Test("an archive that decompresses beyond the limit is refused", .needs(.zstd), arguments: ["gzip", "zstd"])
    func bombs(_ program: String) throws {
        let (sample, _) = SampleArchive.one()
        var tar = TarBuilder(sample.files)
        tar.add("zeros", [UInt8](repeating: 0, count: 8 << 20))
        let path = try directory.write(tar.finished, to: "image.tar")
        try Command.check([program, "-q", "-k", path])
        let packed = path + (program == "gzip" ? ".gz" : ".zst")
        _ = try ImageArchive.open(packed)
        var limits = ArchiveLimits()
        limits.freeExpansionBytes = 1 << 20
        limits.expansion = 20
        let error = refusal(packed, limits)
        guard case .limit(let words) = error?.problem else { throw try #require(error) }
        #expect(words.hasPrefix("it decompresses to more than"))
        // Uncompressed, it is as large as it is.
        _ = try ImageArchive.open(path, limits: limits)
        // Many entries, each of which would be allowed.
        var many = TarBuilder(sample.files)
        for index in 0..<64 { many.add("zeros\(index)", [UInt8](repeating: 0, count: 128 << 10)) }
        let second = try directory.write(many.finished, to: "many.tar")
        try Command.check([program, "-q", "-k", second])
        #expect(refusal(second + (program == "gzip" ? ".gz" : ".zst"), limits)?.problem == error?.problem)
    }

    @Test("an archive that is compressed more than once is refused", .needs(.zstd)) func compressedTwice() throws {
        let path = try SampleArchive.one().archive.write(to: directory, "image.tar")
        try Command.check(["gzip", "-k", path])
        _ = try ImageArchive.open(path + ".gz")
        try Command.check(["zstd", "-q", path + ".gz"])
        #expect(refusal(path + ".gz.zst")?.problem == .limit("compressed more than once"))
    }

    @Test("entries, JSON depth, document size and nested indexes are bounded") func documentLimits() throws {
        let (sample, top) = SampleArchive.one()
        var limits = ArchiveLimits()
        limits.entries = 3
        #expect(try refusal(sample, limits)?.problem == .limit("more than 3 entries"))
        let deep = String(repeating: "[", count: 100_000)
        var bad = sample
        bad.replace("index.json", with: Array(#"{"manifests":[],"x":\#(deep)}"#.utf8))
        #expect(try refusal(bad)?.problem == .limit("JSON nested more than 32 deep"))
        bad.replace("index.json", with: Array("{}".utf8))
        #expect(try refusal(bad)?.problem == .badDocument("does not decode as JSON of the expected shape"))
        bad.replace("index.json", with: [UInt8](repeating: 0x7B, count: Manifest.maximumSizeBytes + 1))
        #expect(try refusal(bad)?.problem == .limit("a document of more than 4194304 bytes"))
        // Indexes in indexes.
        var nested = SampleArchive()
        var inner = nested.addImage(["layer"])
        var type = MediaType.ociManifest.text
        for _ in 0..<20 {
            inner = nested.addIndex([nested.descriptor(inner, type), nested.descriptor(inner, type)])
            type = MediaType.ociIndex.text
        }
        nested.addLayout([nested.descriptor(inner, type)])
        #expect(try refusal(nested)?.problem == .limit("indexes nested more than 8 deep"))
        #expect(sample.files.contains { $0.name == EntryName.blob(top) })
    }

    /// Another file under the name, between two passes.
    @Test("an archive file replaced between two passes is refused") func replacedFile() throws {
        let (sample, _) = SampleArchive.one()
        let path = try sample.write(to: directory, "image.tar")
        let archive = try ImageArchive.open(path)
        let digests = try archive.select(.all).flatMap { $0.blobs.map(\.digest) }
        try FileManager.default.removeItem(atPath: path)
        _ = try sample.write(to: directory, "image.tar")
        let error = #expect(throws: ArchiveError.self) { try archive.contents(digests) }
        #expect(error?.problem == .changed)
    }

    @Test("files that are no image archive are refused with the reason") func notAnImage() throws {
        let empty = try directory.write(TarBuilder().finished, to: "empty.tar")
        #expect(refusal(empty)?.problem == .notAnImage("neither index.json nor manifest.json is in it"))
        let noise = try directory.write((0..<4096).map { UInt8(truncatingIfNeeded: $0 &* 7919) }, to: "noise")
        guard case .unreadable = refusal(noise)?.problem else {
            Issue.record("noise was read")
            return
        }
        #expect(refusal(directory.file("none"))?.problem == .system(call: "stat", code: ENOENT))
        #expect(mkfifo(directory.file("fifo"), 0o600) == 0)
        #expect(refusal(directory.file("fifo"))?.problem == .notAFile("a FIFO"))
    }
}

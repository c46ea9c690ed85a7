// What a start makes of what it finds: the good is indexed, the wrong set aside, the foreign left alone.

import Foundation
import TestSupport
import Testing

@testable import OCI
@testable import Registry

@Suite struct RecoveryTests {
    @Test("opening a locked store fails and names the process that holds the lock") func lock() throws {
        let fixture = try StoreFixture()
        let error = #expect(throws: StoreError.self) {
            try Store.open(
                imagePath: fixture.imagePath, loop: fixture.loop, offload: fixture.offload, logger: fixture.log.logger)
        }
        let text = try #require(error).description
        #expect(text.contains("pid \(getpid())") && text.contains("started 2") && text.contains("host "), "\(text)")
        #expect(text.contains("\(fixture.imagePath)/store-v1/LOCK"))
        try fixture.reopen()
    }

    @Test("an image path that cannot be created is named in the error") func invalidPath() throws {
        let directory = try TemporaryDirectory()
        try directory.write("x", to: "file")
        let loop = try EventLoop()
        let error = #expect(throws: StoreError.self) {
            try Store.open(
                imagePath: directory.file("file/images"), loop: loop, offload: Offload(on: loop),
                logger: LogRecorder().logger)
        }
        #expect(try #require(error).description.contains(directory.file("file/images")))
        #expect(loop.close())
    }

    @Test("files beside the store are left alone") func foreignFiles() throws {
        let fixture = try StoreFixture { directory in
            try directory.write("theirs", to: "blobs/sha256:abc")
            try directory.write("theirs", to: "pull-cache/x.json")
        }
        try fixture.put(pattern(100))
        try fixture.reopen()
        #expect(try fixture.names(fixture.imagePath) == ["blobs", "pull-cache", "store-v1"])
        #expect(try String(contentsOfFile: fixture.directory.file("blobs/sha256:abc"), encoding: .utf8) == "theirs")
        #expect(try fixture.quarantined().isEmpty)
    }

    @Test("recovery quarantines wrong files and indexes the rest") func quarantine() throws {
        let fixture = try StoreFixture()
        let blob = try fixture.put(pattern(1000))
        let manifest = Array("{}".utf8)
        fixture.store.putManifest(manifest, digest: digestOf(manifest), mediaType: .ociIndex)
        fixture.store.setTag(
            host: .dockerHub, repository: try #require(RepositoryName("a/b")), tag: "good", digest: digestOf(manifest))
        try fixture.reopen(isRecovered: false)
        let wrong = try plant(fixture, beside: blob)
        let report = try fixture.recover()
        #expect(report.setAsideCount == wrong.count)
        #expect(report.blobCount == 2 && report.manifestCount == 1 && report.tagCount == 1 && report.partialCount == 1)
        #expect(report.blobBytes == 1000 && report.unreadableCount == 0 && report.isComplete)
        for path in wrong {
            #expect(!fixture.exists(path), "\(path) is still there")
            #expect(fixture.log.text.contains(path.debugDescription), "\(path) is not reported")
        }
        #expect(try fixture.quarantined().count == wrong.count)
        #expect(try fixture.content(try #require(try fixture.find(blob))) == pattern(1000))
        #expect(try fixture.findManifest(digestOf(manifest)) != nil)
        // Nothing of it comes back.
        try fixture.reopen(isRecovered: false)
        #expect(try fixture.recover().setAsideCount == 0)
    }

    /// Puts one of each kind of wrong thing into the store, and an empty blob and a partial file, which are right.
    private func plant(_ fixture: StoreFixture, beside blob: Digest) throws -> [String] {
        let layout = fixture.store.layout
        func write(_ bytes: [UInt8], _ path: String) throws -> String {
            try FileManager.default.createDirectory(
                atPath: (path as NSString).deletingLastPathComponent, withIntermediateDirectories: true)
            try Data(bytes).write(to: URL(fileURLWithPath: path))
            return path
        }
        _ = try write([], layout.blob(digestOf([])))
        _ = try write([1], layout.partialFile(try fixture.key(digestOf([1]))))
        let shard = layout.blobDirectory(blob)
        let link = "\(shard)/\(blob.hex.prefix(2))\(String(repeating: "0", count: 62))"
        let directory = "\(shard)/\(blob.hex.prefix(2))\(String(repeating: "1", count: 62))"
        #expect(symlink(layout.blob(blob), link) == 0)
        #expect(mkdir(directory, 0o755) == 0)
        let tags = "\(layout.tags)/docker.io/a/b/_tags"
        return [
            link, directory,
            try write([1], "\(shard)/notes.txt"),
            try write([1], "\(shard)/\(String(repeating: "f", count: 63))"),
            try write([1], "\(layout.blobs)/sha256/zz"),
            try write([1], "\(layout.blobs)/md5"),
            try write([], layout.blob(digestOf([3]))),
            try write([1], "\(layout.blobs)/sha256/\(wrongShard(digestOf([4])))/\(digestOf([4]).hex)"),
            try write([], layout.manifest(digestOf([5]), .ociManifest)),
            try write(
                [UInt8](repeating: 0, count: Manifest.maximumSizeBytes + 1), layout.manifest(digestOf([6]), .ociIndex)),
            try write([1], "\(layout.manifests)/text-plain"),
            try write(Array("not a digest\n".utf8), "\(tags)/bad"),
            try write(Array("\(blob)".utf8), "\(tags)/cut"),
            try write([UInt8](repeating: 0x61, count: 5000), "\(tags)/long"),
            try write(Layout.tagContent(blob), "\(tags)/-odd"),
            try write([1], "\(layout.tags)/UPPER.example"),
            try write([1], "\(layout.partial)/something"),
        ]
    }

    private func wrongShard(_ digest: Digest) -> String { digest.hex.hasPrefix("00") ? "01" : "00" }

    @Test("temporary files are removed at the start") func temporaryFiles() throws {
        let fixture = try StoreFixture()
        try Data([1]).write(to: URL(fileURLWithPath: "\(fixture.store.layout.temporary)/17"))
        try fixture.reopen()
        #expect(try fixture.names(fixture.store.layout.temporary).isEmpty)
    }

    @Test("a directory tree that is no repository is quarantined alone") func invalidTree() throws {
        let fixture = try StoreFixture()
        let blobs = try (0..<40).map { try fixture.put(pattern(100, seed: UInt64($0 + 1))) }
        try fixture.reopen(isRecovered: false)
        // Each name is one by the grammar; together they are longer than a repository name may be.
        let names = (0..<10).map { _ in String(repeating: "d", count: 200) }
        try Disk.makeDirectories("\(fixture.store.layout.tags)/docker.io/\(names.joined(separator: "/"))", .none)
        let report = try fixture.recover()
        #expect(report.isComplete && report.blobCount == blobs.count)
        #expect(report.setAsideCount == 1 && report.unreadableCount == 0)
    }

    @Test("lookups succeed while a recovery indexes ten thousand entries") func manyEntries() throws {
        let fixture = try StoreFixture()
        let layout = fixture.store.layout
        for number in 0..<10_000 {
            let digest = digestOf(withUnsafeBytes(of: number) { Array($0) })
            let path = number % 2 == 0 ? layout.blob(digest) : layout.manifest(digest, .ociManifest)
            try Disk.makeDirectories((path as NSString).deletingLastPathComponent, .none)
            let descriptor = try Disk.open(path, O_WRONLY | O_CREAT)
            try Disk.write(withUnsafeBytes(of: number) { Array($0) }, to: descriptor, path)
            close(descriptor)
        }
        try fixture.reopen(isRecovered: false)
        // Answers while the walk is under way, and each of them right.
        var report: RecoveryReport?
        fixture.store.startRecovery { report = $0 }
        for number in stride(from: 0, to: 200, by: 2) {
            let digest = digestOf(withUnsafeBytes(of: number) { Array($0) })
            #expect(try fixture.find(digest)?.sizeBytes == 8)
        }
        try fixture.wait(until: { report != nil })
        #expect(report?.blobCount == 5000 && report?.manifestCount == 5000 && report?.blobBytes == 40_000)
        #expect(fixture.store.blobs.count == 5000 && fixture.store.manifests.count == 5000)
    }

    @Test("closing the store ends a running recovery") func closing() throws {
        let fixture = try StoreFixture()
        for number in 0..<5 { try fixture.put(pattern(10, seed: UInt64(number + 1))) }
        try fixture.reopen(isRecovered: false)
        fixture.store.startRecovery()
        try fixture.reopen()
        #expect(fixture.store.blobs.count == 5)
    }
}

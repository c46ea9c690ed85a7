// The sizes in image archives: of a tarball's headers, and of the descriptors in its documents.

import Foundation
import TestSupport
import Testing

@testable import ImageArchive
@testable import OCI
@testable import Registry

@Suite struct ArchiveNumberTests {
    private let directory: TemporaryDirectory

    init() throws { directory = try TemporaryDirectory() }

    private func problem(_ path: String) -> ArchiveError.Problem? {
        do {
            let archive = try ImageArchive.open(path)
            _ = try archive.contents(try archive.select(.all).flatMap { $0.blobs.map(\.digest) })
            return nil
        } catch {
            return (error as? ArchiveError)?.problem
        }
    }

    /// A size in twelve bytes as GNU tar writes one that octal digits cannot say: the first bit, then the number.
    private func binary(_ number: [UInt8]) -> [UInt8] {
        var field = [UInt8](repeating: 0, count: 12 - number.count) + number
        field[0] |= 0x80
        return field
    }

    @Test("a tar header with an extreme size is refused before its content is read")
    func headers() throws {
        let sizes: [[UInt8]] = [
            binary([0x7F, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF]), binary([0x80, 0, 0, 0, 0, 0, 0, 0]),
            binary([0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF]), [UInt8](repeating: 0xFF, count: 12),
            binary([0x10, 0, 0, 0, 0, 1]), Array("77777777777\u{0}".utf8), Array("-1\u{0}         ".utf8),
            Array("99999999999 ".utf8), [UInt8](repeating: 0x37, count: 12), [UInt8](repeating: 0x20, count: 12),
        ]
        for size in sizes {
            var header = TarBuilder([("index.json", Array("{}".utf8))]).finished
            header.replaceSubrange(124..<136, with: size)
            header.replaceSubrange(148..<156, with: repeatElement(0x20, count: 8))
            let sum = header[..<512].reduce(0) { $0 + Int($1) }
            let digits = String(sum, radix: 8)
            header.replaceSubrange(148..<154, with: (String(repeating: "0", count: 6 - digits.count) + digits).utf8)
            header[154] = 0
            for isCompressed in [false, true] {
                try? FileManager.default.removeItem(atPath: directory.file("image.tar.gz"))
                var path = try directory.write(header, to: "image.tar")
                if isCompressed {
                    try Command.check(["gzip", "-kf", path])
                    path += ".gz"
                }
                #expect(problem(path) != nil, "\(size)")
            }
        }
    }

    @Test("pax records with an extreme size are refused before their content is read", arguments: Extremes.texts)
    func paxRecords(_ text: String) throws {
        var tar = TarBuilder()
        // "length size=text\n", where the length counts itself.
        let rest = " size=\(text)\n"
        var length = rest.utf8.count + 1
        while "\(length)".utf8.count + rest.utf8.count != length { length += 1 }
        tar.add("pax", Array("\(length)\(rest)".utf8), type: "x")
        tar.add("index.json", Array("{}".utf8))
        #expect(problem(try directory.write(tar.finished, to: "image.tar")) != nil)
    }

    @Test("extreme sizes in descriptors decode, and are refused where the content differs", arguments: Extremes.json)
    func descriptors(_ size: String) throws {
        var (sample, top) = SampleArchive.one()
        let name = EntryName.blob(top)
        let manifest = try #require(sample.files.first { $0.name == name })
        // The top entry's own size.
        var index = String(decoding: try #require(sample.files.last).content, as: UTF8.self)
        index = index.replacing("\"size\":\(manifest.content.count)", with: "\"size\":\(size)")
        sample.replace("index.json", with: Array(index.utf8))
        #expect(problem(try sample.write(to: directory, "image.tar")) != nil, "\(size)")
        #expect(problem(try sample.unpack(to: directory, "layout")) != nil, "\(size)")
        // A layer's size, in a manifest that is as long as its entry says.
        var other = SampleArchive()
        let layer = other.addBlob(Array("layer".utf8))
        let config = other.addBlob(Array("{}".utf8))
        let text = """
            {"schemaVersion":2,"mediaType":"\(MediaType.ociManifest.text)","config":\(other.descriptor(config, "c")),\
            "layers":[{"mediaType":"l","digest":"\(layer)","size":\(size)}]}
            """
        let odd = other.addBlob(Array(text.utf8))
        other.addLayout([other.descriptor(odd, MediaType.ociManifest.text, SampleArchive.name("docker.io/a/b:1"))])
        let isRight = size == "5.0"
        #expect((problem(try other.write(to: directory, "other.tar")) == nil) == isRight, "\(size)")
    }

    @Test("the decompression limit is computed for files of any size without overflow", arguments: Extremes.numbers)
    func expansion(_ fileBytes: Int64) {
        #expect(ArchiveLimits().uncompressedBytes(of: fileBytes) >= ArchiveLimits().freeExpansionBytes)
    }
}

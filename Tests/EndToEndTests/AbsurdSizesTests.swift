// A cache that has manifests of absurd sizes, and everything that looks at it: with a server, and without one.

import Foundation
import TestSupport
import Testing

@testable import OCI
@testable import Registry

@Suite(.needs(.curl)) struct AbsurdSizesTests {
    private let files: TemporaryDirectory
    private let cache: CacheDirectory
    private let image = FakeImage(layerBytes: [1000, 2000, 3000, 4000], seed: 6)
    private let manifest: [UInt8]
    private let index: [UInt8]
    private let site: ScriptedSite

    init() throws {
        files = try TemporaryDirectory()
        cache = try CacheDirectory()
        var text = String(decoding: image.manifest, as: UTF8.self)
        // Two of the largest: their sum is more than there is.
        let largest = "9223372036854775807"
        for (size, absurd) in [(1000, largest), (2000, largest), (3000, "-1"), (4000, "1e30")] {
            text = text.replacing("\"size\":\(size)", with: "\"size\":\(absurd)")
        }
        manifest = Array(text.utf8)
        let entry = #"{"mediaType":"\#(FakeImage.type)","digest":"\#(digestOf(manifest))","size":18446744073709551616,"#
        let platform = #""platform":{"os":"linux","architecture":"amd64"}}"#
        index = Array(
            #"{"schemaVersion":2,"mediaType":"\#(MediaType.ociIndex.text)","manifests":[\#(entry + platform)]}"#.utf8)
        var answers: [String: [ScriptedSite.Answer]] = [:]
        for blob in image.blobs {
            answers["/v2/team/app/blobs/\(digestOf(blob))"] = [.init(body: blob)]
        }
        for (bytes, type, tag) in [(manifest, FakeImage.type, "v1"), (index, MediaType.ociIndex.text, "multi")] {
            for reference in [tag, "\(digestOf(bytes))"] {
                answers["/v2/team/app/manifests/\(reference)"] = [
                    .init(fields: [("Content-Type", type)], body: bytes)
                ]
            }
        }
        site = try ScriptedSite(answers)
    }

    private func get(_ url: String, _ arguments: String...) throws -> String {
        String(decoding: try Command.check(["curl", "-sSf", "--globoff"] + arguments + [url]), as: UTF8.self)
    }

    /// What an operator asks, with a server or without.
    private func look() throws {
        let table = try cache.check("list")
        #expect(table.split(separator: "\n").count == 2, "\(table)")
        let json = try cache.check("list", "--json")
        #expect(json.contains("\"sizeBytes\":null,\"isCached\":true"), "\(json)")
        #expect(!json.contains("9223372036854775807"), "\(json)")
        let verified = try cache.run("verify")
        #expect(verified.status == 0 && verified.text.hasSuffix("; 0 wrong\n"), "\(verified)")
        let dry = try cache.check("prune", "--pattern", ".", "--dry-run")
        // A server keeps what it has just served.
        #expect(dry.contains(" registry.test/team/app:v1\n"), "\(dry)")
    }

    @Test("list, load, verify, prune, export and scrapes work with manifests of absurd sizes")
    func everyCommand() throws {
        let upstreams = ["registry.test": site.address]
        let names = try files.write("registry.test/team/app:v1\nregistry.test/team/app:multi\n", to: "names")
        let server = try OciRegistryProcess(
            upstreams: upstreams, imagePath: cache.imagePath, arguments: ["--metrics", "0"])
        let base = "http://\(server.address)/v2/registry.test/team/app"
        #expect(Array(try get("\(base)/manifests/v1").utf8) == manifest)
        let loaded = try cache.run("load", "--image-file", names)
        #expect(loaded.status == 0 && loaded.text.hasPrefix("2 loaded, 0 in the cache already; "), "\(loaded)")
        #expect(Array(try get("\(base)/manifests/multi").utf8) == index)
        for blob in image.blobs {
            #expect(try Command.check(["curl", "-sSf", "\(base)/blobs/\(digestOf(blob))"]) == blob)
        }
        let socket = "\(cache.imagePath)/store-v1/ADMIN"
        for path in ["image/list", "manifest/list", "blob/list", "table", "image/list?count=9223372036854775807"] {
            #expect(try !get("http://localhost/cmd/\(path)", "--unix-socket", socket).isEmpty, "\(path)")
        }
        let line = try server.process.line(containing: "metrics: http://", in: server.process.errors)
        #expect(try get(String(line.components(after: "metrics: "))).contains("ociregistry_cached_blob_count 5"))
        try look()
        #expect(try server.stop() == 0)

        // The same without a server, from the same store.
        try look()
        let again = try cache.run("load", "--image-file", names, upstreams: upstreams)
        #expect(again.status == 0 && again.text.hasPrefix("0 loaded, 2 in the cache already; "), "\(again)")
        try cache.check("export", "--pattern", ".", "--output", files.file("layout"))
        let exported = try String(contentsOfFile: files.file("layout/index.json"), encoding: .utf8)
        #expect(exported.contains("registry.test/team/app:v1"))
        #expect(
            FileManager.default.contents(atPath: files.file("layout/blobs/sha256/\(digestOf(manifest).hex)"))
                .map(Array.init) == manifest)
        let pruned = try cache.check("prune", "--pattern", ".")
        #expect(pruned.contains("pruned registry.test/team/app:v1\n"), "\(pruned)")
        #expect(pruned.contains("5 blobs, 0.0 MB"), "\(pruned)")
        #expect(try cache.check("list") == "")
    }

    @Test("an archive whose descriptors state absurd sizes is refused with the reason")
    func archives() throws {
        let server = try OciRegistryProcess(
            upstreams: ["registry.test": site.address], imagePath: cache.imagePath)
        let names = try files.write("registry.test/team/app:multi\n", to: "names")
        try cache.check("load", "--image-file", names)
        #expect(try server.stop() == 0)
        try cache.check("export", "--pattern", ".", "--output", files.file("layout.tar"))
        let other = try CacheDirectory()
        let refused = try other.run("load", "--image-file", files.file("layout.tar"))
        #expect(refused.status == 1, "\(refused)")
        #expect(refused.errors.contains("described without a size from 0 to 16 TiB"), "\(refused)")
    }
}

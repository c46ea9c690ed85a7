// Bits that flip on the disk are found by `verify`, what they are in is set aside, and the next pull heals it.

import Foundation
import TestSupport
import Testing

@Suite struct VerifyTests {
    private let files: TemporaryDirectory
    private let cache: CacheDirectory

    init() throws {
        files = try TemporaryDirectory()
        cache = try CacheDirectory()
    }

    private func flipABit(in path: String) throws {
        let handle = try FileHandle(forUpdating: URL(fileURLWithPath: path))
        let size = try handle.seekToEnd()
        try handle.seek(toOffset: size / 2)
        let byte = try #require(try handle.read(upToCount: 1)?.first)
        try handle.seek(toOffset: size / 2)
        try handle.write(contentsOf: [byte ^ 0x10])
        try handle.close()
    }

    private func quarantined() throws -> [String] {
        try FileManager.default.contentsOfDirectory(atPath: "\(cache.imagePath)/store-v1/quarantine").sorted()
    }

    @Test("verify finds flipped bits and quarantines the files, and the next pull replaces them", .needs(.sampleImages))
    func flippedBits() throws {
        let upstream = try DockerRegistry(storing: SampleImages.storage())
        let upstreams = ["docker.io": upstream.address]
        let list = try files.write("\(SampleImage.multi)\n", to: "list")
        try cache.check("load", "--image-file", list, "--all-platforms", upstreams: upstreams)
        let sound = try cache.run("verify")
        #expect(sound.status == 0 && sound.text.hasSuffix("; 0 wrong\n"), "\(sound)")

        let kinds = ["blobs", "manifests"]
        let damaged = try kinds.map { try #require(cache.contentFiles(of: $0).last) }
        for path in damaged { try flipABit(in: path) }

        // Somebody who cannot be asked holds the cache: it is told, and left.
        var holder: LocalCache? = try LocalCache(imagePath: cache.imagePath)
        let beside = try cache.run("verify")
        #expect(beside.status == 1 && beside.text.hasSuffix("; 2 wrong\n"), "\(beside)")
        #expect(beside.errors.contains("in use by another server") && holder != nil)
        for path in damaged { #expect(beside.text.contains("\(path): hash mismatch; left where it is\n")) }
        holder = nil
        #expect(try quarantined().isEmpty && damaged.allSatisfy(FileManager.default.fileExists))

        let alone = try cache.run("verify")
        #expect(alone.status == 1 && alone.text.hasSuffix("; 2 wrong\n"), "\(alone)")
        #expect(try quarantined().count == 2 && !damaged.contains(where: FileManager.default.fileExists))
        #expect(try cache.run("verify").status == 0)

        // The next pull fetches those two, and nothing else.
        try upstream.stop()
        let again = try DockerRegistry(storing: SampleImages.storage())
        let healing = try OciRegistryProcess(upstreams: ["docker.io": again.address], imagePath: cache.imagePath)
        try Command.check([
            "skopeo", "--insecure-policy", "copy", "--quiet", "--all", "--src-tls-verify=false",
            "docker://\(healing.address)/docker.io/\(SampleImage.multi)", "dir:\(files.file("got"))",
        ])
        #expect(try healing.stop() == 0)
        let asked = try again.stop().filter { $0.hasPrefix("GET ") && !$0.hasSuffix("/v2/") }
            .map { String($0.prefix { $0 != "?" }) }
        let names = damaged.map { $0.split(separator: "/").last.map(String.init) ?? "" }
        #expect(asked.count == 2 && names.allSatisfy { name in asked.contains { $0.hasSuffix(name) } }, "\(asked)")
        #expect(damaged.allSatisfy(FileManager.default.fileExists))
        let healed = try cache.run("verify")
        #expect(healed.status == 0, "\(healed)")
    }

    /// Beside a server: what it prints is the same, what is wrong leaves the server's indexes, and the next pull
    /// through that server heals it.
    @Test("verify beside a server quarantines damage, which the next pull replaces", .needs(.sampleImages, .curl))
    func runningServer() throws {
        let upstream = try DockerRegistry(storing: SampleImages.storage())
        let upstreams = ["docker.io": upstream.address]
        let list = try files.write("\(SampleImage.multi)\n", to: "list")
        try cache.check("load", "--image-file", list, "--all-platforms", upstreams: upstreams)
        try upstream.stop()
        let damaged = try ["blobs", "manifests"].map { try #require(cache.contentFiles(of: $0).last) }
        for path in damaged { try flipABit(in: path) }
        let again = try DockerRegistry(storing: SampleImages.storage())
        let server = try OciRegistryProcess(
            upstreams: ["docker.io": again.address], imagePath: cache.imagePath, arguments: ["--metrics", "0"])
        let found = try cache.run("verify")
        #expect(found.status == 1 && found.text.hasSuffix("; 2 wrong\n"), "\(found)")
        for path in damaged {
            let name = try #require(path.split(separator: "/").last)
            let moved = "\(cache.imagePath)/store-v1/quarantine/\(name).hash-mismatch"
            #expect(found.text.contains("\(path): hash mismatch; set aside as \(moved)\n"), "\(found)")
        }
        #expect(try quarantined().count == 2 && !damaged.contains(where: FileManager.default.fileExists))
        let line = try server.process.line(containing: "metrics: http://", in: server.process.errors)
        let scraped = try Command.check(["curl", "-sS", String(line.components(after: "metrics: "))])
        let metrics = Scrape(String(decoding: scraped, as: UTF8.self))
        #expect(metrics["ociregistry_store_set_aside_total"] == 2)
        #expect(metrics["ociregistry_cached_blob_count"] == Double(cache.contentFiles(of: "blobs").count))
        // That gauge counts the names too (Catalog); there is one.
        #expect(metrics["ociregistry_cached_manifest_count"] == Double(cache.contentFiles(of: "manifests").count + 1))

        try Command.check([
            "skopeo", "--insecure-policy", "copy", "--quiet", "--all", "--src-tls-verify=false",
            "docker://\(server.address)/docker.io/\(SampleImage.multi)", "dir:\(files.file("got"))",
        ])
        let asked = try again.stop().filter { $0.hasPrefix("GET ") && !$0.hasSuffix("/v2/") }
            .map { String($0.prefix { $0 != "?" }) }
        let names = damaged.map { $0.split(separator: "/").last.map(String.init) ?? "" }
        #expect(asked.count == 2 && names.allSatisfy { name in asked.contains { $0.hasSuffix(name) } }, "\(asked)")
        let healed = try cache.run("verify")
        #expect(healed.status == 0 && healed.text.hasSuffix("; 0 wrong\n"), "\(healed)")
        #expect(try server.stop() == 0)
    }

    /// What the server has in memory was right when it was read: the disk gets it back at once.
    @Test("a damaged manifest that the server has in memory is written again", .needs(.sampleImages, .curl))
    func manifestInMemory() throws {
        let upstream = try DockerRegistry(storing: SampleImages.storage())
        let list = try files.write("\(SampleImage.many)\n", to: "list")
        try cache.check("load", "--image-file", list, upstreams: ["docker.io": upstream.address])
        try upstream.stop()
        let server = try cache.serveAirGapped()
        let image = SampleImage.many
        let url = "http://\(server.address)/v2/docker.io/\(image.repository)/manifests/\(image.tag)"
        let served = try Command.check(["curl", "-sSf", url])
        let path = try #require(cache.contentFiles(of: "manifests").first)
        try flipABit(in: path)
        let found = try cache.run("verify")
        #expect(found.status == 1 && found.text.contains("\(path): hash mismatch; set aside as "), "\(found)")
        #expect(try cache.run("verify").status == 0)
        #expect(try Command.check(["curl", "-sSf", url]) == served)
        #expect(FileManager.default.contents(atPath: path).map(Array.init) == served)
        #expect(try server.stop() == 0)
    }

    @Test("verify without a cache ends with status 1") func missingCache() throws {
        let result = try cache.run("verify")
        #expect(result.status == 1 && result.errors.contains("store-v1"))
    }
}

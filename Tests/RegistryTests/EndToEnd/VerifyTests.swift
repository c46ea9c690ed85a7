// Bits that flip on the disk are found by `verify`, what they are in is set aside, and the next pull heals it.

import Foundation
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

    @Test func flippedBitsAreFoundSetAsideAndHealed() throws {
        let upstream = try DockerRegistry(storing: SampleImages.storage())
        let upstreams = ["docker.io": upstream.address]
        let list = try files.write("\(SampleImage.multi)\n", to: "list")
        try cache.check("load", "--image-file", list, "--all-platforms", upstreams: upstreams)
        let sound = try cache.run("verify")
        #expect(sound.status == 0 && sound.text.hasSuffix("; 0 wrong\n"), "\(sound)")

        let kinds = ["blobs", "manifests"]
        let damaged = try kinds.map { try #require(cache.contentFiles(of: $0).last) }
        for path in damaged { try flipABit(in: path) }

        // A server that uses the cache keeps its lock: it is told, and left.
        let server = try cache.serveAirGapped()
        let beside = try cache.run("verify")
        #expect(beside.status == 1 && beside.text.hasSuffix("; 2 wrong\n"), "\(beside)")
        #expect(beside.errors.contains("in use by another server"))
        for path in damaged { #expect(beside.text.contains("\(path): hash mismatch; left where it is\n")) }
        #expect(try server.stop() == 0)
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
        let names = damaged.map { $0.split(separator: "/").last.map(String.init) ?? "" }
        #expect(asked.count == 2 && names.allSatisfy { name in asked.contains { $0.hasSuffix(name) } }, "\(asked)")
        #expect(damaged.allSatisfy(FileManager.default.fileExists))
        let healed = try cache.run("verify")
        #expect(healed.status == 0, "\(healed)")
    }

    @Test func withoutACacheThereIsNothingToVerify() throws {
        let result = try cache.run("verify")
        #expect(result.status == 1 && result.errors.contains("store-v1"))
    }
}

// Blobs without an image, as an operator of the real program sees them: list --blobs and prune, with a server and
// without one.

import Foundation
import TestSupport
import Testing

@testable import OCI
@testable import Registry

@Suite(.needs(.curl)) struct BlobLifeCommandTests {
    private static let cache = FakeBuildCache(seed: 31)
    private static let alone = pattern(1_250_000, seed: 32)

    private static func site() throws -> ScriptedSite {
        let fields = [("Content-Type", cache.mediaType.text), ("Docker-Content-Digest", "\(cache.digest)")]
        var answers: [String: [ScriptedSite.Answer]] = [:]
        for reference in ["cache", "\(cache.digest)"] {
            answers["/v2/team/app/manifests/\(reference)"] = [.init(fields: fields, body: cache.manifest)]
        }
        for blob in cache.blobs + [alone] { answers["/v2/team/app/blobs/\(digestOf(blob))"] = [.init(body: blob)] }
        return try ScriptedSite(answers)
    }

    private func get(_ server: OciRegistryProcess, _ path: String) throws -> [UInt8] {
        try Command.check(["curl", "-sSf", "http://\(server.address)/v2/registry.test/team/app/\(path)"])
    }

    /// The lines of `list --blobs`: digest, references, created, used, size.
    private func list(_ imagePath: String) throws -> [[String]] {
        let text = try Command.check([Checkout.server, "list", "--blobs", "--image-path", imagePath])
        return String(decoding: text, as: UTF8.self).split(separator: "\n").map { line in
            line.split(separator: " ").map(String.init)
        }
    }

    private func run(_ arguments: [String], _ imagePath: String) throws -> Command.Result {
        try Command.run([Checkout.server] + arguments + ["--image-path", imagePath])
    }

    @Test("blobs of a build cache and without any image are listed, and pruned by the last use")
    func life() throws {
        let files = try TemporaryDirectory()
        let imagePath = files.file("images")
        try FileManager.default.createDirectory(atPath: imagePath, withIntermediateDirectories: true)
        let site = try Self.site()
        let (alone, layer) = (digestOf(Self.alone), digestOf(Self.cache.layers[1]))
        let server = try OciRegistryProcess(upstreams: ["registry.test": site.address], imagePath: imagePath)
        #expect(try get(server, "manifests/cache") == Self.cache.manifest)
        #expect(try get(server, "blobs/\(digestOf(Self.cache.config))") == Self.cache.config)
        #expect(try get(server, "blobs/\(layer)") == Self.cache.layers[1])
        #expect(try get(server, "blobs/\(alone)") == Self.alone)
        let listed = try list(imagePath)
        #expect(listed.count == 3 && listed.map { $0[0] } == listed.map { $0[0] }.sorted())
        #expect(listed.first { $0[0] == "\(alone)" }.map { [$0[1], $0[4]] } == ["0", "1.3"])
        #expect(listed.first { $0[0] == "\(layer)" }.map { [$0[1], $0[4]] } == ["1", "0.0"])
        let table = try run(["list", "--header", "--short-digest"], imagePath).text
        #expect(table.contains("registry.test/team/app cache list ") && table.hasSuffix(" 0.0\n"), "it has a size")
        // Both were used a moment ago.
        let kept = try run(["prune", "--unused-for", "1s", "--force", "--dry-run"], imagePath)
        #expect(kept.status == 0 && !kept.text.contains("would prune blob"))
        #expect(try server.stop() == 0)

        // Two days later, nothing of it was served again.
        let layout = Layout(imagePath: imagePath)
        for digest in [alone, layer] {
            let time = timeval(tv_sec: Int(EventLoop.unixSeconds - 2 * 86_400), tv_usec: 0)
            #expect(utimes(layout.blob(digest), [time, time]) == 0)
        }
        let dry = try run(["prune", "--unused-for", "1d", "--dry-run"], imagePath)
        #expect(dry.text == "would prune blob \(alone)\nwould prune 0 images, 1 blob, 1.3 MB\n")
        #expect(dry.status == 0)
        // A server starts, and a client asks for it.
        let again = try OciRegistryProcess(upstreams: ["registry.test": site.address], imagePath: imagePath)
        #expect(try get(again, "blobs/\(alone)") == Self.alone)
        #expect(try again.stop() == 0)
        #expect(try run(["prune", "--unused-for", "1d"], imagePath).text == "pruned 0 images, 0 blobs, 0.0 MB\n")
        let json = try run(["list", "--blobs", "--json"], imagePath).text
        let object = try #require(try JSONSerialization.jsonObject(with: Data(json.utf8)) as? [String: Any])
        let blobs = try #require(object["blobs"] as? [[String: Any]])
        let entry = try #require(blobs.first { $0["digest"] as? String == "\(alone)" })
        #expect(entry["references"] as? Int == 0 && entry["sizeBytes"] as? Int == Self.alone.count)
        let (created, used) = (try #require(entry["created"] as? String), try #require(entry["used"] as? String))
        #expect(created < used, "the uses are kept over the restart")
        // By the time at which it came.
        let date = LocalTime.text(EventLoop.unixSeconds - 86_400)
        #expect(
            try run(["prune", "--date", date], imagePath).text
                == "pruned blob \(alone)\npruned 0 images, 1 blob, 1.3 MB\n")
        // The build cache's blobs leave with it.
        #expect(try list(imagePath).count == 2)
        let last = try run(["prune", "--pattern", ":cache$"], imagePath).text
        #expect(last.hasPrefix("pruned registry.test/team/app:cache\npruned 1 image, 2 blobs, "))
        #expect(try list(imagePath).isEmpty)
        let wrong = try run(["list", "--blobs", "--pattern", "x"], imagePath)
        #expect(wrong.status == 64)
    }
}

// The scrub of a running server, and the commands that look at sizes: what is damaged is found, and healed by the next
// pull or load.

import Foundation
import TestSupport
import Testing

@testable import Registry

@Suite(.needs(.curl, .sampleImages)) struct ScrubServerTests {
    private let files: TemporaryDirectory
    private let cache: CacheDirectory
    private let list: String

    init() throws {
        files = try TemporaryDirectory()
        cache = try CacheDirectory()
        list = try files.write("\(SampleImage.multi)\n", to: "list")
    }

    private func metrics(_ server: OciRegistryProcess) throws -> Scrape {
        let line = try server.process.line(containing: "metrics: http://", in: server.process.errors)
        let scraped = try Command.check(["curl", "-sS", String(line.components(after: "metrics: "))])
        return Scrape(String(decoding: scraped, as: UTF8.self))
    }

    @Test("a scrubbing server finds and reports damage, and does not start over after a restart")
    func scrubbingServer() throws {
        let upstream = try DockerRegistry(storing: SampleImages.storage())
        try cache.check("load", "--image-file", list, "--all-platforms", upstreams: ["docker.io": upstream.address])
        let all = cache.contentFiles(of: "blobs") + cache.contentFiles(of: "manifests")
        let damaged = try #require(cache.contentFiles(of: "blobs").first)
        let handle = try FileHandle(forUpdating: URL(filePath: damaged))
        let byte = try #require(try handle.read(upToCount: 1)?.first)
        try handle.seek(toOffset: 0)
        try handle.write(contentsOf: [byte ^ 8])
        try handle.close()

        let settings = "scrub: {interval: 30d, bytesPerSecond: 500MB}\n"
        let server = try OciRegistryProcess(
            imagePath: cache.imagePath, arguments: ["--air-gapped", "--metrics", "0"], settings: settings)
        let end = try server.process.line(containing: "scrub: pass complete", in: server.process.errors)
        #expect(end.contains("files=\(all.count)") && end.contains("damaged=1"), "\(end)")
        let report = try server.process.line(containing: "set aside \"", in: server.process.errors)
        #expect(report.contains(damaged) && report.contains("hash mismatch"))
        let scraped = try metrics(server)
        #expect(scraped["ociregistry_scrub_files_total"] == Double(all.count))
        #expect(scraped["ociregistry_store_damaged_files_total{by=\"scrub\"}"] == 1)
        #expect(scraped["ociregistry_scrub_running"] == 0 && scraped["ociregistry_scrub_progress_ratio"] == 0)
        let last = try #require(scraped["ociregistry_scrub_last_complete_timestamp_seconds"])
        #expect(last > 1_700_000_000)
        #expect(try server.stop() == 0)

        // The next pass is due in thirty days.
        let again = try OciRegistryProcess(
            imagePath: cache.imagePath, arguments: ["--air-gapped", "--metrics", "0"], settings: settings)
        var later = try metrics(again)
        // It is read once the cache has been.
        for _ in 0..<100 where later["ociregistry_scrub_last_complete_timestamp_seconds"] != last {
            later = try metrics(again)
        }
        #expect(later["ociregistry_scrub_last_complete_timestamp_seconds"] == last)
        #expect(later["ociregistry_scrub_files_total"] == 0)
        #expect(try again.stop() == 0)
    }

    @Test("load fetches a layer again that was truncated while no server was running")
    func loadHeals() throws {
        let upstream = try DockerRegistry(storing: SampleImages.storage())
        let upstreams = ["docker.io": upstream.address]
        try cache.check("load", "--image-file", list, "--all-platforms", upstreams: upstreams)
        let sizes = try cache.contentFiles(of: "blobs").map { path in
            (path, try #require(FileManager.default.attributesOfItem(atPath: path)[.size] as? Int))
        }
        let largest = try #require(sizes.max { $0.1 < $1.1 })
        #expect(truncate(largest.0, off_t(largest.1 / 2)) == 0)
        let again = try cache.run("load", "--image-file", list, "--all-platforms", upstreams: upstreams)
        #expect(again.status == 0 && again.text.hasPrefix("1 loaded, 0 in the cache already"), "\(again)")
        let verified = try cache.run("verify")
        #expect(verified.status == 0, "\(verified)")
        let third = try cache.run("load", "--image-file", list, "--all-platforms", upstreams: upstreams)
        #expect(third.text.hasPrefix("0 loaded, 1 in the cache already"), "\(third)")
    }
}

// The server on a disk that is slower than its upstreams (Tests/Preload/slow-disk.c): what comes in waits outside, and
// the process's memory, as the kernel counts it, stays what the documents say.

import Foundation
import Glibc
import TestSupport
import Testing

@testable import OCI
@testable import Registry

@Suite(.serialized, .needs(.cc, .curl)) struct SlowDiskTests {
    /// Beyond what a new server has: the store's 64 MiB for what waits for the disk, 32 MiB for curl's buffers (100 MiB
    /// for those of libcurl 8), and 64 MiB for what jobs take while they run. Without a limit, what is asked for here
    /// comes to 600 and 300 MiB.
    private static let spareBytes = 240 << 20
    private static let built = Result { try build() }

    private static func build() throws -> TemporaryDirectory {
        let files = try TemporaryDirectory()
        try Command.check([
            "cc", "-Wall", "-Werror", "-O1", "-shared", "-fPIC", "-o", files.file("slow-disk.so"),
            "\(Checkout.root)/Tests/Preload/slow-disk.c", "-ldl",
        ])
        return files
    }

    private func serve(_ site: ScriptedSite, hosts: Int, slow: [String: String]) throws -> OciRegistryProcess {
        let upstreams = Dictionary(uniqueKeysWithValues: (0..<hosts).map { ("h\($0).test", site.address) })
        let library = try Self.built.get().file("slow-disk.so")
        return try OciRegistryProcess(
            upstreams: upstreams, environment: slow.merging(["LD_PRELOAD": library]) { first, _ in first })
    }

    /// The most memory that a process has had (proc_pid_status(5)).
    private func peakBytes(_ server: OciRegistryProcess) throws -> Int {
        let text = try String(contentsOfFile: "/proc/\(server.process.processID)/status", encoding: .utf8)
        let line = try #require(text.split(separator: "\n").first { $0.hasPrefix("VmHWM:") })
        return try #require(Int(line.filter(\.isNumber))) * 1024
    }

    /// Asks for all of a range at once.
    /// - Returns: the statuses of those that were answered.
    private func ask(_ range: String, _ server: OciRegistryProcess, count: Int, seconds: Int) throws -> [String] {
        let result = try Command.run([
            "curl", "--silent", "--parallel", "--parallel-immediate", "--parallel-max", "\(count)", "--max-time",
            "\(seconds)", "--output", "/dev/null", "--write-out", "%{http_code}\\n", "http://\(server.address)\(range)",
        ])
        return result.text.split(separator: "\n").map(String.init)
    }

    @Test("300 manifests of 1 MB and a flush of 300 ms: memory stays bounded, clients get 200 or 503")
    func manifests() throws {
        let padding = [UInt8](repeating: UInt8(ascii: "x"), count: 1_000_000)
        let type = MediaType.ociManifest.text
        let config = FakeImage.descriptor("application/vnd.oci.image.config.v1+json", [1])
        let site = try ScriptedSite(answering: { path in
            let text =
                "{\"schemaVersion\":2,\"mediaType\":\"\(type)\",\"config\":\(config),\"layers\":[],"
                + "\"annotations\":{\"name\":\"\(path)\",\"padding\":\""
            return .init(fields: [("Content-Type", type)], pieces: [Array(text.utf8), padding, Array("\"}}".utf8)])
        })
        let server = try serve(site, hosts: 1, slow: ["SLOW_FSYNC_MS": "300"])
        let before = try peakBytes(server)
        // Clients wait for 15 s.
        let statuses = try ask("/v2/h0.test/team/app/manifests/v[0-299]", server, count: 300, seconds: 40)
        #expect(statuses.count == 300 && Set(statuses).isSubset(of: ["200", "503"]), "\(Set(statuses))")
        #expect(statuses.contains("200"))
        #expect(try peakBytes(server) - before < Self.spareBytes)
        server.process.stop(signal: SIGKILL)
    }

    @Test("128 blobs at once and writes of 200 ms: memory stays bounded") func blobs() throws {
        let piece = pattern(1 << 20)
        let site = try ScriptedSite(answering: { _ in .init(pieces: [piece, piece, piece, piece]) })
        let server = try serve(site, hosts: 2, slow: ["SLOW_WRITE_MS": "200"])
        let before = try peakBytes(server)
        let digest = "sha256:\(String(repeating: "0", count: 61))"
        // Far less than their bodies take: all of them have begun, and none has ended.
        let statuses = try ask(
            "/v2/h[0-1].test/team/app/blobs/\(digest)[100-163]", server, count: 128, seconds: 8)
        #expect(statuses.count == 128 && statuses.filter { $0 == "200" }.count > 64, "\(Set(statuses))")
        #expect(try peakBytes(server) - before < Self.spareBytes)
        server.process.stop(signal: SIGKILL)
    }
}

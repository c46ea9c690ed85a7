// Canaries, and the report of a server's state.

import Foundation
import TestSupport
import Testing

@testable import BuiltinImage
@testable import Configuration
@testable import OCI
@testable import Registry

@Suite struct CanaryTests {
    private static let id = "0123456789abcdef0123456789abcdef"
    private static let name = "ociregistry-canary/\(id)"
    private static let arrivals = "\(DiagnosticsEndpoint.canaryPath)\(id)"

    private func kit(_ change: (inout MirrorKit.Options) -> Void = { _ in }) throws -> MirrorKit {
        let mirror = try MirrorKit(change)
        let probes = ReadinessProbes(
            on: mirror.run.loop, store: mirror.store, pulls: true, deadlineMilliseconds: 60_000)
        mirror.api.diagnostics = DiagnosticsEndpoint(
            loop: mirror.run.loop, store: mirror.store, client: mirror.client, probes: probes, version: "1")
        return mirror
    }

    @Test(
        "a canary is served however the request names the registry, which is remembered",
        arguments: [
            ("/v2/registry.example/\(name)/manifests/pull", .path, "registry.example"),
            ("/v2/\(name)/manifests/pull?ns=registry.example:5000", .ns, "registry.example:5000"),
            ("/registry.example/v2/\(name)/manifests/pull", .prefix, "registry.example"),
            ("/v2/\(name)/manifests/pull", .defaultNamespace, "registry.test"),
        ] as [(String, CanaryArrivals.Naming, String)])
    func namings(_ target: String, _ namedBy: CanaryArrivals.Naming, _ host: String) throws {
        let mirror = try kit()
        let image = HelloWorldImage()
        let manifest = mirror.get(target, [("User-Agent", "client/1")])
        #expect(manifest.status == 200 && manifest.body == image.manifests[0].bytes)
        for entry in image.manifests {
            let answer = mirror.get("/v2/registry.example/\(Self.name)/manifests/\(entry.digest)")
            #expect(answer.body == entry.bytes)
        }
        for blob in image.blobs {
            #expect(mirror.get("/v2/registry.example/\(Self.name)/blobs/\(blob.digest)").body == blob.bytes)
            let head = mirror.head("/v2/registry.example/\(Self.name)/blobs/\(blob.digest)")
            #expect(head.status == 200 && head.contentLength == blob.bytes.count)
        }
        let read = try #require(CanaryArrivals.read(mirror.get(Self.arrivals).body)).requests
        #expect(read.count == 1 + image.manifests.count + 2 * image.blobs.count)
        #expect(read[0].namedBy == namedBy && read[0].host == host && read[0].request == "manifests/pull")
        #expect(read[0].userAgent == "client/1" && read[0].client.hasPrefix("127.0.0.1:"))
        #expect(mirror.fake.requests.isEmpty && mirror.store.tags.count == 0)
        mirror.close()
    }

    @Test("without a default namespace, a request that names no registry is remembered as such") func noRegistry()
        throws
    {
        let mirror = try kit { $0.policy = .init(airGapped: false, defaultHost: nil) }
        #expect(mirror.get("/v2/\(Self.name)/manifests/pull").status == 200)
        let read = CanaryArrivals.read(mirror.get(Self.arrivals).body)
        #expect(read?.requests.first?.namedBy == CanaryArrivals.Naming.none)
        mirror.close()
    }

    @Test("what a canary does not have is refused or unknown") func others() throws {
        let mirror = try kit()
        let base = "/v2/registry.example/\(Self.name)"
        let refused = mirror.get("\(base)/manifests/refuse")
        #expect(refused.status == 403 && refused.errorCode == "DENIED")
        #expect(mirror.get("\(base)/manifests/other").errorCode == "MANIFEST_UNKNOWN")
        let unknown = digestOf([1])
        #expect(mirror.get("\(base)/manifests/\(unknown)").errorCode == "MANIFEST_UNKNOWN")
        #expect(mirror.get("\(base)/blobs/\(unknown)").errorCode == "BLOB_UNKNOWN")
        #expect(mirror.get("\(base)/tags/list").text.contains("\"tags\":[\"pull\"]"))
        #expect(mirror.get("\(base)/referrers/\(unknown)").status == 404)
        #expect(mirror.get("\(DiagnosticsEndpoint.canaryPath)xyz").status == 400)
        #expect(mirror.get("/v2/_ociregistry/other").status == 404)
        #expect(mirror.ask(.init(method: "POST", target: DiagnosticsEndpoint.reportPath)).response.status == 405)
        mirror.close()
    }

    @Test("other names are pulled from their upstream, and so are canaries where diagnostics are off") func upstream()
        throws
    {
        let mirror = try kit()
        for name in ["ociregistry-canary/abc", "other-canary/\(Self.id)", "ociregistry-canary/\(Self.id.uppercased())"]
        {
            #expect(mirror.get("/v2/\(name)/manifests/pull").status != 200)
        }
        mirror.api.diagnostics = nil
        #expect(mirror.get("/v2/\(Self.name)/manifests/pull").status == 404)
        #expect(mirror.fake.requests.contains { $0.path.contains(Self.id) })
        #expect(mirror.get(Self.arrivals).status == 404)
        mirror.close()
    }

    @Test("canaries are remembered up to a limit") func bounds() {
        let canaries = Canaries()
        let arrival = CanaryArrivals.Arrival(
            method: "GET", request: "r", namedBy: .path, host: "h", client: "c", userAgent: "u")
        for number in 0..<(2 * Canaries.maximumCanaries) {
            for _ in 0..<(2 * Canaries.maximumArrivals) { canaries.record(arrival, of: "\(number)") }
        }
        #expect(canaries.arrivals(of: "0").requests.isEmpty)
        let last = "\(2 * Canaries.maximumCanaries - 1)"
        #expect(canaries.arrivals(of: last).requests.count == Canaries.maximumArrivals)
    }

    // MARK: The report

    @Test("a report has the store and each configured registry, and is made once for all who ask") func report() throws
    {
        let mirror = try kit()
        mirror.fake.on("/v2/", .status(200))
        let clients = (0..<3).map { _ in mirror.start(.get(DiagnosticsEndpoint.reportPath)) }
        mirror.wait(for: clients)
        let report = try #require(DiagnosticReport.read(clients[0].response.body))
        #expect(report.version == "1" && report.unixMilliseconds > 1_700_000_000_000)
        #expect(report.checks.map(\.name) == ["store", "upstream"] && report.checks.allSatisfy { $0.state == .ok })
        #expect(report.checks[1].subject == "registry.test")
        #expect(mirror.fake.requests(to: "/v2/").count == 1)
        mirror.close()
    }

    @Test(
        "an upstream that refuses or fails is named",
        arguments: [(401, "denied"), (500, "500"), (429, "fewer requests")])
    func upstreamFault(_ status: Int, _ text: String) throws {
        let mirror = try kit()
        mirror.fake.on("/v2/", .status(status))
        let report = try #require(DiagnosticReport.read(mirror.get(DiagnosticsEndpoint.reportPath).body))
        let check = try #require(report.checks.last)
        #expect(check.state == (status == 429 ? .warning : .failed) && check.message.contains(text), "\(check)")
        #expect(!check.remedy.isEmpty)
        mirror.close()
    }

    @Test("a store that cannot be written is named") func storeFault() throws {
        let directory = try TemporaryDirectory()
        let mirror = try kit { $0.imagePath = directory.path }
        mirror.fake.on("/v2/", .status(200))
        mirror.settle()
        try FileManager.default.removeItem(atPath: mirror.store.layout.temporary)
        try Data().write(to: URL(filePath: mirror.store.layout.temporary))
        let report = try #require(DiagnosticReport.read(mirror.get(DiagnosticsEndpoint.reportPath).body))
        #expect(report.checks.first?.name == "store" && report.checks.first?.state == .failed)
        mirror.close()
    }
}

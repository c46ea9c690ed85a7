// Reloads while clients ask and pull: no request is lost, and the metrics are right. `scripts/soak reload` does it with
// thousands of connections.

import Foundation
import TestSupport
import Testing

@testable import OCI
@testable import Registry

@Suite struct ReloadLoadTests {
    private static let connections = 200
    private static let reloads = 20
    private static let badReloads: Set<Int> = [5, 10, 15]

    /// A connection that asks for a cached manifest again and again.
    private final class Asker {
        let client: TestClient
        private let request: TestClient.Request
        private(set) var asked = 0
        var isStopping = false

        init(_ scene: ReloadScene, _ request: TestClient.Request) {
            self.request = request
            client = scene.start(request, manner: .init(keepsOpen: true))
            asked = 1
            client.onDone = { [unowned self] in
                guard client.end == nil, !isStopping, client.isComplete else { return }
                asked += 1
                client.send(request)
            }
        }
    }

    @Test("twenty reloads under load lose no request, and those of bad files change nothing") func load() throws {
        let scene = try ReloadScene("logLevel: warn\nmaxBytes: 40GB")
        let image = FakeImage(seed: 61)
        image.put(on: scene.fake, tag: "v1")
        #expect(scene.status("v1") == 200)
        let blobs = (0..<16).map { pattern(200_000, seed: 700 + UInt64($0)) }
        for blob in blobs {
            scene.fake.on("/v2/team/app/blobs/\(digestOf(blob))") {
                .blob(blob, for: $0).paced(bytesPerSecond: 100_000)
            }
        }
        let before = try scene.metrics()
        let askers = (0..<Self.connections).map { _ in
            Asker(scene, .get("/v2/registry.test/team/app/manifests/v1"))
        }
        let pulls = blobs.map { scene.start(.get("/v2/registry.test/team/app/blobs/\(digestOf($0))")) }
        scene.run.wait { pulls.allSatisfy { !$0.response.body.isEmpty } }
        var limit = 40_000_000_000.0
        for number in 0..<Self.reloads {
            let isBad = Self.badReloads.contains(number)
            // Used by half, a bad file would empty the cache.
            let yaml =
                isBad
                ? "maxBytes: 1KB\nleaseDuration: 0s\nlogLevel: loud" : "logLevel: warn\nmaxBytes: \(number + 41)GB"
            try scene.write("\(yaml)\nprefetchLayers: \(number % 2 == 0 ? "layer" : "never")")
            let mark = isBad ? "the configuration was not reloaded" : "the configuration was reloaded"
            let seen = scene.logLines(with: mark).count
            kill(scene.process.processID, SIGHUP)
            scene.run.wait { scene.logLines(with: mark).count > seen }
            if !isBad { limit = Double(number + 41) * 1_000_000_000 }
            let metrics = try scene.metrics()
            #expect(metrics["ociregistry_config_last_reload_success"] == (isBad ? 0 : 1))
            #expect(metrics["ociregistry_store_max_bytes"] == limit)
        }
        scene.run.wait { pulls.allSatisfy(\.isDone) }
        for asker in askers { asker.isStopping = true }
        scene.run.wait { askers.allSatisfy { $0.client.isDone } }
        for (pull, blob) in zip(pulls, blobs) { #expect(pull.isComplete && pull.response.body == blob) }
        for asker in askers {
            #expect(asker.client.end == nil)
            #expect(asker.client.responses.count == asker.asked)
            #expect(asker.client.responses.allSatisfy { $0.status == 200 && $0.body == image.manifest })
        }
        let after = try scene.metrics()
        func increase(_ name: String) -> Double { (after[name] ?? 0) - (before[name] ?? 0) }
        #expect(increase("ociregistry_manifest_pulls_total") == Double(askers.reduce(0) { $0 + $1.asked }))
        #expect(increase("ociregistry_blob_pulls_total") == Double(blobs.count))
        #expect(increase("ociregistry_http_connections_refused_total") == 0)
        #expect(increase("ociregistry_http_requests_aborted_total") == 0)
        try scene.close()
    }
}

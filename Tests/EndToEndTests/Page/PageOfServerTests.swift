// The page as the server itself sends it: what a browser shows after a few pulls is what `/metrics` says.

import Foundation
import TestSupport
import Testing

@testable import Page
@testable import Registry

@Suite struct PageOfServerTests {
    /// A server with the built-in image, and both its ports.
    private struct Scene {
        let server: OciRegistryProcess
        let metrics: String
        private let run: LoopRun

        init() throws {
            server = try OciRegistryProcess(arguments: ["--hello-world", "--air-gapped", "--metrics", "0"])
            let line = try server.process.line(containing: "  metrics: http://", in: server.process.errors)
            metrics = String(line.components(after: "http://").prefix { $0 != "/" })
            run = try LoopRun()
        }

        func ask(_ address: String, _ request: TestClient.Request) throws -> TestClient.Response {
            let port = try #require(address.split(separator: ":").last.flatMap { UInt16($0) })
            let client = TestClient(on: run.loop, port: port)
            client.onDone = { run.finish() }
            client.send(request)
            run.run()
            return client.response
        }

        /// Every sample that is no bucket, as the page's table has it: name and labels, and the value's text.
        func samples() throws -> [String: String] {
            let text = try ask(metrics, .get("/metrics")).text
            var found: [String: String] = [:]
            for line in text.split(separator: "\n") where !line.hasPrefix("#") && !line.contains("_bucket{") {
                guard let space = line.lastIndex(of: " ") else { continue }
                let series = line[..<space].split(separator: "{", maxSplits: 1)
                let labels = series.count > 1 ? series[1].dropLast().replacingOccurrences(of: "\",", with: "\" ") : ""
                found["\(series[0])|\(labels)"] = String(line[line.index(after: space)...])
            }
            return found
        }

        func close() throws {
            run.close()
            _ = try server.stop()
        }
    }

    @Test("the page in a browser shows the values of /metrics", .needs(.chromium)) func values() throws {
        let scene = try Scene()
        let name = "/v2/docker.io/library/hello-world"
        #expect(try scene.ask(scene.server.address, .get("\(name)/manifests/latest")).status == 200)
        #expect(try scene.ask(scene.server.address, .head("\(name)/manifests/latest")).status == 200)
        #expect(try scene.ask(scene.server.address, .get("\(name)/manifests/absent")).status == 404)
        let absent = "sha256:" + String(repeating: "0", count: 64)
        #expect(try scene.ask(scene.server.address, .get("\(name)/blobs/\(absent)")).status == 404)
        // On a busy machine the scan of the cache takes a while.
        var before = try scene.samples()
        for _ in 0..<1000 where before["ociregistry_store_recovered|"] != "1" { before = try scene.samples() }
        let page = try Chromium.open("http://\(scene.metrics)/#tables", milliseconds: 9000)
        let after = try scene.samples()
        #expect(page.console.isEmpty, "\(page)")
        #expect(page.attribute("data-state", inTagWith: "html ") == "live", "\(page)")
        var shown: [String: String] = [:]
        for row in page.rows where row.count == 3 { shown["\(row[0])|\(row[1])"] = row[2] }
        #expect(Set(shown.keys).isSuperset(of: before.keys))
        let still = before.filter { series in !Self.moving.contains { series.key.hasPrefix($0) } }
        #expect(still.count > 100)
        for (series, value) in still { #expect(shown[series] == value && after[series] == value, "\(series)") }
        #expect(shown["ociregistry_manifest_pulls_total|"] == "3" && shown["ociregistry_blob_pulls_total|"] == "1")
        try compareTiles(page, before)
        try scene.close()
    }

    /// What changes with time alone, or with the browser's own connections to the metrics port.
    private static let moving = [
        "process_", "ociregistry_loop_", "ociregistry_pool_", "ociregistry_heap_", "ociregistry_live_objects",
        "ociregistry_last_scrape", "ociregistry_store_filesystem_free",
    ]

    private func compareTiles(_ page: BrowsedPage, _ samples: [String: String]) throws {
        func tile(_ key: String) -> Double? {
            page.attribute("data-value", inTagWith: "data-tile=\"\(key)\"").flatMap { Double($0) }
        }
        let mark = "ociregistry_http_request_duration_seconds_count|"
        func answers(_ verdict: String) -> Double {
            samples.filter { $0.key.hasPrefix(mark) && $0.key.contains("verdict=\"\(verdict)\"") }
                .compactMap { Double($0.value) }.reduce(0, +)
        }
        // Nothing was asked while the page was open, so the share is that since the start.
        #expect(answers("hit") >= 2 && answers("error") >= 2)
        #expect(tile("hits") == answers("hit") / (answers("hit") + answers("miss")))
        #expect(tile("requests") == 0 && tile("inflight") == 0 && tile("connections") == 0)
        #expect(page.markup.contains("<p class=\"sub\">\(Int(answers("error"))) in all</p>"))
    }

    @Test("the page is sent with its security headers, and only at /") func headers() throws {
        let scene = try Scene()
        let response = try scene.ask(scene.metrics, .get("/"))
        #expect(response.status == 200 && response.body == Page.html)
        #expect(response.header("content-type") == "text/html; charset=utf-8")
        for (name, value) in Page.fields {
            #expect(response.headers.filter { $0.name == name.lowercased() }.map(\.value) == [value])
        }
        let head = try scene.ask(scene.metrics, .head("/"))
        #expect(head.status == 200 && head.contentLength == Page.html.count)
        #expect(try scene.ask(scene.metrics, .get("/page.html")).status == 404)
        try scene.close()
    }
}

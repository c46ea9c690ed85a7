// The metrics listener: what it answers, and that neither a stuck pool nor many scrapers keep it from answering.

import Foundation
import Glibc
import TestSupport
import Testing

@testable import Configuration
@testable import OCI
@testable import Registry

@Suite struct MetricsEndpointTests {
    @Test("the metrics listener serves /metrics and the page, and nothing else") func endpoint() throws {
        let mirror = try MirrorKit()
        let port = try mirror.metricsPort()
        func ask(_ request: TestClient.Request) -> TestClient.Response {
            let client = mirror.start(request, port: port)
            mirror.wait(for: [client])
            return client.response
        }
        // Prometheus asks for OpenMetrics first; the reference's names are not valid there.
        let text = ask(.get("/metrics?x=1", [("Accept", "application/openmetrics-text;version=1.0.0,*/*;q=0.1")]))
        #expect(text.status == 200 && text.header("content-type") == "text/plain; version=0.0.4; charset=utf-8")
        #expect(text.header("cache-control") == "no-store")
        #expect(text.text.hasSuffix("\n") && text.text.hasPrefix("# HELP ociregistry_cached_pulls_by_ns_total "))
        let head = ask(.head("/metrics"))
        #expect(head.status == 200 && head.body.isEmpty && head.contentLength ?? 0 > 10_000)
        let page = ask(.get("/"))
        #expect(page.text == "<p>page</p>" && page.header("x-test") == "page")
        #expect(page.header("content-type") == "text/html; charset=utf-8")
        for path in ["/v2/", "/metrics/", "//", "/health"] { #expect(ask(.get(path)).status == 404, "\(path)") }
        let post = ask(TestClient.Request(method: "POST", target: "/metrics"))
        #expect(post.status == 405 && post.header("allow") == "GET, HEAD")
        // These are nobody's pulls.
        #expect(try mirror.scrape().samples.filter { $0.key.contains("_http_") && $0.value != 0 }.isEmpty)
        mirror.close()
    }

    @Test("the metrics text is compressed for clients that prefer gzip") func textAsGzip() throws {
        let mirror = try MirrorKit()
        mirror.settle()
        let port = try mirror.metricsPort()
        func ask(_ request: TestClient.Request) -> TestClient.Response {
            let client = mirror.start(request, port: port)
            mirror.wait(for: [client])
            return client.response
        }
        let plain = ask(.get("/metrics"))
        #expect(plain.header("content-encoding") == nil && plain.header("vary") == "Accept-Encoding")
        let packed = ask(.get("/metrics", [("Accept-Encoding", "gzip")]))
        #expect(packed.status == 200 && packed.header("content-encoding") == "gzip")
        #expect(packed.header("vary") == "Accept-Encoding" && packed.header("cache-control") == "no-store")
        #expect(packed.header("content-type") == plain.header("content-type"))
        #expect(packed.contentLength == packed.body.count && packed.body.count * 5 < plain.body.count)
        let text = String(decoding: try gunzip(packed.body), as: UTF8.self)
        func names(_ text: String) -> [Substring] { text.split(separator: "\n").map { $0.prefix { $0 != " " } } }
        #expect(names(text) == names(plain.text))
        let head = ask(.head("/metrics", [("Accept-Encoding", "gzip")]))
        #expect(head.header("content-encoding") == "gzip" && head.body.isEmpty)
        #expect(head.contentLength ?? 0 > 1000 && head.contentLength ?? 0 < 2 * packed.body.count)
        let refused = ask(.get("/metrics", [("Accept-Encoding", "gzip;q=0, identity")]))
        #expect(refused.header("content-encoding") == nil && refused.text.hasPrefix("# HELP "))
        for target in ["/", "/else"] {
            #expect(ask(.get(target, [("Accept-Encoding", "gzip")])).header("content-encoding") == nil)
        }
        mirror.close()
    }

    @Test("concurrent scrapes each get the encoding they accept") func scrapesAtOnce() throws {
        let mirror = try MirrorKit()
        let port = try mirror.metricsPort()
        let codings: [String?] = Array(repeating: ["gzip", nil, "identity"], count: 10).flatMap { $0 }
        let clients = codings.map { coding in
            mirror.start(.get("/metrics", coding.map { [("Accept-Encoding", $0)] } ?? []), port: port)
        }
        mirror.wait(for: clients)
        for (client, coding) in zip(clients, codings) {
            let response = client.response
            #expect(response.header("content-encoding") == (coding == "gzip" ? "gzip" : nil))
            let text = coding == "gzip" ? try gunzip(response.body) : response.body
            #expect(Scrape(String(decoding: text, as: UTF8.self))["ociregistry_pool_threads"] ?? 0 > 0)
        }
        mirror.close()
    }

    @Test("limits are metrics in bytes, and 0 where there is none", arguments: [nil, 20 << 30] as [Int64?])
    func limits(_ limit: Int64?) throws {
        let mirror = try MirrorKit {
            $0.limits.budget.maxBytes = limit
            $0.limits.budget.minFreeBytes = limit
        }
        mirror.settle()
        let scrape = try mirror.scrape()
        #expect(scrape["ociregistry_store_max_bytes"] == Double(limit ?? 0))
        #expect(scrape["ociregistry_store_min_free_bytes"] == Double(limit ?? 0))
        mirror.close()
    }

    @Test("process, loop, pool, heap, network and store metrics have values") func processMetrics() throws {
        let mirror = try MirrorKit()
        let image = FakeImage()
        image.put(on: mirror.fake, tag: "v1")
        #expect(mirror.get("/v2/team/app/manifests/v1").status == 200)
        mirror.settle()
        let scrape = try mirror.scrape()
        for name in [
            "process_cpu_seconds_total", "process_resident_memory_bytes", "process_virtual_memory_bytes",
            "process_virtual_memory_max_bytes", "process_heap_bytes", "process_open_fds", "process_max_fds",
            "process_threads", "process_network_receive_bytes_total", "process_network_transmit_bytes_total",
            "ociregistry_loop_active_handles", "ociregistry_pool_threads", "ociregistry_pool_jobs_total",
            "ociregistry_heap_used_bytes", "ociregistry_live_objects{kind=\"cached_manifest\"}",
            "ociregistry_manifest_memory_bytes", "ociregistry_store_filesystem_size_bytes",
            "ociregistry_store_filesystem_free_bytes", "ociregistry_store_recovered", "ociregistry_store_tags",
        ] {
            #expect(scrape[name] ?? 0 > 0, "\(name)")
        }
        #expect(scrape["ociregistry_log_lines_dropped_total"] == 7)
        let started = try #require(scrape["process_start_time_seconds"])
        #expect(abs(Date().timeIntervalSince1970 - started) < 86_400)
        let build = #"{version="1",swift="2",libuv="3",libcurl="4",openssl="5"}"#
        #expect(scrape["ociregistry_build_info\(build)"] == 1)
        mirror.close()
    }

    @Test("partial and quarantined files on disk are counted") func diskCounts() throws {
        let directory = try TemporaryDirectory()
        let store = "\(directory.path)/store-v1"
        for folder in ["partial", "quarantine"] {
            try FileManager.default.createDirectory(atPath: "\(store)/\(folder)", withIntermediateDirectories: true)
        }
        let digest = digestOf([1]).hex
        let partial = Layout(imagePath: directory.path).partialFile(
            PullKey(host: MirrorKit.host, repository: RepositoryName("a")!, digest: digestOf([1])))  // a valid name
        try Data(count: 1234).write(to: URL(filePath: partial))
        try Data(count: 1).write(to: URL(filePath: "\(store)/quarantine/\(digest).test"))
        let wrong = "\(store)/blobs/sha256/\(digest.prefix(2))"
        try FileManager.default.createDirectory(atPath: wrong, withIntermediateDirectories: true)
        try Data().write(to: URL(filePath: "\(wrong)/\(digest)"))
        let mirror = try MirrorKit { $0.imagePath = directory.path }
        mirror.wait(until: { mirror.store.isRecovered })
        let scrape = try mirror.scrape()
        #expect(scrape["ociregistry_store_partial_files"] == 1)
        #expect(scrape["ociregistry_store_partial_bytes"] == 1234)
        #expect(scrape["ociregistry_store_quarantined_files"] == 2)
        #expect(scrape["ociregistry_store_set_aside_total"] == 1)
        mirror.close()
    }

    /// Hosts whose tags are on disk have their label before anybody asks.
    @Test("hosts with tags on disk have their label after a restart") func namespacesAfterRestart() throws {
        let directory = try TemporaryDirectory()
        let image = FakeImage()
        let first = try MirrorKit {
            $0.imagePath = directory.path
            $0.registries = { [other = RegistryHost("other.test")!] port in  // a valid host
                var config = RegistryConfig(name: other)
                config.send(to: "http://127.0.0.1:\(port)")
                return [config]
            }
        }
        first.store.putManifest(image.manifest, digest: image.digest, mediaType: .ociManifest)
        var isStored = false
        first.store.setTag(
            host: RegistryHost("other.test")!, repository: RepositoryName("a/b")!, tag: "v1", digest: image.digest
        ) { _ in isStored = true }  // both valid
        first.wait(until: { isStored })
        first.close()
        let second = try MirrorKit { $0.imagePath = directory.path }
        second.wait(until: { second.store.isRecovered })
        let before = try second.scrape()
        #expect(before["ociregistry_cached_pulls_by_ns_total{ns=\"other.test\"}"] == 0)
        #expect(second.get("/v2/other.test/a/b/manifests/v1").status == 200)
        // By digest alone, any host's name will do: that is no reason to remember it.
        #expect(second.get("/v2/made.up/a/b/manifests/\(image.digest)").status == 200)
        let after = try second.scrape()
        #expect(after["ociregistry_cached_pulls_by_ns_total{ns=\"other.test\"}"] == 1)
        #expect(after["ociregistry_cached_pulls_by_ns_total{ns=\"other\"}"] == 1)
        #expect(after["ociregistry_cached_pulls_by_ns_total{ns=\"made.up\"}"] == nil)
        second.close()
    }

    @Test("a stuck thread pool does not delay a scrape") func stuckPool() throws {
        let mirror = try MirrorKit {
            $0.readingDeadlineMilliseconds = MetricsEndpoint.readingDeadlineMilliseconds
        }
        mirror.settle()
        let first = try mirror.scrape()
        // More jobs than the pool has threads, all of which wait for this lock.
        let gate = Gatekeeper()
        for _ in 0..<(Offload.threads + 3) { mirror.offload.run({ gate.pass() }, then: { _ in }) }
        let clients = try ["gzip", "gzip", "identity"].map { coding in
            mirror.start(.get("/metrics", [("Accept-Encoding", coding)]), port: try mirror.metricsPort())
        }
        mirror.wait(for: clients)
        for client in clients {
            #expect(client.response.header("content-encoding") == nil, "the pool compresses, and has no thread for it")
            let scrape = Scrape(client.response.text)
            #expect(scrape["ociregistry_pool_queue_depth"] ?? 0 >= 3)
            #expect(scrape["process_max_fds"] == first["process_max_fds"])
        }
        gate.open()
        mirror.settle()
        #expect(try mirror.scrape()["ociregistry_pool_queue_depth"] == 0)
        mirror.close()
    }
}

@Suite struct LoopMeasureTests {
    @Test("loop iterations measure busy time without the idle time") func iterations() throws {
        let loop = try EventLoop()
        var fired = 0
        let timer = Registry.Timer(on: loop) {
            fired += 1
            // Work of 20 ms; the loop has waited 10 ms for each.
            let end = EventLoop.nowNanoseconds + 20_000_000
            while EventLoop.nowNanoseconds < end {}
            if fired == 3 { loop.stop() }
        }
        timer.start(afterMilliseconds: 10, everyMilliseconds: 30)
        loop.run()
        timer.close()
        loop.close()
        #expect(loop.iterations.count() >= 3)
        #expect(loop.iterations.sumNanoseconds() >= 40_000_000, "the last turn ends after the loop has been left")
    }

    @Test("pool jobs are measured in run and wait time") func jobs() throws {
        let run = try LoopRun()
        let offload = Offload(on: run.loop)
        var left = 5
        for _ in 0..<5 {
            offload.run({ usleep(2000) }) { (_: Result<Int32, any Error>) in
                left -= 1
                if left == 0 { run.finish() }
            }
        }
        run.run()
        #expect(offload.runs.count() == 5 && offload.waits.count() == 5)
        #expect(offload.runs.sumNanoseconds() >= 10_000_000)
        run.close()
    }
}

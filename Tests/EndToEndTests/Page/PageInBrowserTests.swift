// The page in a real browser, before a server that says what the test wants: what it computes, how it takes restarts
// and outages, and that nothing it is told becomes markup.

import Foundation
import TestSupport
import Testing

@testable import Page

@Suite(.needs(.chromium)) struct PageInBrowserTests {
    /// A reading with what the tests look at; everything else a server may lack, and the page must bear it.
    private static func metrics(
        hits: Int, misses: Int, fast: Int, start: Int = 1000, more: String = ""
    ) -> ScriptedSite.Answer {
        let all = hits + misses
        let name = "ociregistry_http_request_duration_seconds"
        let text = """
            # TYPE process_start_time_seconds gauge
            process_start_time_seconds \(start)
            # HELP \(name) How long.
            # TYPE \(name) histogram
            \(name)_bucket{endpoint="blob",verdict="hit",le="0.001"} \(fast)
            \(name)_bucket{endpoint="blob",verdict="hit",le="0.002"} \(hits)
            \(name)_bucket{endpoint="blob",verdict="hit",le="+Inf"} \(hits)
            \(name)_count{endpoint="blob",verdict="hit"} \(hits)
            \(name)_bucket{endpoint="blob",verdict="miss",le="0.001"} 0
            \(name)_bucket{endpoint="blob",verdict="miss",le="0.002"} 0
            \(name)_bucket{endpoint="blob",verdict="miss",le="+Inf"} \(misses)
            \(name)_count{endpoint="blob",verdict="miss"} \(misses)
            # TYPE ociregistry_blob_pulls_total counter
            ociregistry_blob_pulls_total \(all)
            # TYPE ociregistry_http_connections_open gauge
            ociregistry_http_connections_open 7
            \(more)

            """
        return .init(fields: [("Content-Type", "text/plain; version=0.0.4; charset=utf-8")], body: Array(text.utf8))
    }

    private static func browse(
        _ readings: [ScriptedSite.Answer], html: [UInt8]? = nil, milliseconds: Int = 9000
    ) throws -> BrowsedPage {
        let page = ScriptedSite.Answer(
            fields: Page.fields + [("Content-Type", "text/html; charset=utf-8")], body: html ?? Page.html)
        let site = try ScriptedSite(["/": [page], "/metrics": readings])
        return try Chromium.open("http://\(site.address)/#tables", milliseconds: milliseconds)
    }

    private static func tile(_ key: String, of page: BrowsedPage) throws -> Double {
        let text = try #require(page.attribute("data-value", inTagWith: "data-tile=\"\(key)\""))
        return try #require(Double(text), "tile \(key): '\(text)'")
    }

    @Test("the page computes rates and percentiles as Prometheus does") func tiles() throws {
        // Between the readings: 30 hits, 20 of them below a millisecond, and 10 misses that no bucket bounds.
        let page = try Self.browse([
            Self.metrics(hits: 1000, misses: 1000, fast: 0), Self.metrics(hits: 1030, misses: 1010, fast: 20),
        ])
        #expect(page.console.isEmpty, "\(page)")
        #expect(page.attribute("data-state", inTagWith: "html ") == "live")
        #expect(try Self.tile("hits", of: page) == 0.75)
        // Rank 20 of 40 is the last of those below a millisecond; rank 39.6 is beyond the last bound.
        #expect(abs(try Self.tile("p50", of: page) - 0.001) < 1e-9)
        #expect(abs(try Self.tile("p99", of: page) - 0.002) < 1e-9)
        #expect(try Self.tile("connections", of: page) == 7)
    }

    /// A server that starts anew counts from zero; what it has counted since is new.
    @Test("a restart of the server is noticed and gives no negative rates") func restart() throws {
        let page = try Self.browse([
            Self.metrics(hits: 1000, misses: 1000, fast: 0), Self.metrics(hits: 60, misses: 20, fast: 60, start: 2000),
        ])
        #expect(page.console.isEmpty, "\(page)")
        #expect(try Self.tile("hits", of: page) == 0.75)
        #expect(page.markup.contains("<title>restarted, noticed "))
        let pulls = page.rows.filter { $0.first == "ociregistry_blob_pulls_total" }
        #expect(pulls.map { $0.last } == ["80"])
    }

    @Test("an unreachable server is shown, and the last data stay") func unreachable() throws {
        let page = try Self.browse([
            Self.metrics(hits: 1000, misses: 1000, fast: 0), Self.metrics(hits: 1030, misses: 1010, fast: 20),
            .init(status: 503),
        ])
        #expect(page.attribute("data-state", inTagWith: "html ") == "unreachable")
        #expect(page.markup.contains("the server cannot be reached") && page.markup.contains("it answered 503, since "))
        #expect(try Self.tile("hits", of: page) == 0.75)
        #expect(page.attribute("data-readings", inTagWith: "html ") == "2")
    }

    /// By the rule of the alerts: with minFreeBytes by it, else by the file system's size, unless maxBytes ends before.
    @Test(
        "low disk space is shown by the page at the alerts' thresholds",
        arguments: [
            ((free: 21, size: 2000, keep: 20, max: 0, used: 1800), nil),
            ((17, 2000, 20, 0, 1800), "OciregistryDiskNearlyFull"), ((9, 2000, 20, 0, 1800), "OciregistryDiskFull"),
            ((150, 1000, 0, 0, 500), nil), ((90, 1000, 0, 0, 500), "OciregistryDiskNearlyFull"),
            ((19, 1000, 0, 0, 500), "OciregistryDiskFull"), ((60, 1000, 0, 900, 890), nil),
            ((60, 1000, 0, 900, 600), "OciregistryDiskNearlyFull"),
        ] as [((free: Int, size: Int, keep: Int, max: Int, used: Int), String?)])
    func lackOfRoom(_ disk: (free: Int, size: Int, keep: Int, max: Int, used: Int), _ entry: String?) throws {
        let values = [
            "filesystem_free": disk.free, "filesystem_size": disk.size, "min_free": disk.keep, "max": disk.max,
            "used": disk.used,
        ]
        let more = values.map { "# TYPE ociregistry_store_\($0)_bytes gauge\nociregistry_store_\($0)_bytes \($1)e9" }
        let page = try Self.browse(
            [Self.metrics(hits: 1, misses: 1, fast: 1, more: more.joined(separator: "\n"))], milliseconds: 3000)
        #expect(page.console.isEmpty, "\(page)")
        let shown = page.markup.matches(of: /<small> (OciregistryDisk[A-Za-z]+)<\/small>/).map { String($0.1) }
        #expect(shown == [entry].compactMap { $0 }, "\(disk)")
    }

    @Test("every chart says what a bad value means and names a runbook entry") func chartsSayWhatIsBad() throws {
        let page = try Self.browse([Self.metrics(hits: 1, misses: 1, fast: 1)], milliseconds: 3000)
        let body = try #require(page.markup.components(separatedBy: "<script>").first)
        let charts = body.components(separatedBy: "data-chart=\"").count - 1
        #expect(charts >= 28 && charts == body.matches(of: /; bad: [^<(]+\([A-Za-z]+\)</).count)
    }

    @Test("a response without metrics is shown as such") func notMetrics() throws {
        let page = try Self.browse([.init(body: Array("<html>a proxy's page</html>".utf8))])
        #expect(page.markup.contains("no metrics in its answer") && page.markup.contains("nothing read yet"))
    }

    /// Upstreams have a say in label values: a host that was pulled from has its name there.
    @Test("hostile label values are shown as text and run no script") func hostileLabels() throws {
        let hostile = #"<img src=x onerror="document.title='owned'"><script>document.title='owned'</script>"#
        let written = hostile.replacingOccurrences(of: "\"", with: "\\\"")
        func more(_ count: Int) -> String {
            """
            # TYPE ociregistry_upstream_pulls_by_ns counter
            ociregistry_upstream_pulls_by_ns{ns="\(written)"} \(count)
            ociregistry_upstream_pulls_by_ns{ns="a\\\\b\\nc, }"} \(count)
            ociregistry_upstream_pulls_by_ns{ns="__proto__"} \(count)
            # TYPE ociregistry_upstream_requests_total counter
            ociregistry_upstream_requests_total{ns="\(written)",class="error"} \(count)
            # TYPE ociregistry_upstream_rate_limit_remaining_seconds gauge
            ociregistry_upstream_rate_limit_remaining_seconds{ns="\(written)"} 30
            # TYPE ociregistry_build_info gauge
            ociregistry_build_info{version="\(written)"} 1
            """
        }
        let page = try Self.browse([
            Self.metrics(hits: 1, misses: 1, fast: 1, more: more(1)),
            Self.metrics(hits: 2, misses: 2, fast: 2, more: more(5)),
        ])
        #expect(page.console.isEmpty, "\(page)")
        let body = try #require(page.markup.components(separatedBy: "</script>").first)
        #expect(!body.contains("<img") && body.components(separatedBy: "<script>").count == 2)
        #expect(!page.markup.contains("<title>owned"))
        // In the table of all metrics, in the table of upstreams, and as a chart's column.
        let rows = page.rows
        let quoted = hostile.replacingOccurrences(of: "\"", with: "\\\"")
        #expect(rows.contains(["ociregistry_upstream_pulls_by_ns", "ns=\"\(quoted)\"", "5"]), "\(rows)")
        #expect(rows.contains { $0.first == hostile && $0.dropFirst().first == "rate limited" })
        #expect(rows.contains { $0.first == "Time" && $0.contains(hostile) && $0.contains("a\\b\nc, }") })
        #expect(rows.contains { $0.first == "Time" && $0.contains("__proto__") })
    }

    /// That the console stays empty above means something: a script that the policy does not know is refused, loudly.
    @Test("the browser refuses a script whose hash is not in the policy") func policy() throws {
        let other = String(decoding: Page.html, as: UTF8.self)
            .replacingOccurrences(of: "'use strict';", with: "'use strict'; ")
        let page = try Self.browse([Self.metrics(hits: 1, misses: 1, fast: 1)], html: Array(other.utf8))
        #expect(page.console.contains { $0.contains("Content Security Policy") }, "\(page)")
        #expect(page.attribute("data-state", inTagWith: "html ") == "starting")
    }
}

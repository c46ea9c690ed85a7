// The whole of it: a real Prometheus scrapes a real server through a session that provokes every kind of event, and
// every query of both dashboards finds something, and nothing of the other targets that this Prometheus scrapes.

import Foundation
import TestSupport
import Testing

@testable import Registry

@Suite(.needs(.prometheus, .nodeExporter)) struct SessionTests {
    /// Wider than the session, so that a rate at its end has all of it.
    private static let window = "5m"

    /// Lines of the dashboards that this session leaves at 0, `panel/legend`. Connections are refused at the limit of
    /// descriptors, log lines dropped when the disk is slower than the log, and blocks mapped when something large is
    /// held; a queue of the pool that a scrape happens to see cannot be arranged. No name is looked up.
    private static let quiet: Set<String> = [
        "Accepted and refused/refused", "Log lines dropped/dropped {{instance}}", "Pool queue/waiting {{instance}}",
        "Pool queue/in flight {{instance}}", "Heap bytes/mapped {{instance}}",
        "Images removed/{{reason}}", "Bytes removed/{{reason}}", "Disk/disk",
        "No room/evictions without result", "No room/refused", "Clock of waits/clock",
        "Upstream requests in flight/lookups {{state}}", "Upstream requests in flight/lookups refused",
    ]

    /// What was provoked, as series that have to have counted.
    private static let provoked = [
        "ociregistry_cached_pulls_by_ns_total{ns=\"good.test\"}", "ociregistry_upstream_pulls_by_ns{ns=\"slow.test\"}",
        "ociregistry_http_request_duration_seconds_count{endpoint=\"base\", verdict=\"none\"}",
        "ociregistry_http_request_duration_seconds_count{endpoint=\"manifest\", verdict=\"hit\"}",
        "ociregistry_http_request_duration_seconds_count{endpoint=\"manifest\", verdict=\"miss\"}",
        "ociregistry_http_request_duration_seconds_count{endpoint=\"manifest\", verdict=\"stale\"}",
        "ociregistry_http_request_duration_seconds_count{endpoint=\"manifest\", verdict=\"error\"}",
        "ociregistry_http_request_duration_seconds_count{endpoint=\"blob\", verdict=\"hit\"}",
        "ociregistry_http_request_duration_seconds_count{endpoint=\"blob\", verdict=\"joined\"}",
        "ociregistry_http_request_duration_seconds_count{endpoint=\"blob\", verdict=\"miss\"}",
        "ociregistry_http_request_duration_seconds_count{endpoint=\"blob\", verdict=\"error\"}",
        "ociregistry_http_request_duration_seconds_count{endpoint=\"tags\", verdict=\"hit\"}",
        "ociregistry_http_request_duration_seconds_count{endpoint=\"tags\", verdict=\"miss\"}",
        "ociregistry_http_request_duration_seconds_count{endpoint=\"tags\", verdict=\"error\"}",
        "ociregistry_http_request_duration_seconds_count{endpoint=\"referrers\", verdict=\"miss\"}",
        "ociregistry_http_request_duration_seconds_count{endpoint=\"referrers\", verdict=\"error\"}",
        "ociregistry_http_request_duration_seconds_count{endpoint=\"other\", verdict=\"error\"}",
        "ociregistry_http_responses_total{endpoint=\"manifest\", class=\"3xx\"}",
        "ociregistry_http_responses_total{endpoint=\"blob\", class=\"5xx\"}",
        "ociregistry_upstream_requests_total{ns=\"failing.test\", class=\"5xx\"}",
        "ociregistry_upstream_requests_total{ns=\"gone.test\", class=\"error\"}",
        "ociregistry_upstream_requests_total{ns=\"good.test\", class=\"4xx\"}",
        "ociregistry_upstream_token_requests_total{ns=\"tokens.test\", result=\"success\"}",
        "ociregistry_upstream_token_requests_total{ns=\"badtokens.test\", result=\"failure\"}",
        "ociregistry_upstream_rate_limit_remaining_seconds{ns=\"limited.test\"}",
        "ociregistry_upstream_rate_limited_total{ns=\"limited.test\"}",
        "ociregistry_upstream_ratelimit_limit{ns=\"tokens.test\"}",
        "ociregistry_upstream_ratelimit_remaining{ns=\"tokens.test\"}",
        "ociregistry_upstream_credentials_refused_total{ns=\"badtokens.test\"}",
        "ociregistry_upstream_failovers_total{ns=\"failover.test\"}",
        "ociregistry_pulls_total{kind=\"blob\", result=\"failure\"}",
        "ociregistry_pulls_total{kind=\"manifest\", result=\"success\"}", "ociregistry_pulls_resumed_total",
        "ociregistry_verification_failures_total{kind=\"blob\"}",
        "ociregistry_verification_failures_total{kind=\"manifest\"}", "ociregistry_coalesced_requests_total",
        "ociregistry_store_set_aside_total", "ociregistry_store_quarantined_files",
        "ociregistry_store_damaged_files_total{by=\"read\"}", "ociregistry_scrub_files_total",
        "ociregistry_store_write_failures_total{reason=\"no_space\"}", "ociregistry_http_requests_malformed_total",
        "ociregistry_http_requests_aborted_total", "ociregistry_upstream_reconnects_total",
        "ociregistry_denied_requests_total{rule=\"deny\"}",
        "ociregistry_negative_hits_total{status=\"404\"}",
        "ociregistry_upstream_quota_saved_total{ns=\"quota.test\", kind=\"manifest\"}",
        "ociregistry_cooldown_holds_total{kind=\"tag\"}", "ociregistry_cooldown_holds_total{kind=\"manifest\"}",
        "ociregistry_cooldown_holds_total{kind=\"blob\"}", "ociregistry_cooldown_waiting_tags",
    ]

    @Test("every panel, annotation and rule has data after a session that provokes each event") func panels() throws {
        let scene = try ObservedServer(prepare: ObservedSession.spoil)
        // Counters have to be seen before they are seen to grow.
        try scene.waitToSee("count_over_time(ociregistry_build_info[1m]) > 1")
        let start = Date().timeIntervalSince1970
        try ObservedSession(scene: scene).run()
        try scene.waitForScrapes()

        for series in Self.provoked {
            let values = try scene.prometheus.now(series).flatMap(\.values)
            #expect(values.contains { $0 > 0 }, "\(series) has not counted")
        }
        let end = Date().timeIntervalSince1970
        for path in Dashboard.paths {
            let board = try Dashboard.read(path)
            for panel in board.askingPanels {
                for target in panel.targets ?? [] { try expect(target, of: panel, in: scene, start, end) }
            }
            for annotation in board.annotations.list { try expect(annotation, in: scene) }
        }
        try expectVariables(in: scene)
        try expectRules(in: scene)
        try scene.close()
    }

    private func expect(
        _ target: Dashboard.Target, of panel: Dashboard.Panel, in scene: ObservedServer, _ start: Double, _ end: Double
    ) throws {
        func ask(_ query: String) throws -> [PrometheusClient.Series] {
            #expect(!query.contains("$"), "\(query)")
            return target.isInstant
                ? try scene.prometheus.now(query, at: end) : try scene.prometheus.range(query, from: start, to: end)
        }
        let step = Int(PrometheusClient.stepSeconds * 1000)
        let query = Dashboard.filled(target.expr, window: Self.window, step: step)
        let found = try ask(query)
        let values = found.flatMap(\.values)
        let name = "\(panel.title)/\(target.legendFormat)"
        #expect(values.contains { !$0.isNaN }, "\(name) is empty: \(query)")
        if !Self.quiet.contains(name) { #expect(values.contains { $0 > 0 }, "\(name) is 0: \(query)") }
        let alone = try ask(
            Dashboard.filled(
                target.expr, window: Self.window, step: step, job: "ociregistry",
                instance: "127.0.0.1:\(scene.metricsPort)"))
        #expect(Self.texts(found) == Self.texts(alone), "\(name) shows what is not this server's: \(query)")
    }

    private static func texts(_ series: [PrometheusClient.Series]) -> [String] {
        series.map { "\($0.labels.sorted { $0.key < $1.key }) \($0.values)" }.sorted()
    }

    /// A restart's mark stands at the time that the server started, and at no time of another target.
    private func expect(_ annotation: Dashboard.Annotation, in scene: ObservedServer) throws {
        let found = try scene.prometheus.now(Dashboard.filled(annotation.expr, window: Self.window, step: 1000))
        let start = try scene.prometheus.now(
            "process_start_time_seconds{instance=\"127.0.0.1:\(scene.metricsPort)\"} * 1000")
        #expect(found.flatMap(\.values) == start.flatMap(\.values) && found.count == 1, "\(annotation.name)")
    }

    /// What a number says has to be true of now: nothing, where there is nothing to say.
    @Test("latencies and ratios are empty on an idle server, not old or undefined") func idleServer() throws {
        let scene = try ObservedServer { _ in }
        try scene.waitToSee("count_over_time(ociregistry_build_info[1m]) > 2")
        var empty: Set<String> = []
        for path in Dashboard.paths {
            for panel in try Dashboard.read(path).askingPanels {
                for target in (panel.targets ?? []).filter(\.isInstant) {
                    let values = try scene.prometheus.now(
                        Dashboard.filled(target.expr, window: Self.window, step: 1000)
                    ).flatMap(\.values)
                    #expect(!values.contains { $0.isNaN }, "\(panel.title)")
                    if values.isEmpty { empty.insert(panel.title) }
                }
            }
        }
        #expect(empty == ["Hit ratio", "Error ratio", "p99 latency"])
        try scene.close()
    }

    /// What can be chosen at the top of the dashboards.
    private func expectVariables(in scene: ObservedServer) throws {
        let instances = try scene.prometheus.now("group by (instance) (ociregistry_build_info)")
        #expect(instances.compactMap { $0.labels["instance"] } == ["127.0.0.1:\(scene.metricsPort)"])
        let names = try scene.prometheus.now("group by (ns) (ociregistry_upstream_requests_total)")
        let hosts = ObservedServer.Upstream.allCases.map(\.host) + [ObservedServer.goneHost, "other"]
        #expect(Set(names.compactMap { $0.labels["ns"] }).isSuperset(of: hosts))
    }

    /// Rules can be evaluated over what a server really says, and the alerts that wait for nothing have fired.
    private func expectRules(in scene: ObservedServer) throws {
        let groups = try scene.prometheus.data("/api/v1/rules")["groups"] as? [[String: Any]] ?? []
        let rules = groups.flatMap { $0["rules"] as? [[String: Any]] ?? [] }
        #expect(!rules.isEmpty)
        for rule in rules {
            let name = rule["name"] as? String ?? ""
            #expect(rule["health"] as? String == "ok", "\(name): \(rule["lastError"] ?? "")")
            guard rule["type"] as? String == "recording" else { continue }
            #expect(try !scene.prometheus.now(name).isEmpty, "\(name) is never recorded")
        }
        let alerts = try scene.prometheus.data("/api/v1/alerts")["alerts"] as? [[String: Any]] ?? []
        let names = Set(alerts.compactMap { ($0["labels"] as? [String: String])?["alertname"] })
        for name in [
            "VerificationFailures", "StoreWriteFailures", "ContentSetAside", "UpstreamRateLimited",
            "UpstreamTokensFailing",
        ] { #expect(names.contains("Ociregistry\(name)"), "\(name) of \(names)") }
        #expect(!names.contains("OciregistryDown") && !names.contains("OciregistryLogLinesDropped"))
    }

    // MARK: The text

    /// What promtool says of the reference's names, which are kept as they are; and of nothing else.
    private static let knownLint: Set<String> = [
        "ociregistry_cached_pulls_by_ns_total metric names should not contain abbreviated units",
        "ociregistry_upstream_pulls_by_ns metric names should not contain abbreviated units",
        "ociregistry_upstream_pulls_by_ns counter metrics should have \"_total\" suffix",
        "ociregistry_blob_bytes_on_disk_total non-counter metrics should not have \"_total\" suffix",
        "ociregistry_manifest_bytes_on_disk_total non-counter metrics should not have \"_total\" suffix",
        "ociregistry_cached_manifest_count non-histogram and non-summary metrics should not have \"_count\" suffix",
        "ociregistry_cached_blob_count non-histogram and non-summary metrics should not have \"_count\" suffix",
    ]

    @Test("promtool reports only the known lint findings about the exposition") func exposition() throws {
        let scene = try ObservedServer { _ in }
        let response = scene.exposition()
        #expect(response.status == 200)
        #expect(response.header("content-type") == "text/plain; version=0.0.4; charset=utf-8")
        let file = try scene.files.write(response.body, to: "metrics.txt")
        let promtool = try ChildProcess(["promtool", "check", "metrics"], input: file)
        _ = try promtool.wait()
        #expect(Set(promtool.output.lines + promtool.errors.lines) == Self.knownLint)
        try scene.close()
    }
}

// Prometheus's own tool on our files: the configuration, the rules, and the unit test of every rule.

import Foundation
import TestSupport
import Testing

@testable import Configuration
@testable import Registry

@Suite struct PrometheusRulesTests {
    private static let folder = "\(Checkout.root)/observability/prometheus"

    private struct Rules {
        let recorded: [YAMLNode]
        let alerts: [YAMLNode]

        init() throws {
            let groups = try YAMLNode.read("observability/prometheus/rules.yml")["groups"]?.items ?? []
            let rules = groups.flatMap { $0["rules"]?.items ?? [] }
            recorded = rules.filter { $0["record"] != nil }
            alerts = rules.filter { $0["alert"] != nil }
        }
    }

    @Test(
        "promtool accepts the configuration and the rules",
        .needs(.prometheus), arguments: [["check", "config", "prometheus.yml"], ["check", "rules", "rules.yml"]])
    func promtool(_ arguments: [String]) throws {
        let command = ["promtool"] + arguments.dropLast() + ["\(Self.folder)/\(arguments[2])"]
        let text = String(decoding: try Command.check(command), as: UTF8.self)
        #expect(text.contains("SUCCESS") && !text.contains("FAILED"), "\(text)")
    }

    @Test("promtool's unit tests of the rules pass", .needs(.prometheus)) func ruleTests() throws {
        try Command.check(["promtool", "test", "rules", "\(Self.folder)/rules_test.yml"])
    }

    /// Each alert has a test in which it fires, for one instance of several, and one in which it does not (yet).
    @Test("every alert is tested firing and silent, and every recorded series is tested") func ruleCoverage() throws {
        let rules = try Rules()
        let tests = try YAMLNode.read("observability/prometheus/rules_test.yml")["tests"]?.items ?? []
        for alert in rules.alerts.compactMap({ $0["alert"]?.text }) {
            let cases = tests.flatMap { $0["alert_rule_test"]?.items ?? [] }.filter { $0["alertname"]?.text == alert }
            #expect(cases.contains { $0["exp_alerts"]?.items.count == 1 }, "\(alert) is never seen to fire")
            #expect(cases.contains { $0["exp_alerts"]?.items.isEmpty == true }, "\(alert) is never seen to be quiet")
            let series = tests.filter { $0["name"]?.text == alert }.flatMap { $0["input_series"]?.items ?? [] }
            for instance in ["bad", "well"] {
                #expect(series.contains { $0["series"]?.text?.contains("\"\(instance):2112\"") == true }, "\(alert)")
            }
        }
        let asked = Set(tests.flatMap { $0["promql_expr_test"]?.items ?? [] }.compactMap { $0["expr"]?.text })
        #expect(asked == Set(rules.recorded.compactMap { $0["record"]?.text }))
    }

    /// VictoriaMetrics takes a series' first sample for a rise from nothing in these; rate() and resets() need two.
    @Test("no rule counts the first sample of a series as an event") func noFirstSamples() throws {
        let rules = try Rules()
        for rule in rules.recorded + rules.alerts {
            let query = rule["expr"]?.text ?? ""
            #expect(!query.contains(/\b(increase|changes|delta|idelta)\(/), "use rate() or resets(): \(query)")
        }
    }

    /// Two recorded series may be of different evaluations, and a range query over one sees the other at other times.
    @Test("a recorded series is computed from metrics, not from other recorded series")
    func recordedOfMetrics() throws {
        for rule in try Rules().recorded {
            let query = (rule["expr"]?.text ?? "").replacing(/\[[^\]]*\]/, with: "")
            #expect(!query.contains(":"), "\(rule["record"]?.text ?? ""): \(query)")
        }
    }

    @Test("every alert has a severity, a summary with its labels, a description and a runbook")
    func annotations() throws {
        let alerts = try Rules().alerts
        #expect(alerts.count > 10)
        for alert in alerts {
            let name = alert["alert"]?.text ?? ""
            #expect(name.hasPrefix("Ociregistry"))
            #expect(["info", "warning", "critical"].contains(alert["labels"]?["severity"]?.text ?? ""), "\(name)")
            for part in ["summary", "description", "runbook"] {
                #expect((alert["annotations"]?[part]?.text ?? "").count > 15, "\(name) has no \(part)")
            }
            #expect(alert["annotations"]?["summary"]?.text?.contains("$labels") == true, "\(name) does not say where")
        }
    }

    @Test("Prometheus scrapes the documented metrics port and loads the rules") func scrapeTarget() throws {
        let node = try YAMLNode.read("observability/prometheus/prometheus.yml")
        let job = try #require(node["scrape_configs"]?.items.first)
        #expect(job["job_name"]?.text == "ociregistry")
        #expect(job["static_configs"]?.items.first?["targets"]?.items.compactMap(\.text) == ["localhost:2112"])
        #expect(node["rule_files"]?.items.compactMap(\.text) == ["rules.yml"])
    }
}

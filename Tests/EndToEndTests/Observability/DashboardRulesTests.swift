// What a dashboard may not do, or it shows what is not so: the rules of Grafana's dashboard-linter, and those that come
// of this server's metrics.

import Foundation
import TestSupport
import Testing

@testable import Registry

@Suite struct DashboardRulesTests {
    private static let counters = Set(Catalog.families.filter { $0.kind == .counter }.map(\.name))
    private static let histograms = Set(Catalog.families.filter { $0.kind == .histogram }.map(\.name))
    /// Of the units that Grafana knows, those used here.
    private static let units: Set<String> = [
        "short", "string", "percentunit", "bytes", "Bps", "s", "reqps", "cps", "ops",
    ]
    /// What binds a query to the chosen jobs and instances.
    private static let choice = #"job=~"$job", instance=~"$instance""#

    private static func forEachTarget(
        of path: String, _ body: (Dashboard.Panel, Dashboard.Target) throws -> Void
    ) throws {
        for panel in try Dashboard.read(path).askingPanels {
            for target in panel.targets ?? [] { try body(panel, target) }
        }
    }

    // MARK: Grafana's dashboard-linter

    @Test("a dashboard is not editable in the browser, where changes would be lost", arguments: Dashboard.paths)
    func isNotEditable(_ path: String) throws {
        #expect(try Dashboard.read(path).editable == false)
    }

    @Test(
        "data source, job and instance can be chosen, and are reloaded when the time changes",
        arguments: Dashboard.paths)
    func variables(_ path: String) throws {
        let variables = try Dashboard.read(path).templating.list
        #expect(variables.prefix(3).map(\.name) == ["datasource", "job", "instance"])
        #expect(variables.prefix(3).map(\.label) == ["Data source", "Job", "Instance"])
        for variable in variables where variable.type == "query" {
            #expect(variable.refresh == 2, "\(variable.name)")
            #expect(variable.allValue == ".+" && variable.multi && variable.includeAll, "\(variable.name)")
        }
    }

    @Test("every selector is bound to the chosen jobs and instances", arguments: Dashboard.paths)
    func selectorsAreBound(_ path: String) throws {
        let board = try Dashboard.read(path)
        let queries = board.askingPanels.flatMap { ($0.targets ?? []).map(\.expr) } + board.annotations.list.map(\.expr)
        for query in queries {
            let selectors = query.matches(of: /\b(?:ociregistry|process|scrape)_[a-z0-9_]+/).count
            let bound = query.components(separatedBy: "{\(Self.choice)").count - 1
            #expect(selectors > 0 && selectors == bound, "\(query)")
        }
    }

    @Test("rates use Grafana's $__rate_interval as their window", arguments: Dashboard.paths)
    func rateWindows(_ path: String) throws {
        try Self.forEachTarget(of: path) { panel, target in
            let windows = target.expr.matches(of: /\[([^\]]*)\]/).map { String($0.1) }
            #expect(windows.allSatisfy { $0 == "$__rate_interval" }, "\(panel.title): \(target.expr)")
            #expect(windows.count == target.expr.matches(of: /\brate\(/).count, "\(panel.title): \(target.expr)")
        }
    }

    @Test("a counter is shown as a rate, never as a total", arguments: Dashboard.paths)
    func countersAreRates(_ path: String) throws {
        try Self.forEachTarget(of: path) { panel, target in
            let pattern = /(rate\()?\b((?:ociregistry|process)_[a-z0-9_]+)\{[^}]*\}(\[\$__rate_interval\]\))?/
            for match in target.expr.matches(of: pattern) {
                let name = String(match.2)
                let base = name.replacing(/_(bucket|count|sum)$/, with: "")
                guard Self.counters.contains(name) || Self.histograms.contains(base) else { continue }
                #expect(match.1 != nil && match.3 != nil, "\(panel.title): \(name) is shown as it is")
            }
        }
    }

    @Test("every panel has a unit that Grafana supports", arguments: Dashboard.paths)
    func unitsAreKnown(_ path: String) throws {
        for panel in try Dashboard.read(path).askingPanels {
            #expect(Self.units.contains(panel.fieldConfig?.defaults.unit ?? ""), "\(panel.title)")
        }
    }

    // MARK: Ours

    /// With "All" chosen, a selector takes every exporter's `process_*`. Targets that have `ociregistry_build_info` are
    /// ours.
    @Test("metrics that other exporters have as well are bound to this server's targets", arguments: Dashboard.paths)
    func sharedNamesAreBound(_ path: String) throws {
        let board = try Dashboard.read(path)
        let queries = board.askingPanels.flatMap { ($0.targets ?? []).map(\.expr) } + board.annotations.list.map(\.expr)
        let ours = "and on (job, instance) ociregistry_build_info{\(Self.choice)}"
        for query in queries where query.contains(/\b(process|scrape)_/) { #expect(query.contains(ours), "\(query)") }
    }

    /// A reduced range would show its last value for as long as it is in it, however old.
    @Test("a single-number panel uses an instant query", arguments: Dashboard.paths)
    func instantQueries(_ path: String) throws {
        try Self.forEachTarget(of: path) { panel, target in
            #expect(target.isInstant == ["stat", "table"].contains(panel.type), "\(panel.title)")
        }
    }

    /// Older Grafana takes an end that is null for 0, so the range has nothing in it.
    @Test("a value mapping of a range has both ends", arguments: Dashboard.paths)
    func mappedRangesHaveEnds(_ path: String) throws {
        for panel in try Dashboard.read(path).askingPanels {
            for mapping in panel.fieldConfig?.defaults.mappings ?? [] where mapping.type == "range" {
                #expect(mapping.range?.from != nil && mapping.range?.to != nil, "\(panel.title)")
            }
        }
    }

    @Test("restarts are marked in every chart at the time of the start", arguments: Dashboard.paths)
    func startsAreMarked(_ path: String) throws {
        let list = try Dashboard.read(path).annotations.list
        #expect(list.map(\.name) == ["Restarts"])
        for annotation in list {
            #expect(annotation.enable && annotation.useValueForTime)
            #expect(annotation.datasource == Dashboard.DataSource(type: "prometheus", uid: "${datasource}"))
            #expect(annotation.expr.contains("process_start_time_seconds") && annotation.expr.hasSuffix("* 1000"))
        }
    }

    /// Columns are a step apart, and the window is up to four scrapes wide: what adds up is a rate times the step.
    @Test("columns of counted events add up to the number of events", .needs(.prometheus), arguments: ["5s", "1m"])
    func countsOnce(_ step: String) throws {
        let (milliseconds, window) = step == "5s" ? (5000, "20s") : (60_000, "65s")
        var tests = ""
        for path in Dashboard.paths {
            try Self.forEachTarget(of: path) { panel, target in
                guard target.expr.contains("$__interval_ms") else { return }
                let name = try #require(Dashboard.metrics(in: target.expr).first)
                let query = Dashboard.filled(target.expr, window: window, step: milliseconds)
                // Three events a scrape: 360 in ten minutes.
                tests += """
                    - name: '\(panel.title)'
                      interval: 5s
                      input_series:
                      - series: '\(name){job="ociregistry", instance="a:1", reason="prune"}'
                        values: 100+3x400
                      promql_expr_test:
                      - expr: 'abs(sum(sum_over_time((\(query))[10m:\(step)])) / 360 - 1) < bool 0.12'
                        eval_time: 30m
                        exp_samples: [{labels: '{}', value: 1}]

                    """
            }
        }
        #expect(tests.components(separatedBy: "- name:").count - 1 >= 3)
        let files = try TemporaryDirectory()
        let file = try files.write("rule_files: []\nevaluation_interval: 5s\ntests:\n\(tests)", to: "once.yml")
        try Command.check(["promtool", "test", "rules", file])
    }
}

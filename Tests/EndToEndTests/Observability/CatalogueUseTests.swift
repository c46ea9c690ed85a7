// Dashboards, rules and the document speak of the metrics that there are, of all of them, and of no others.

import Foundation
import TestSupport
import Testing

@testable import Configuration
@testable import Registry

@Suite struct CatalogueUseTests {
    private static let names = Set(Catalog.families.map(\.name))
    /// Prometheus's own, about its scrapes.
    private static let foreign: Set<String> = ["up", "scrape_duration_seconds"]

    @Test("dashboards query only metrics of the catalogue", arguments: Dashboard.paths)
    func dashboardMetrics(_ path: String) throws {
        for panel in try Dashboard.read(path).askingPanels {
            for query in (panel.targets ?? []).map(\.expr) {
                let unknown = Dashboard.metrics(in: query).subtracting(Self.names).subtracting(Self.foreign)
                #expect(unknown.isEmpty, "\(panel.title): \(query)")
            }
        }
        for variable in try Dashboard.read(path).templating.list {
            #expect(Dashboard.metrics(in: variable.definition ?? "").isSubset(of: Self.names))
        }
    }

    @Test("every metric of the catalogue is queried by a panel") func panels() throws {
        let queries = try Dashboard.paths.flatMap { try Dashboard.read($0).askingPanels }
            .flatMap { ($0.targets ?? []).map(\.expr) }
        let asked = queries.reduce(into: Set<String>()) { $0.formUnion(Dashboard.metrics(in: $1)) }
        #expect(Self.names.subtracting(asked).sorted() == [])
    }

    /// The series that rules record are named `level:metric:operation`, so a colon tells them apart.
    @Test("Prometheus rules query only recorded series and metrics of the catalogue") func ruleMetrics() throws {
        let rules = try YAMLNode.read("observability/prometheus/rules.yml")["groups"]?.items ?? []
        let all = rules.flatMap { $0["rules"]?.items ?? [] }
        let recorded = Set(all.compactMap { $0["record"]?.text })
        for query in all.compactMap({ $0["expr"]?.text }) {
            let bare = query.replacing(/\[[^\]]*\]/, with: "")
            let written = Set(bare.matches(of: /[a-z_]+(?::[a-z0-9_]+)+/).map { String($0.0) })
            #expect(written.isSubset(of: recorded), "\(query)")
            let rest = written.reduce(query) { $0.replacingOccurrences(of: $1, with: "") }
            let unknown = Dashboard.metrics(in: rest).subtracting(Self.names).subtracting(Self.foreign)
            #expect(unknown.isEmpty, "\(query): \(unknown)")
        }
    }

    // MARK: The document

    /// The rows of docs/observability.md's tables of metrics.
    private struct Row {
        let name: String
        let kind: String
        let labels: [String]
        let meaning: String
        let example: String

        static func all() throws -> [Row] {
            try SourceTree.text("docs/observability.md").split(separator: "\n").compactMap { line in
                guard line.hasPrefix("| `ociregistry_") || line.hasPrefix("| `process_") else { return nil }
                let bare = line.replacingOccurrences(of: "\\|", with: "\u{1}")
                let cells = bare.split(separator: "|").map {
                    $0.trimmingCharacters(in: .whitespaces).replacingOccurrences(of: "\u{1}", with: "|")
                }
                guard cells.count == 5 else { return nil }
                let labels = cells[2].split(separator: ",").map { $0.trimmingCharacters(in: ["`", " "]) }
                return Row(
                    name: cells[0].trimmingCharacters(in: ["`"]), kind: cells[1], labels: labels.filter { $0 != "–" },
                    meaning: cells[3], example: cells[4].trimmingCharacters(in: ["`"]))
            }
        }
    }

    @Test("the document lists every metric with its kind, labels and an example") func documentedMetrics() throws {
        let rows = try Row.all()
        #expect(rows.count == Self.names.count)
        for family in Catalog.families {
            let row = try #require(rows.first { $0.name == family.name }, "\(family.name) is not documented")
            #expect(row.kind == family.kind.rawValue, "\(family.name)")
            #expect(row.labels == family.labels, "\(family.name)")
            #expect(row.meaning.count > 10, "\(family.name) has no meaning")
            #expect(Dashboard.metrics(in: row.example).contains(family.name), "\(family.name): \(row.example)")
        }
        #expect(Set(rows.map(\.name)) == Self.names)
    }

    /// As rules, so that Prometheus itself says whether they can be asked.
    @Test("the documented example queries are valid PromQL", .needs(.prometheus)) func examples() throws {
        let files = try TemporaryDirectory()
        let rules = try Row.all().enumerated().map { number, row in
            let quoted = row.example.replacingOccurrences(of: "'", with: "''")
            return "  - record: example:number:\(number)\n    expr: '\(quoted)'\n"
        }
        let path = try files.write("groups:\n- name: examples\n  rules:\n" + rules.joined(), to: "rules.yml")
        try Command.check(["promtool", "check", "rules", path])
    }

    @Test("the document lists every alert with its severity") func documentedAlerts() throws {
        let text = try SourceTree.text("docs/observability.md")
        let groups = try YAMLNode.read("observability/prometheus/rules.yml")["groups"]?.items ?? []
        for rule in groups.flatMap({ $0["rules"]?.items ?? [] }) {
            guard let alert = rule["alert"]?.text else { continue }
            let severity = rule["labels"]?["severity"]?.text ?? ""
            #expect(text.contains("| `\(alert)` | \(severity) |"), "\(alert)")
        }
    }
}

// The dashboards as Grafana would take them: what it needs of the JSON, what is bound to what, and what stands where.

import Foundation
import TestSupport
import Testing

@testable import Configuration
@testable import OCI
@testable import Registry

@Suite struct DashboardTests {
    /// Variables that Grafana itself provides and these dashboards use.
    private static let builtin: Set<String> = ["__rate_interval", "__interval_ms", "__all"]
    private static let gridColumns = 24

    @Test("the dashboards are Runtime and Server, with different uids") func titles() throws {
        let titles = try Dashboard.paths.map { try Dashboard.read($0).title }
        #expect(titles == ["ociregistry · Runtime", "ociregistry · Server"])
        #expect(Set(try Dashboard.paths.map { try Dashboard.read($0).uid }).count == 2)
    }

    @Test("a dashboard has the schema version, tags, refresh and uid that Grafana expects", arguments: Dashboard.paths)
    func frame(_ path: String) throws {
        let board = try Dashboard.read(path)
        #expect(board.schemaVersion == 39)
        #expect(board.tags.contains("ociregistry"))
        #expect(board.graphTooltip == 1, "the crosshair is shared")
        #expect(board.refresh == "10s")
        #expect(board.uid.count <= 40 && board.uid.wholeMatch(of: /[a-z-]+/) != nil)
    }

    @Test("panels have unique ids and do not overlap", arguments: Dashboard.paths) func layout(_ path: String) throws {
        let board = try Dashboard.read(path)
        #expect(Set(board.panels.map(\.id)).count == board.panels.count, "an id twice")
        for (index, panel) in board.panels.enumerated() {
            let place = panel.gridPos
            #expect(
                place.x >= 0 && place.y >= 0 && place.w > 0 && place.h > 0 && place.x + place.w <= Self.gridColumns,
                "\(panel.title) is off the grid")
            for other in board.panels[..<index] where place.overlaps(other.gridPos) {
                Issue.record("\(panel.title) lies over \(other.title)")
            }
        }
    }

    @Test(
        "every panel has a unique title, a description, a unit, a data source and named series",
        arguments: Dashboard.paths)
    func panels(_ path: String) throws {
        let board = try Dashboard.read(path)
        #expect(Set(board.askingPanels.map(\.title)).count == board.askingPanels.count, "a title twice")
        for panel in board.askingPanels {
            #expect((panel.description ?? "").count > 20, "\(panel.title) has no description")
            #expect(panel.fieldConfig?.defaults.unit?.isEmpty == false, "\(panel.title) has no unit")
            let source = Dashboard.DataSource(type: "prometheus", uid: "${datasource}")
            #expect(panel.datasource == source, "\(panel.title)")
            let targets = panel.targets ?? []
            #expect(!targets.isEmpty, "\(panel.title) asks nothing")
            #expect(Set(targets.map(\.refId)).count == targets.count, "\(panel.title) has a refId twice")
            for target in targets {
                #expect(!target.legendFormat.isEmpty, "\(panel.title) has a line without a name")
                #expect(target.datasource == panel.datasource, "\(panel.title)")
            }
        }
    }

    @Test("every variable in a dashboard is defined, and every defined one is used", arguments: Dashboard.paths)
    func boundVariables(_ path: String) throws {
        let bound = Set(try Dashboard.read(path).templating.list.map(\.name)).union(Self.builtin)
        var used: Set<String> = []
        for text in try Dashboard.strings(in: path) {
            for match in text.matches(of: /\$(?:\{([a-zA-Z_]\w*)[^}]*\}|([a-zA-Z_]\w*))/) {
                let name = String(match.1 ?? match.2 ?? "")
                #expect(bound.contains(name), "$\(name) in '\(text)' is not bound")
                used.insert(name)
            }
            #expect(!text.contains("[["), "the old way of naming a variable: \(text)")
        }
        #expect(used.isSuperset(of: bound.subtracting(Self.builtin)), "a variable that nothing uses")
    }

    /// The one data source there is, is the one that gets chosen.
    @Test("variables default to the provisioned data source and to all jobs and instances", arguments: Dashboard.paths)
    func variables(_ path: String) throws {
        let provisioning = try YAMLNode.read("observability/grafana/provisioning/datasources/prometheus.yml")
        let source = try #require(provisioning["datasources"]?.items.first)
        #expect(source["type"]?.text == "prometheus")
        #expect(source["url"]?.text == "http://127.0.0.1:${PROMETHEUS_PORT}")
        let board = try Dashboard.read(path)
        let uid = try #require(source["uid"]?.text)
        #expect(board.templating.list.first?.type == "datasource")
        #expect(board.templating.list.first?.current.value == .one(uid))
        for variable in board.templating.list.dropFirst() {
            #expect(variable.type == "query" && variable.multi && variable.includeAll && variable.allValue == ".+")
            #expect(variable.datasource == Dashboard.DataSource(type: "prometheus", uid: "${datasource}"))
            #expect(variable.current.value == .many(["$__all"]))
            #expect(variable.definition?.hasPrefix("label_values(ociregistry_") == true)
        }
        let definitions = board.templating.list.dropFirst().prefix(2).map(\.definition)
        #expect(
            definitions == [
                "label_values(ociregistry_build_info, job)",
                #"label_values(ociregistry_build_info{job=~"$job"}, instance)"#,
            ])
    }

    @Test("the dashboard provider names its folder, and both scripts set its variables") func provisioning() throws {
        let node = try YAMLNode.read("observability/grafana/provisioning/dashboards/ociregistry.yml")
        let provider = try #require(node["providers"]?.items.first)
        #expect(provider["folder"]?.text == "ociregistry")
        #expect(provider["type"]?.text == "file")
        #expect(provider["options"]?["path"]?.text == "${DASHBOARDS}")
        for script in ["start-containers", "start-local"] {
            let text = try SourceTree.text("observability/\(script)")
            for name in ["DASHBOARDS", "PROMETHEUS_PORT"] { #expect(text.contains("\(name)="), "\(script): \(name)") }
        }
    }

    /// Prometheus is scraped as often as Grafana believes, or its windows would be too narrow.
    @Test("Grafana's data source and Prometheus have the same scrape interval") func interval() throws {
        let source = try YAMLNode.read("observability/grafana/provisioning/datasources/prometheus.yml")
        let prometheus = try YAMLNode.read("observability/prometheus/prometheus.yml")
        let interval = source["datasources"]?.items.first?["jsonData"]?["timeInterval"]?.text
        #expect(interval != nil && interval == prometheus["global"]?["scrape_interval"]?.text)
    }

    // MARK: Layout

    /// The reference's eight panels, where they are there.
    @Test("the server dashboard begins with the original server's eight panels") func serverPanels() throws {
        let board = try Dashboard.read("\(Dashboard.folder)/server.json")
        #expect(
            rows(of: board, count: 4) == [
                ["Manifest pulls", "Blob pulls"],
                ["Cached pulls", "Upstream (un-cached) pulls"],
                ["File system blob and manifest bytes", "Cached manifest and blob counts"],
                ["Total endpoint hits", "API errors"],
            ])
    }

    /// Each panel of the reference's Go-runtime dashboard has its counterpart where it was.
    @Test("the runtime dashboard follows the panel order of the original's Go dashboard") func runtimePanels() throws {
        let board = try Dashboard.read("\(Dashboard.folder)/runtime.json")
        #expect(
            rows(of: board, count: 5) == [
                ["Memory", "Handles and threads"],
                ["Heap bytes", "Live objects"],
                ["Loop busy time", "Thread-pool wait"],
                ["Loop iterations", "Process memory"],
                ["Network", "File descriptors"],
            ])
    }

    /// Titles of the first rows of the grid, from the left, when each panel is half as wide as the grid.
    private func rows(of board: Dashboard, count: Int) -> [[String]] {
        let panels = board.panels.prefix(2 * count).filter { $0.type != "row" && $0.gridPos.w == Self.gridColumns / 2 }
        let tops = Set(panels.map(\.gridPos.y)).sorted()
        return tops.map { top in
            panels.filter { $0.gridPos.y == top }.sorted { $0.gridPos.x < $1.gridPos.x }.map(\.title)
        }
    }
}

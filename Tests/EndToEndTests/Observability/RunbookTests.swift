// docs/runbooks.md, and what links to it: alerts, panels, and the page's notices.

import Foundation
import TestSupport
import Testing

@testable import Configuration
@testable import Page
@testable import Registry

@Suite struct RunbookTests {
    private static let path = "docs/runbooks.md"

    /// What stands under each heading of the third level.
    private static func entries() throws -> [String: String] {
        var entries: [String: String] = [:]
        for section in try SourceTree.text(path).components(separatedBy: "\n### ").dropFirst() {
            let lines = section.split(separator: "\n", maxSplits: 1, omittingEmptySubsequences: false)
            let body = String(lines.last ?? "").components(separatedBy: "\n## ").first ?? ""
            #expect(entries.updateValue(body, forKey: String(lines[0])) == nil, "\(lines[0]) is there twice")
        }
        return entries
    }

    private static func alerts() throws -> [YAMLNode] {
        let groups = try YAMLNode.read("observability/prometheus/rules.yml")["groups"]?.items ?? []
        return groups.flatMap { $0["rules"]?.items ?? [] }.filter { $0["alert"] != nil }
    }

    @Test("every alert's runbook_url leads to an entry, and every alert entry has its alert")
    func alertsHaveEntries() throws {
        let entries = try Self.entries()
        let alerts = try Self.alerts()
        for alert in alerts {
            let name = alert["alert"]?.text ?? ""
            #expect(entries[name] != nil, "docs/runbooks.md has no entry '### \(name)'")
            let address = "docs/runbooks.md#\(name.lowercased())"
            #expect(alert["annotations"]?["runbook_url"]?.text == address, "\(name): its runbook_url is not \(address)")
        }
        let names = Set(alerts.compactMap { $0["alert"]?.text })
        for name in entries.keys where name.hasPrefix("Ociregistry") {
            #expect(names.contains(name), "docs/runbooks.md has '### \(name)', and there is no such alert")
        }
    }

    @Test("every runbook entry has a meaning, checks and actions") func entriesAreWhole() throws {
        for (name, body) in try Self.entries() {
            for part in ["**Means.**", "**Look at.**", "**Do.**"] {
                let text = body.components(separatedBy: part)
                #expect(text.count == 2 && text[1].count > 20, "\(name): '\(part)'")
            }
        }
    }

    @Test(
        "every panel's description says what a bad value means and names runbook entries",
        arguments: Dashboard.paths)
    func panelsLeadToEntries(_ path: String) throws {
        let entries = try Self.entries()
        let ending = /\S\. Bad: (.+)\. Runbook: ([A-Za-z0-9]+(?:, [A-Za-z0-9]+)*)\.$/
        for panel in try Dashboard.read(path).askingPanels {
            guard let match = (panel.description ?? "").firstMatch(of: ending) else {
                Issue.record("\(panel.title): its description does not end in 'Bad: …. Runbook: NAME, NAME.'")
                continue
            }
            for name in match.2.components(separatedBy: ", ") {
                #expect(entries[name] != nil, "\(panel.title): docs/runbooks.md has no entry '### \(name)'")
            }
        }
    }

    @Test("every runbook entry without an alert is named by a panel") func entriesAreReached() throws {
        let panels = try Dashboard.paths.flatMap { try Dashboard.read($0).askingPanels }
        let lists = panels.compactMap { $0.description?.components(separatedBy: "Runbook: ").last }
        let named = Set(lists.flatMap { $0.split { ", .".contains($0) } })
        for name in try Self.entries().keys where !name.hasPrefix("Ociregistry") {
            #expect(named.contains(name[...]), "no panel leads to \(name)")
        }
    }

    /// Links between entries, `#anchor`.
    @Test("links between runbook entries lead to existing entries") func links() throws {
        let anchors = Set(try Self.entries().keys.map { $0.lowercased() } + ["alerts", "without-an-alert"])
        for match in try SourceTree.text(Self.path).matches(of: /\]\(#([^)]*)\)/) {
            #expect(anchors.contains(String(match.1)), "#\(match.1)")
        }
    }

    @Test("the page's notices and charts link to runbook entries") func pageLeadsToEntries() throws {
        let entries = try Self.entries()
        let text = String(decoding: Page.html, as: UTF8.self)
        let charts = text.matches(of: /; bad: [^'`(]+\(([A-Za-z]+)\)['`]/).map { String($0.1) }
        let notices = text.matches(of: /'(Ociregistry[A-Za-z]+)'/).map { String($0.1) }
        #expect(charts.count >= 28 && notices.count >= 10)
        for name in charts + notices { #expect(entries[name] != nil, "docs/runbooks.md has no entry '### \(name)'") }
    }
}

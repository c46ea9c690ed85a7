// The monitoring component: the rules and dashboards of `observability`, as resources of Kubernetes.

import Foundation
import TestSupport
import Testing

@testable import Configuration

@Suite struct MonitoringComponentTests {
    private static let folder = "\(Checkout.root)/deploy/kubernetes/components/monitoring"

    /// What kubectl keeps of a resource in an annotation, and so the most that `kubectl apply` takes.
    private static let maximumAnnotationBytes = 262_144

    @Test("the PrometheusRule is the one that 'generate' writes, and has the rules of observability")
    func rule() throws {
        let printed = String(decoding: try Command.check(["\(Self.folder)/generate", "--print"]), as: UTF8.self)
        let path = "deploy/kubernetes/components/monitoring/prometheus-rule.yaml"
        #expect(try SourceTree.text(path) == printed, "run deploy/kubernetes/components/monitoring/generate")
        let lines = printed.split(separator: "\n", omittingEmptySubsequences: false)
        let start = try #require(lines.firstIndex(of: "spec:"))
        let rules = lines[(start + 1)...].map { $0.isEmpty ? "" : String($0.dropFirst(2)) }.joined(separator: "\n")
        #expect(try rules == SourceTree.text("observability/prometheus/rules.yml"))
    }

    @Test("promtool accepts the rules as kubectl renders them", .needs(.kubernetesTools, .prometheus))
    func promtool() throws {
        let rule = try Manifests.monitoring.render().text.components(separatedBy: "\n---\n").first {
            $0.contains("kind: PrometheusRule")
        }
        let spec = try #require(rule?.components(separatedBy: "\nspec:\n").last)
        let files = try TemporaryDirectory()
        let text = spec.split(separator: "\n").map { $0.dropFirst(2) }.joined(separator: "\n")
        let result = try Command.check(["promtool", "check", "rules", files.write(text, to: "rules.yml")])
        #expect(String(decoding: result, as: UTF8.self).contains("SUCCESS"))
    }

    @Test("every dashboard is in a ConfigMap as it is, and fits in it", .needs(.kubernetesTools))
    func dashboards() throws {
        let maps = try Manifests.monitoring.render().resources("ConfigMap")
        let paths = SourceTree.paths(under: ["observability/grafana/dashboards"], suffix: ".json")
        #expect(maps.count == paths.count)
        for path in paths {
            let name = String(path.split(separator: "/").last ?? "")
            let map = try #require(maps.first { $0["data"]?[name] != nil }, "no ConfigMap has \(name)")
            #expect(try map["data"]?[name]?.text == SourceTree.text(path))
            #expect(map.at("metadata", "labels", "grafana_dashboard")?.text == "1")
            let encoded = try JSONEncoder().encode([name: SourceTree.text(path)])
            #expect(encoded.count + 4096 < Self.maximumAnnotationBytes, "\(name) needs kubectl apply --server-side")
        }
    }

    @Test(
        "the ServiceMonitor scrapes each pod of both overlays once, as the job of the rules",
        .needs(.kubernetesTools))
    func monitor() throws {
        let monitor = try Manifests.monitoring.render().resource("ServiceMonitor", "ociregistry")
        let spec = try #require(monitor["spec"])
        let port = try #require(spec["endpoints"]?.items.first?["port"]?.text)
        let namespaces = try #require(spec["namespaceSelector"]).texts("matchNames")
        let label = try #require(spec["jobLabel"]?.text)
        for overlay in Manifests.allCases where overlay != .monitoring {
            let rendered = try overlay.render()
            let scraped = rendered.resources("Service").filter {
                $0.at("metadata", "labels", "app.kubernetes.io/name")?.text
                    == spec.at("selector", "matchLabels", "app.kubernetes.io/name")?.text
                    && $0["spec"]?["ports"]?.items.contains { $0["name"]?.text == port } == true
            }
            #expect(scraped.count == 1)
            #expect(scraped.first?["metadata"]?["labels"]?[label]?.text == "ociregistry")
            #expect(namespaces.contains(scraped.first?.at("metadata", "namespace")?.text ?? ""))
            let policy = try rendered.resource("NetworkPolicy", "ociregistry")
            #expect(policy["spec"]?["ingress"]?.items.first?["ports"]?.items.first?["port"]?.text == port)
        }
    }
}

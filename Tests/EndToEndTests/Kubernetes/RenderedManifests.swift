// The resources that kubectl makes of deploy/kubernetes.

import Foundation
import TestSupport
import Testing

@testable import Configuration

/// What is rendered: an overlay or component on its own, or a component on an overlay, as a site puts them together.
enum Manifests: CaseIterable, CustomTestStringConvertible {
    case node
    case nodeWithHostsOnly
    case nodeWithNodePort
    case nodeWithoutSetup
    case cluster
    case clusterOnOpenShift
    case monitoring

    /// The overlays that run servers, without components.
    static let overlays = [node, cluster]

    private static let folder = "\(Checkout.root)/deploy/kubernetes"

    /// The directory below `deploy/kubernetes`, and the component that is added to it.
    private var parts: (directory: String, component: String?) {
        switch self {
        case .node: ("overlays/node", nil)
        case .nodeWithHostsOnly: ("overlays/node", "components/hosts-only")
        case .nodeWithNodePort: ("overlays/node", "components/node-port")
        case .nodeWithoutSetup: ("overlays/node", "components/without-setup")
        case .cluster: ("overlays/cluster", nil)
        case .clusterOnOpenShift: ("overlays/cluster", "components/openshift")
        case .monitoring: ("components/monitoring", nil)
        }
    }

    var testDescription: String { [parts.directory, parts.component].compactMap(\.self).joined(separator: " with ") }

    func render() throws -> RenderedManifests {
        guard let component = parts.component else {
            return try RenderedManifests(directory: "\(Self.folder)/\(parts.directory)")
        }
        return try RenderedManifests(
            kustomization: """
                resources: [CHECKOUT/deploy/kubernetes/\(parts.directory)]
                components: [CHECKOUT/deploy/kubernetes/\(component)]
                """)
    }
}

struct RenderedManifests {
    let text: String
    let resources: [YAMLNode]

    /// Renders a directory as `kubectl apply -k` does, with kustomize's default settings.
    init(directory: String) throws {
        text = String(decoding: try Command.check(["kubectl", "kustomize", directory]), as: UTF8.self)
        resources = try text.components(separatedBy: "\n---\n").map {
            try #require(try YAMLReader.read(Array($0.utf8)), "an empty document in \(directory)")
        }
    }

    /// Renders a site's kustomization, in which `CHECKOUT` stands for the way to the source tree.
    /// - Parameter files: others beside it, by name.
    init(kustomization: String, files: [String: String] = [:]) throws {
        let directory = try TemporaryDirectory()
        for (name, text) in files { try directory.write(text, to: name) }
        // kustomize refuses absolute paths, and takes relative ones from where the directory really is.
        let place = URL(fileURLWithPath: directory.path).resolvingSymlinksInPath().path
        let up = place.split(separator: "/").map { _ in ".." }.joined(separator: "/")
        try directory.write(
            kustomization.replacingOccurrences(of: "CHECKOUT", with: "\(up)\(Checkout.root)"), to: "kustomization.yaml")
        try self.init(directory: place)
    }

    func resources(_ kind: String) -> [YAMLNode] { resources.filter { $0["kind"]?.text == kind } }

    func resource(_ kind: String, _ name: String) throws -> YAMLNode {
        try #require(resources(kind).first { $0.at("metadata", "name")?.text == name }, "no \(kind) \(name)")
    }

    /// The resource that makes the server's pods.
    var workload: YAMLNode {
        get throws { try #require((resources("StatefulSet") + resources("DaemonSet")).first) }
    }

    var pod: YAMLNode {
        get throws { try #require(try workload.at("spec", "template", "spec")) }
    }

    var server: YAMLNode {
        get throws { try pod.named("server", in: "containers") }
    }

    /// The configuration file of the server.
    var configuration: String {
        get throws {
            let volume = try pod.named("config", in: "volumes")
            let name = try #require(volume.at("configMap", "name")?.text)
            return try #require(try resource("ConfigMap", name).at("data", "config.yaml")?.text)
        }
    }

    /// The number of a port that the server's container names.
    func port(_ name: String) throws -> String {
        try #require(try server.named(name, in: "ports")["containerPort"]?.text)
    }
}

extension YAMLNode {
    /// The value below nested keys.
    func at(_ keys: String...) -> YAMLNode? { keys.reduce(self as YAMLNode?) { $0?[$1] } }

    /// The item of a list that has this name.
    func named(_ name: String, in list: String) throws -> YAMLNode {
        try #require(self[list]?.items.first { $0["name"]?.text == name }, "no \(name) in \(list)")
    }

    /// The texts of a list; empty when there is none.
    func texts(_ key: String) -> [String] { (self[key]?.items ?? []).compactMap(\.text) }

    var keys: [String] {
        guard case .mapping(let entries) = content else { return [] }
        return entries.map(\.key)
    }
}

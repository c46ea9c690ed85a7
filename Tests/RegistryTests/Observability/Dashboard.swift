// A Grafana dashboard as far as the tests look at it, and the files that provision it.

import Foundation
import Testing

@testable import Registry

/// One file of observability/grafana/dashboards.
struct Dashboard: Decodable, CustomTestStringConvertible {
    struct DataSource: Decodable, Equatable {
        let type: String
        let uid: String
    }

    struct Target: Decodable {
        let refId: String
        let expr: String
        let legendFormat: String
        let datasource: DataSource
    }

    struct GridPosition: Decodable, Equatable {
        let x: Int
        let y: Int
        let w: Int
        let h: Int

        func overlaps(_ other: GridPosition) -> Bool {
            x < other.x + other.w && other.x < x + w && y < other.y + other.h && other.y < y + h
        }
    }

    struct Panel: Decodable {
        struct FieldConfig: Decodable {
            struct Defaults: Decodable { let unit: String? }
            let defaults: Defaults
        }

        let id: Int
        let type: String
        let title: String
        let description: String?
        let datasource: DataSource?
        let gridPos: GridPosition
        let fieldConfig: FieldConfig?
        let targets: [Target]?
    }

    struct Variable: Decodable {
        struct Current: Decodable { let value: Value }
        /// A word, or a list of them.
        enum Value: Decodable, Equatable {
            case one(String)
            case many([String])

            init(from decoder: any Decoder) throws {
                let container = try decoder.singleValueContainer()
                self = try (try? container.decode(String.self)).map(Value.one) ?? .many(container.decode([String].self))
            }
        }

        let name: String
        let type: String
        let definition: String?
        let datasource: DataSource?
        let multi: Bool
        let includeAll: Bool
        let allValue: String?
        let current: Current
    }

    struct Templating: Decodable { let list: [Variable] }

    let uid: String
    let title: String
    let tags: [String]
    let schemaVersion: Int
    let graphTooltip: Int
    let refresh: String
    let templating: Templating
    let panels: [Panel]

    var testDescription: String { title }
    /// Those that ask something.
    var askingPanels: [Panel] { panels.filter { $0.type != "row" } }

    static let folder = "observability/grafana/dashboards"
    private static let histograms = Set(Catalog.families.filter { $0.kind == .histogram }.map(\.name))
    static let paths = SourceTree.paths(under: [folder], suffix: ".json")

    static func read(_ path: String) throws -> Dashboard {
        try JSONDecoder().decode(Dashboard.self, from: Data(SourceTree.text(path).utf8))
    }

    /// Every string anywhere in the file, keys left out.
    static func strings(in path: String) throws -> [String] {
        func walk(_ value: Any) -> [String] {
            switch value {
            case let text as String: [text]
            case let list as [Any]: list.flatMap(walk)
            case let object as [String: Any]: object.values.flatMap(walk)
            default: []
            }
        }
        return walk(try JSONSerialization.jsonObject(with: Data(SourceTree.text(path).utf8)))
    }

    /// The names of metrics in a query: what stands before a brace or a range, and what has one of our prefixes. The
    /// series of a histogram go by the histogram's name.
    static func metrics(in query: String) -> Set<String> {
        let braced = query.matches(of: /([a-zA-Z_:][a-zA-Z0-9_:]*)\s*[\{\[]/).map { String($0.1) }
        let prefixed = query.matches(of: /\b(?:ociregistry|process)_[a-z0-9_]+/).map { String($0.0) }
        return Set(
            (braced + prefixed).map { name in
                let family = name.replacing(/_(bucket|count|sum)$/, with: "")
                return histograms.contains(family) ? family : name
            })
    }
}

/// A YAML file of ours, by the server's own reader.
extension YAMLNode {
    static func read(_ path: String) throws -> YAMLNode {
        try #require(try YAMLReader.read(Array(SourceTree.text(path).utf8)), "\(path) is empty")
    }

    var text: String? {
        if case .scalar(let text, _) = content { return text }
        return nil
    }

    var items: [YAMLNode] {
        if case .sequence(let items) = content { return items }
        return []
    }

    subscript(_ key: String) -> YAMLNode? {
        guard case .mapping(let entries) = content else { return nil }
        return entries.first { $0.key == key }?.value
    }
}

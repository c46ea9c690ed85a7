// A Grafana dashboard as far as the tests look at it, and the files that provision it.

import Foundation
import TestSupport
import Testing

@testable import Configuration
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
        let instant: Bool?
        /// Asked for one moment, not for the time shown.
        var isInstant: Bool { instant == true }
    }

    /// Marks in every chart.
    struct Annotation: Decodable {
        let name: String
        let enable: Bool
        let expr: String
        let useValueForTime: Bool
        let datasource: DataSource
    }

    struct Annotations: Decodable { let list: [Annotation] }

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
            struct Defaults: Decodable {
                let unit: String?
                let mappings: [Mapping]?
            }
            /// Texts in place of values: of a range, or by value.
            struct Mapping: Decodable {
                struct Range: Decodable {
                    let from: Double?
                    let to: Double?
                }
                let type: String
                let range: Range?

                private enum Key: String, CodingKey { case type, options }

                init(from decoder: any Decoder) throws {
                    let container = try decoder.container(keyedBy: Key.self)
                    type = try container.decode(String.self, forKey: .type)
                    range = type == "range" ? try container.decode(Range.self, forKey: .options) : nil
                }
            }
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
        let label: String
        let type: String
        /// 2: when the time shown changes.
        let refresh: Int
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
    let editable: Bool
    let annotations: Annotations
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

    /// A query with all its variables chosen.
    /// - Parameters:
    ///   - instance: a regular expression; that of "All" when none is given, and so with `job`.
    ///   - step: between two points of a chart, in milliseconds.
    static func filled(
        _ query: String, window: String, step: Int, job: String = ".+", instance: String = ".+"
    ) -> String {
        let values = [
            "$__rate_interval": window, "$__interval_ms": "\(step)", "$job": job, "$instance": instance, "$ns": ".+",
        ]
        return values.reduce(query) { $0.replacingOccurrences(of: $1.key, with: $1.value) }
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

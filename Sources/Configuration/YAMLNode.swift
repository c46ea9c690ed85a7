// A YAML document as a small tree with line numbers, so that every error can state its place. The tree supports only
// what a configuration needs: one document, no anchors, no tags, no duplicate keys.

/// A value and the line (from 1) on which it starts.
package struct YAMLNode: Equatable, Sendable {
    package enum Content: Equatable, Sendable {
        /// `isPlain`: written without quotes, so that `null` and `~` mean no value.
        case scalar(String, isPlain: Bool)
        case sequence([YAMLNode])
        /// In the order of the file; no duplicate keys.
        case mapping([Entry])
    }

    /// One key of a mapping with its value.
    package struct Entry: Equatable, Sendable {
        package let key: String
        package let keyLine: Int
        package let value: YAMLNode
    }

    package let line: Int
    package let content: Content

    /// Whether there is no value, or `null` in one of its spellings (YAML 1.2.2 §10.2.1.1).
    package var isNull: Bool {
        if case .scalar(let text, isPlain: true) = content { return ["", "~", "null", "Null", "NULL"].contains(text) }
        return false
    }

    /// Whether the value is null, an empty text, an empty list or an empty mapping.
    package var isEmpty: Bool {
        switch content {
        case .scalar(let text, _): isNull || text.isEmpty
        case .sequence(let items): items.isEmpty
        case .mapping(let entries): entries.isEmpty
        }
    }
}

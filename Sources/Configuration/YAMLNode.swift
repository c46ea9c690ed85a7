// A YAML document as a small tree that remembers lines, so that every complaint about a configuration can say where.
// The tree is what a configuration needs and no more: one document, no anchors, no tags, no key twice.

/// A value and the line (from 1) it starts on.
package struct YAMLNode: Equatable, Sendable {
    package enum Content: Equatable, Sendable {
        /// `isPlain`: written without quotes, so that `null` and `~` mean "nothing".
        case scalar(String, isPlain: Bool)
        case sequence([YAMLNode])
        /// In the order of the file; no key twice.
        case mapping([Entry])
    }

    package struct Entry: Equatable, Sendable {
        package let key: String
        package let keyLine: Int
        package let value: YAMLNode
    }

    package let line: Int
    package let content: Content

    /// Nothing was written, or `null` in one of its spellings (YAML 1.2.2 §10.2.1.1).
    package var isNull: Bool {
        if case .scalar(let text, isPlain: true) = content { return ["", "~", "null", "Null", "NULL"].contains(text) }
        return false
    }

    /// Empty in one of the ways YAML has for it.
    package var isEmpty: Bool {
        switch content {
        case .scalar(let text, _): isNull || text.isEmpty
        case .sequence(let items): items.isEmpty
        case .mapping(let entries): entries.isEmpty
        }
    }
}

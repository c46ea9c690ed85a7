// Tag lists: one page of an upstream, and the pages that this server makes of a whole list. Their order is the
// upstream's: some registries page by opaque tokens and in orders of their own.

internal import FoundationEssentials
internal import OCI

/// The specification's tag list (distribution-spec 1.1, "Listing Tags").
package struct TagList: Sendable {
    /// In the upstream's order.
    package let tags: [String]

    package init(tags: [String]) { self.tags = tags }

    /// - Throws: when the bytes are no such list.
    package init(_ bytes: [UInt8]) throws {
        struct Document: Decodable {
            // Some registries send null for none.
            let tags: [String]?
        }
        tags = try JSONDecoder().decode(Document.self, from: Data(bytes)).tags ?? []
    }

    /// The list as JSON.
    package func body(name: String) throws -> [UInt8] {
        struct Document: Encodable {
            let name: String
            let tags: [String]
        }
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        return Array(try encoder.encode(Document(name: name, tags: tags)))
    }

    /// One page.
    /// - Parameters:
    ///   - last: the last tag of the page before; nil for the first page.
    ///   - limit: the most tags of a page.
    /// - Returns: the page, and whether more tags follow.
    package func page(after last: String?, limit: Int) -> (page: TagList, hasMore: Bool) {
        var rest = tags[...]
        if let last {
            if let position = tags.firstIndex(of: last) {
                rest = tags[(position + 1)...]
            } else if let position = tags.firstIndex(where: { last.utf8.lexicographicallyPrecedes($0.utf8) }),
                isSorted
            {
                // The tag has gone since; in a sorted list its place is known.
                rest = tags[position...]
            } else if isSorted {
                rest = []
            }
            // Otherwise the list begins anew: a tag twice does less harm than a tag left out.
        }
        return (TagList(tags: Array(rest.prefix(limit))), rest.count > limit)
    }

    private var isSorted: Bool {
        zip(tags, tags.dropFirst()).allSatisfy { $0.utf8.lexicographicallyPrecedes($1.utf8) }
    }
}

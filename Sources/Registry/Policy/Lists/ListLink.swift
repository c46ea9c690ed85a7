// The pages of lists: the parameters of a request for one, and the `Link` that leads to the next.

package import OCI

/// The parameters of a list that this server makes.
package struct PageQuery: Sendable {
    /// Most entries per page; a larger `n` is reduced to this.
    static let maximumLimit = 10_000

    let limit: Int?
    let last: String?
    let namespace: String?

    package init(_ query: QueryItems) throws(RegistryError) {
        switch query.item(named: "n") {
        case .absent: limit = nil
        case .value(let text):
            limit = OutsideNumber.decimal(text, clampedTo: 0...PageQuery.maximumLimit)
            guard limit != nil else { throw PageQuery.malformed("n") }
        case .malformed: throw PageQuery.malformed("n")
        }
        if case .malformed = query.item(named: "last") { throw PageQuery.malformed("last") }
        last = query.value(named: "last")
        namespace = query.value(named: "ns")
    }

    /// Whether a list of one name has it on this page.
    func selects(_ name: String) -> Bool {
        limit != 0 && last.map { $0.utf8.lexicographicallyPrecedes(name.utf8) } ?? true
    }

    /// A `Link` to the next page (RFC 8288).
    package func link(path: String, last: String) -> String {
        var query = "last=\(PercentEncoding.encode(last))"
        if let limit { query += "&n=\(limit)" }
        if let namespace { query += "&ns=\(PercentEncoding.encode(namespace))" }
        return "<\(path)?\(query)>; rel=\"next\""
    }

    private static func malformed(_ name: String) -> RegistryError {
        RegistryError(status: 400, code: .unsupported, message: "malformed query parameter \(name)")
    }
}

/// Makes an upstream's `Link` one of this server's: the upstream's own would lead clients past the cache.
package struct ListLink: Sendable {
    /// The list's path on this server.
    let path: String
    /// The `ns` of the client's request.
    let namespace: String?

    package init(path: String, namespace: String?) {
        self.path = path
        self.namespace = namespace
    }

    /// A query without `ns`, which is meant for this server only. It contains only characters that a request target may
    /// hold, so it is forwarded unchanged.
    package static func forwarded(_ query: UnsafeRawBufferPointer) -> String? { without("ns", query) }

    /// A query without one parameter; nil when nothing is left.
    static func without(_ name: String, _ query: String) -> String? {
        Array(query.utf8).withUnsafeBytes { without(name, $0) }
    }

    private static func without(_ name: String, _ query: UnsafeRawBufferPointer) -> String? {
        let items = zip(query.split(separator: 0x26), QueryItems(query).names)
        // An upstream would read an escaped name (`n%73`) as the name too.
        let text = items.filter { $0.1 != name }.map { String(decoding: $0.0, as: UTF8.self) }.joined(separator: "&")
        return text.isEmpty ? nil : text
    }

    /// The upstream's next page as a `Link` to this server: its path here, the upstream's query without an `ns` sent to
    /// it, and the client's `ns` again.
    /// - Parameter next: the target of the upstream's `Link`; nil is returned when it has no query.
    package func link(to next: String) -> String? {
        guard var query = ListLink.query(of: next) else { return nil }
        if let namespace { query += "&ns=\(PercentEncoding.encode(namespace))" }
        return "<\(path)?\(query)>; rel=\"next\""
    }

    /// The query of an upstream's next page, without `ns`; nil when there is none that a request can have.
    /// - Parameter next: the target of the upstream's `Link`.
    package static func query(of next: String) -> String? {
        guard let mark = next.firstIndex(of: "?") else { return nil }
        let target = next[next.index(after: mark)...].prefix { $0 != "#" }
        guard let query = Array(target.utf8).withUnsafeBytes({ ListLink.forwarded($0) }),
            query.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7F && $0 != 0x3C && $0 != 0x3E })
        else { return nil }
        return query
    }
}

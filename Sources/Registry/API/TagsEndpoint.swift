// Tag lists, passed through: they change without notice, so a cached one would be wrong more often than useful.

internal import FoundationEssentials

extension API {
    /// The specification's tag list.
    private struct TagList: Codable {
        var name: String?
        var tags: [String]?
    }

    func tags(_ connection: Connection, _ request: Request) throws(RegistryError) {
        let query = QueryItems(request.head.query.in(request.bytes))
        let asked = try Asked(request, pseudonym: pseudonym)
        if let builtin, builtin.isNamed(host: request.target.host.host, name: request.target.name) {
            return answerJSON(connection, "{\"name\":\"\(asked.source.repository)\",\"tags\":[\"\(HelloWorldImage.tag)\"]}")
        }
        let parameters = try TagsQuery(query)
        let shownName = String(decoding: request.route.name, as: UTF8.self)
        if policy.airGapped {
            return connection.respond(
                RegistryError(
                    status: 404, code: .nameUnknown, message: "tag lists are not cached, and this server is air-gapped"))
        }
        let waiting = owe(connection)
        var fetch = UpstreamRequest(
            method: .get, path: "/v2/\(asked.source.repository)/tags/list", query: parameters.upstream,
            repository: asked.source.repository, kind: .tags)
        fetch.via = asked.source.via
        puller.fetch(fetch, from: asked.source) { [self] result in
            waiting.answer { connection in
                switch result {
                case .failure(let error): connection.respond(error)
                case .success(let answer): sendTags(connection, answer, shownName, asked, parameters)
                }
            }
        }
    }

    /// The upstream's list, with what the specification demands of it made true: lexical order, exactly `n` entries where
    /// there are as many, nothing up to `last`, and a `Link` that points here.
    private func sendTags(
        _ connection: Connection, _ answer: BufferedFetch.Answer, _ shownName: String, _ asked: Asked,
        _ parameters: TagsQuery
    ) {
        guard let list = try? JSONDecoder().decode(TagList.self, from: Data(answer.body)) else {
            return connection.respond(
                RegistryError(status: 502, code: .unknown, message: "the upstream's tag list is not one"))
        }
        var tags = (list.tags ?? []).filter { tag in Reference(tag).map { $0 == .tag(tag) } ?? false }
        tags.sort { $0.utf8.lexicographicallyPrecedes($1.utf8) }
        if let last = parameters.last { tags.removeAll { !last.utf8.lexicographicallyPrecedes($0.utf8) } }
        var hasMore = answer.head.nextLink != nil
        if let limit = parameters.limit, tags.count > limit {
            tags.removeSubrange(limit...)
            hasMore = true
        }
        let quoted = tags.map { "\"\($0)\"" }.joined(separator: ",")
        let body = Array("{\"name\":\"\(asked.source.repository)\",\"tags\":[\(quoted)]}\n".utf8)
        var extra: [(String, String)] = []
        if hasMore, let final = tags.last, parameters.limit != 0 {
            extra.append(("Link", parameters.link(path: "/v2/\(shownName)/tags/list", last: final)))
        }
        connection.respond(
            status: 200, fields: ResponseFields.json(length: body.count, extra: extra), body: asked.isHead ? [] : body,
            verdict: .miss)
    }
}

/// The parameters of a tag list request.
struct TagsQuery {
    /// Longest list a client may ask for in one page; more are taken as this.
    static let maximumLimit = 10_000

    let limit: Int?
    let last: String?
    private let namespace: String?

    init(_ query: QueryItems) throws(RegistryError) {
        switch query.item(named: "n") {
        case .absent: limit = nil
        case .value(let text):
            guard !text.isEmpty, text.utf8.allSatisfy(ASCII.isDigit) else { throw TagsQuery.malformed("n") }
            limit = min(Int(text) ?? TagsQuery.maximumLimit, TagsQuery.maximumLimit)
        case .malformed: throw TagsQuery.malformed("n")
        }
        if case .malformed = query.item(named: "last") { throw TagsQuery.malformed("last") }
        last = query.value(named: "last")
        namespace = query.value(named: "ns")
    }

    /// The query for the upstream. `n=0` asks for nothing, which some upstreams take for everything: one is asked for.
    var upstream: String? {
        var parts: [String] = []
        if let limit { parts.append("n=\(max(limit, 1))") }
        if let last { parts.append("last=\(QueryItems.encode(last))") }
        return parts.isEmpty ? nil : parts.joined(separator: "&")
    }

    /// A `Link` to the next page here (RFC 8288; the upstream's own would lead clients past this server).
    func link(path: String, last: String) -> String {
        var query = "last=\(QueryItems.encode(last))"
        if let limit { query += "&n=\(limit)" }
        if let namespace { query += "&ns=\(QueryItems.encode(namespace))" }
        return "<\(path)?\(query)>; rel=\"next\""
    }

    private static func malformed(_ name: String) -> RegistryError {
        RegistryError(status: 400, code: .unsupported, message: "malformed query parameter \(name)")
    }
}

// Tag lists, forwarded and not cached: they change without notice, so a cached list would often be wrong.

internal import BuiltinImage
internal import FoundationEssentials
package import OCI

extension API {
    func tags(_ connection: Connection, _ request: Request) throws(RegistryError) {
        let query = QueryItems(request.head.query.in(request.bytes))
        let owned = try OwnedRequest(request, pseudonym: pseudonym, connection)
        if let builtin, builtin.isNamed(host: request.target.host.host, name: request.target.name) {
            return answerJSON(
                connection, "{\"name\":\"\(owned.source.repository)\",\"tags\":[\"\(HelloWorldImage.tag)\"]}", .hit)
        }
        let parameters = try TagsQuery(query)
        let path = request.route.shownPath("tags/list")
        if policy.airGapped {
            return connection.respond(
                RegistryError(
                    status: 404, code: .nameUnknown, message: "tag lists are not cached, and this server is air-gapped")
            )
        }
        let pending = makePendingResponse(connection, owned.source)
        var fetch = UpstreamRequest(
            method: .get, path: "/v2/\(owned.source.repository)/tags/list", query: parameters.upstream,
            repository: owned.source.repository, kind: .tags)
        fetch.via = owned.source.via
        fetch.client = owned.source.client
        puller.fetch(fetch, from: owned.source) { [self] result in
            switch result {
            case .failure(let error): pending.answer { $0.respond(error) }
            case .success(let answer): sendTags(pending, answer, path, owned, parameters)
            }
        }
    }

    /// Parses the list off the loop: four megabytes take longer than other clients should wait.
    private func sendTags(
        _ pending: PendingResponse, _ answer: BufferedFetch.Answer, _ path: String, _ owned: OwnedRequest,
        _ parameters: TagsQuery
    ) {
        let (bytes, repository, hasNext) = (answer.body, owned.source.repository, answer.head.nextLink != nil)
        offload.run {
            try TagsPage(bytes, of: repository, parameters, hasNext: hasNext)
        } then: { (result: Result<TagsPage, any Error>) in
            pending.answer { connection in
                guard case .success(let page) = result else {
                    return connection.respond(
                        RegistryError(status: 502, code: .unknown, message: "the upstream's tag list is not one"))
                }
                let link = page.last.map { ("Link", parameters.link(path: path, last: $0)) }
                connection.respond(
                    status: 200, fields: ResponseFields.json(length: page.body.count, extra: link.map { [$0] } ?? []),
                    body: page.body, verdict: .miss)
            }
        }
    }
}

/// The upstream's list, adjusted to the specification: lexical order, `n` entries if there are that many, none up to
/// `last`.
package struct TagsPage: Sendable {
    /// The specification's tag list.
    private struct TagList: Decodable {
        var tags: [String]?
    }

    /// The JSON body for the client.
    let body: [UInt8]
    /// The last tag of this page, after which the next begins; nil on the last page.
    let last: String?

    /// - Throws: when the bytes are not a tag list.
    package init(_ bytes: [UInt8], of repository: RepositoryName, _ parameters: TagsQuery, hasNext: Bool) throws {
        let list = try JSONDecoder().decode(TagList.self, from: Data(bytes))
        var tags = (list.tags ?? []).filter { tag in Reference(tag).map { $0 == .tag(tag) } ?? false }
        tags.sort { $0.utf8.lexicographicallyPrecedes($1.utf8) }
        if let last = parameters.last { tags.removeAll { !last.utf8.lexicographicallyPrecedes($0.utf8) } }
        var hasMore = hasNext
        if let limit = parameters.limit, tags.count > limit {
            tags.removeSubrange(limit...)
            hasMore = true
        }
        let quoted = tags.map { "\"\($0)\"" }.joined(separator: ",")
        body = Array("{\"name\":\"\(repository)\",\"tags\":[\(quoted)]}\n".utf8)
        last = hasMore ? tags.last : nil
    }
}

/// The parameters of a tag list request.
package struct TagsQuery: Sendable {
    /// Most entries per page; a larger `n` is reduced to this.
    static let maximumLimit = 10_000

    let limit: Int?
    let last: String?
    private let namespace: String?

    package init(_ query: QueryItems) throws(RegistryError) {
        switch query.item(named: "n") {
        case .absent: limit = nil
        case .value(let text):
            limit = OutsideNumber.decimal(text, clampedTo: 0...TagsQuery.maximumLimit)
            guard limit != nil else { throw TagsQuery.malformed("n") }
        case .malformed: throw TagsQuery.malformed("n")
        }
        if case .malformed = query.item(named: "last") { throw TagsQuery.malformed("last") }
        last = query.value(named: "last")
        namespace = query.value(named: "ns")
    }

    /// The query for the upstream. Some upstreams treat `n=0` as no limit, so it is sent as `n=1`.
    var upstream: String? {
        var parts: [String] = []
        if let limit { parts.append("n=\(max(limit, 1))") }
        if let last { parts.append("last=\(PercentEncoding.encode(last))") }
        return parts.isEmpty ? nil : parts.joined(separator: "&")
    }

    /// A `Link` to the next page on this server (RFC 8288): the upstream's own would lead clients past the cache.
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

// Tag lists, forwarded and not cached: they change without notice, so a cached list would often be wrong. The
// upstream's order and pages are its own: a list is handed on as it is, and only its `Link` is made to lead through
// this server.

internal import BuiltinImage
internal import FoundationEssentials
internal import OCI

extension API {
    func tags(_ connection: Connection, _ request: Request) throws(RegistryError) {
        let query = request.head.query.in(request.bytes)
        let owned = try OwnedRequest(request, pseudonym: pseudonym, connection)
        let parameters = try PageQuery(QueryItems(query))
        if let builtin, builtin.isNamed(host: request.target.host.host, name: request.target.name) {
            let tags = parameters.selects(HelloWorldImage.tag) ? "\"\(HelloWorldImage.tag)\"" : ""
            return answerJSON(connection, "{\"name\":\"\(owned.source.repository)\",\"tags\":[\(tags)]}", .hit)
        }
        if policy.airGapped {
            return connection.respond(
                RegistryError(
                    status: 404, code: .nameUnknown, message: "tag lists are not cached, and this server is air-gapped")
            )
        }
        // Some upstreams take `n=0` for no limit, where the specification asks for an empty list.
        if parameters.limit == 0 {
            return answerJSON(connection, "{\"name\":\"\(owned.source.repository)\",\"tags\":[]}", .miss)
        }
        let link = ListLink(path: request.route.shownPath("tags/list"), namespace: parameters.namespace)
        let pending = makePendingResponse(connection, owned.source)
        fetchTags(pending, ListLink.forwarded(query), link, owned)
    }

    private func fetchTags(
        _ pending: PendingResponse, _ query: String?, _ link: ListLink, _ owned: OwnedRequest, asksAgain: Bool = true
    ) {
        var fetch = UpstreamRequest(
            method: .get, path: "/v2/\(owned.source.repository)/tags/list", query: query,
            repository: owned.source.repository, kind: .tags)
        fetch.via = owned.source.via
        fetch.client = owned.source.client
        fetch.requestID = owned.source.requestID
        puller.fetch(fetch, from: owned.source) { [self] result in
            switch result {
            case .failure(let error):
                // Some upstreams know no pages, or fewer entries a page.
                let without = query.flatMap { ListLink.without("n", $0) }
                if asksAgain, error.upstreamStatus == 400, without != query {
                    return fetchTags(pending, without, link, owned, asksAgain: false)
                }
                pending.answer { $0.respond(error) }
            case .success(let answer): sendTags(pending, answer, link, owned)
            }
        }
    }

    /// Checks the list off the loop: four megabytes take longer than other clients should wait.
    private func sendTags(
        _ pending: PendingResponse, _ answer: BufferedFetch.Answer, _ link: ListLink, _ owned: OwnedRequest
    ) {
        let body = answer.body
        let next = answer.head.nextLink.flatMap { link.link(to: $0) }
        offload.run {
            try TagList.check(body)
        } then: { (result: Result<Void, any Error>) in
            pending.answer { connection in
                guard case .success = result else {
                    return connection.respond(.badGateway("\(owned.source.host) sent a tag list that cannot be read"))
                }
                connection.respond(
                    status: 200,
                    fields: ResponseFields.json(length: body.count, extra: next.map { [("Link", $0)] } ?? []),
                    body: body,
                    verdict: .miss)
            }
        }
    }
}

/// The specification's tag list.
package struct TagList: Decodable {
    let tags: [String]?

    /// - Throws: when the bytes are no such list.
    package static func check(_ bytes: [UInt8]) throws {
        _ = try JSONDecoder().decode(TagList.self, from: Data(bytes))
    }
}

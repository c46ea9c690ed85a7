// Tag lists. Which list answers is decided in ListAnswers.swift. The order is the upstream's; the pages are this
// server's, made of the whole list.

internal import BuiltinImage
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
        // Some upstreams take `n=0` for no limit, where the specification asks for an empty list.
        if parameters.limit == 0 {
            return answerJSON(connection, "{\"name\":\"\(owned.source.repository)\",\"tags\":[]}", .miss)
        }
        let path = request.route.shownPath("tags/list")
        let link = ListLink(path: path, namespace: parameters.namespace)
        let upstreamQuery = ListLink.forwarded(query)
        let name = ListName(host: owned.source.host, repository: owned.source.repository, kind: .tags)
        answer(
            connection,
            ListRequest(
                name: name, owned: owned, send: { [self] in sendTags($0, $1, parameters, path, owned) },
                pass: { [self] connection in
                    passTags(makePendingResponse(connection, owned.source), name, upstreamQuery, link, owned)
                }))
    }

    private func sendTags(
        _ connection: Connection, _ answer: ListAnswer, _ parameters: PageQuery, _ path: String, _ owned: OwnedRequest
    ) {
        let (list, cached, repository) = (answer.list, answer.cachedTags, "\(owned.source.repository)")
        let limit = parameters.limit ?? PageQuery.maximumLimit
        let deadline = policy.answerDeadlineMilliseconds
        listJobs.run(for: connection, deadlineMilliseconds: deadline) {
            try TagsAnswer(list, cached: cached, repository: repository, after: parameters.last, limit: limit)
        } respond: { connection, result in
            guard case .success(let page) = result else {
                return connection.respond(.unavailable("the tag list in the cache cannot be read"))
            }
            let next = page.last.map { ("Link", parameters.link(path: path, last: $0)) }
            let extra = answer.fields + (next.map { [$0] } ?? [])
            connection.respond(
                status: 200, fields: ResponseFields.json(length: page.body.count, extra: extra), body: page.body,
                verdict: answer.verdict)
        }
    }

    // MARK: Long lists

    /// Passes one page through.
    private func passTags(
        _ pending: PendingResponse, _ name: ListName, _ query: String?, _ link: ListLink, _ owned: OwnedRequest,
        asksAgain: Bool = true
    ) {
        let fetch = UpstreamRequest.list(name, query: query, owned.source)
        puller.fetch(fetch, from: owned.source) { [self] result in
            switch result {
            case .failure(let error):
                // Some upstreams know no pages, or fewer entries a page.
                let without = query.flatMap { ListLink.without("n", $0) }
                if asksAgain, error.upstreamStatus == 400, without != query {
                    return passTags(pending, name, without, link, owned, asksAgain: false)
                }
                pending.answer { $0.respond(error) }
            case .success(let answer): passTags(pending, answer, link, owned)
            }
        }
    }

    /// Checks the page off the loop: four megabytes take longer than other clients should wait.
    private func passTags(
        _ pending: PendingResponse, _ answer: BufferedFetch.Answer, _ link: ListLink, _ owned: OwnedRequest
    ) {
        let body = answer.body
        let next = answer.head.nextLink.flatMap { link.link(to: $0) }
        offload.run {
            _ = try TagList(body)
        } then: { (result: Result<Void, any Error>) in
            answer.hold.release()
            pending.answer { connection in
                guard case .success = result else {
                    return connection.respond(.badGateway("\(owned.source.host) sent a tag list that cannot be read"))
                }
                connection.respond(
                    status: 200,
                    fields: ResponseFields.json(length: body.count, extra: next.map { [("Link", $0)] } ?? []),
                    body: body, verdict: .miss)
            }
        }
    }
}

/// One page of a tag list in the form sent to a client.
private struct TagsAnswer: Sendable {
    let body: [UInt8]
    /// The last tag, if more follow.
    let last: String?

    /// - Parameter cached: tags in the cache, which are added where the list lacks them.
    init(_ list: KeptList, cached: [String], repository: String, after last: String?, limit: Int) throws {
        var tags = try list.pages.flatMap { try TagList($0).tags }
        if !cached.isEmpty {
            let known = Set(tags)
            tags += cached.filter { !known.contains($0) }
        }
        let (page, hasMore) = TagList(tags: tags).page(after: last, limit: limit)
        body = try page.body(name: repository)
        self.last = hasMore ? page.tags.last : nil
    }
}

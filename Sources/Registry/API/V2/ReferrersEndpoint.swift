// Referrers: signatures, attestations, SBOMs. Which list answers is decided in ListAnswers.swift; its pages are the
// upstream's, and are filtered here.

internal import OCI

extension API {
    func referrers(_ connection: Connection, _ request: Request) throws(RegistryError) {
        guard let subject = Digest(ascii: request.route.reference) else {
            throw RegistryError(status: 400, code: .digestInvalid, message: "invalid digest")
        }
        let query = QueryItems(request.head.query.in(request.bytes))
        let owned = try OwnedRequest(request, pseudonym: pseudonym, connection)
        if builtin?.manifests[subject] != nil {
            return send(connection, ReferrersAnswer(), nil, [], .hit)
        }
        let page = ReferrersPage(
            number: try ReferrersPage.number(query), artifactType: query.value(named: "artifactType"),
            link: ListLink(
                path: request.route.shownPath("referrers/\(subject)"), namespace: query.value(named: "ns")),
            upstreamQuery: ListLink.forwarded(request.head.query.in(request.bytes)))
        let name = ListName(
            host: owned.source.host, repository: owned.source.repository, kind: .referrers(subject))
        answer(
            connection,
            ListRequest(
                name: name, owned: owned, send: { [self] in sendReferrers($0, $1, page) },
                pass: { [self] in passReferrers($0, name, page, owned) }))
    }

    private func sendReferrers(_ connection: Connection, _ answer: ListAnswer, _ page: ReferrersPage) {
        let (list, cached, number, type) = (answer.list, answer.cachedReferrers, page.number, page.artifactType)
        listJobs.run(for: connection, deadlineMilliseconds: policy.answerDeadlineMilliseconds) {
            try ReferrersAnswer(list, cached: cached, page: number, artifactType: type)
        } respond: { [self] connection, result in
            guard case .success(let body) = result else {
                return connection.respond(.unavailable("the list of referrers in the cache cannot be read"))
            }
            send(connection, body, body.hasMore ? page.nextLink : nil, answer.fields, answer.verdict)
        }
    }

    /// Passes one page through.
    private func passReferrers(_ connection: Connection, _ name: ListName, _ page: ReferrersPage, _ owned: OwnedRequest)
    {
        let pending = makePendingResponse(connection, owned.source)
        let fetch = UpstreamRequest.list(name, query: page.upstreamQuery, owned.source)
        puller.fetch(fetch, from: owned.source) { [self] result in
            switch result {
            case .failure(let error): pending.answer { $0.respond(error) }
            case .success(let answer):
                let (body, type) = (answer.body, page.artifactType)
                offload.run {
                    try ReferrersAnswer(
                        KeptList(checkedAtSeconds: 0, pages: [body]), cached: [], page: 1, artifactType: type)
                } then: { (result: Result<ReferrersAnswer, any Error>) in
                    answer.hold.release()
                    let next = answer.head.nextLink.flatMap { page.link.link(to: $0) }
                    pending.answer { [self] connection in
                        guard case .success(let list) = result else {
                            return connection.respond(.badManifest("the upstream's list of referrers cannot be read"))
                        }
                        send(connection, list, next, [], .miss)
                    }
                }
            }
        }
    }

    private func send(
        _ connection: Connection, _ list: ReferrersAnswer, _ next: String?, _ fields: [(String, String)],
        _ verdict: Verdict
    ) {
        var extra = fields
        if list.isFiltered { extra.append(("OCI-Filters-Applied", "artifactType")) }
        if let next { extra.append(("Link", next)) }
        let fields = ResponseFields.plain(
            contentType: MediaType.ociIndex.text, length: list.body.count, extra: extra)
        connection.respond(status: 200, fields: fields, body: list.body, verdict: verdict)
    }
}

/// The parameters of one page of a referrers list.
private struct ReferrersPage {
    /// The parameter of this server's links. Upstreams have their own, which a long list's links contain.
    static let parameter: StaticString = "cachedPage"

    /// From 1.
    let number: Int
    let artifactType: String?
    let link: ListLink
    let upstreamQuery: String?

    static func number(_ query: QueryItems) throws(RegistryError) -> Int {
        switch query.item(named: parameter) {
        case .absent: return 1
        case .malformed: break
        case .value(let text):
            // One page more, for what the cache has beside the list.
            if let number = OutsideNumber.decimal(text, in: 1...(KeptList.maximumPages + 1)) { return number }
        }
        throw RegistryError(status: 400, code: .unsupported, message: "malformed query parameter \(parameter)")
    }

    /// The `Link` to the next page (RFC 8288).
    var nextLink: String? {
        var query = "?\(ReferrersPage.parameter)=\(number + 1)"
        if let artifactType { query += "&artifactType=\(PercentEncoding.encode(artifactType))" }
        return link.link(to: query)
    }
}

/// A list of referrers in the form sent to a client.
package struct ReferrersAnswer: Sendable {
    let body: [UInt8]
    /// Whether the list contains only the requested type.
    let isFiltered: Bool
    /// Whether another page follows.
    let hasMore: Bool

    /// An empty list.
    init() {
        body = ReferrersIndex(entries: []).body
        (isFiltered, hasMore) = (false, false)
    }

    /// Makes one page of a list. If an entry has no type (from an old client, under the fallback tag), all entries are
    /// sent and the client filters: dropping that entry could hide a signature.
    /// - Parameters:
    ///   - cached: referrers in the cache, which are added where the list lacks them.
    ///   - page: its number, from 1. A page after the last is empty.
    /// - Throws: when a page of the list is not an index.
    package init(_ list: KeptList, cached: [ReferrerEntry], page: Int, artifactType: String?) throws {
        let parsesOnePage = list.pages.count > 1 && cached.isEmpty
        // Without cached referrers to merge, only the requested page is parsed.
        let parsed = try list.pages.enumerated().map { index, bytes in
            parsesOnePage && index != page - 1 ? ReferrersIndex(entries: []) : try ReferrersIndex(bytes)
        }
        let pages = ReferrersIndex.merge(parsed, cached.isEmpty ? nil : ReferrersIndex(entries: cached))
        let index = page <= pages.count ? pages[page - 1] : ReferrersIndex(entries: [])
        hasMore = page < pages.count
        isFiltered = artifactType != nil && index.entries.allSatisfy { $0.artifactType != nil }
        let entries = isFiltered ? index.entries.filter { $0.artifactType == artifactType } : index.entries
        body = ReferrersIndex(entries: entries, annotations: index.annotations).body
    }
}

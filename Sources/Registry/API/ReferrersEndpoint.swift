// Referrers (signatures, attestations, SBOMs), passed through. An upstream that is down is an error, never an empty list:
// that could hide a signature. An upstream without the API is asked by the fallback tag.

internal import FoundationEssentials

extension API {
    func referrers(_ connection: Connection, _ request: Request) throws(RegistryError) {
        guard let subject = Digest(ascii: request.route.reference) else {
            throw RegistryError(status: 400, code: .digestInvalid, message: "invalid digest")
        }
        let query = QueryItems(request.head.query.in(request.bytes))
        let asked = try Asked(request, pseudonym: pseudonym)
        if builtin?.manifests[subject] != nil { return send(connection, ReferrersIndex(), nil, nil) }
        if policy.airGapped {
            return connection.respond(
                .manifestUnknown("referrers are not cached, and this server is air-gapped"))
        }
        let page = ReferrersPage(
            subject: subject, artifactType: query.value(named: "artifactType"), namespace: query.value(named: "ns"),
            path: "/v2/\(String(decoding: request.route.name, as: UTF8.self))/referrers/\(subject)",
            upstreamQuery: ReferrersPage.forwarded(request.head.query.in(request.bytes)))
        fetchReferrers(owe(connection), page, asked)
    }

    private func fetchReferrers(_ waiting: Waiting, _ page: ReferrersPage, _ asked: Asked) {
        var fetch = UpstreamRequest(
            method: .get, path: "/v2/\(asked.source.repository)/referrers/\(page.subject)", query: page.upstreamQuery,
            repository: asked.source.repository, kind: .referrers)
        fetch.accept = [MediaType.ociIndex.text]
        fetch.via = asked.source.via
        puller.fetch(fetch, from: asked.source) { [self] result in
            switch result {
            case .success(let answer):
                guard let index = ReferrersIndex(answer.body) else {
                    // Some upstreams answer unknown paths with a 200 and a page.
                    return fallBack(waiting, page, asked)
                }
                let next = answer.head.nextLink.flatMap { page.link(to: $0) }
                waiting.answer { send($0, index, page.artifactType, next) }
            case .failure(let error) where error.status == 404: fallBack(waiting, page, asked)
            case .failure(let error): waiting.answer { $0.respond(error) }
            }
        }
    }

    /// The index under the tag `<alg>-<hex>`, which clients keep up where the API is missing; none there is an empty list.
    private func fallBack(_ waiting: Waiting, _ page: ReferrersPage, _ asked: Asked) {
        let tag = "\(page.subject.algorithm.name)-\(page.subject.hex.prefix(64))"
        let request = UpstreamRequest.manifest(.get, .tag(tag), asked.source)
        puller.fetch(request, from: asked.source) { [self] result in
            switch result {
            case .success(let answer):
                guard let index = ReferrersIndex(answer.body) else {
                    return waiting.answer { $0.respond(.badManifest("the fallback tag of the referrers is not an index")) }
                }
                waiting.answer { send($0, index, page.artifactType, nil) }
            case .failure(let error) where error.status == 404:
                waiting.answer { send($0, ReferrersIndex(), page.artifactType, nil) }
            case .failure(let error): waiting.answer { $0.respond(error) }
            }
        }
    }

    private func send(_ connection: Connection, _ index: ReferrersIndex, _ artifactType: String?, _ next: String?) {
        var extra: [(String, String)] = []
        var shown = index
        if let artifactType {
            shown.manifests.removeAll { $0.artifactType != artifactType }
            extra.append(("OCI-Filters-Applied", "artifactType"))
        }
        if let next { extra.append(("Link", next)) }
        guard let body = shown.json else {
            return connection.respond(.badManifest("the upstream's referrers cannot be written again"))
        }
        let fields = ResponseFields.plain(
            contentType: MediaType.ociIndex.text, length: body.count, extra: extra)
        connection.respond(status: 200, fields: fields, body: body, verdict: .miss)
    }
}

/// One page of a referrers list, as it was asked for.
struct ReferrersPage {
    let subject: Digest
    let artifactType: String?
    let namespace: String?
    let path: String
    let upstreamQuery: String?

    /// The client's query without `ns`, which is for this server alone. It is made of characters that a request target may
    /// hold, so it can be passed on as it is.
    static func forwarded(_ query: UnsafeRawBufferPointer) -> String? {
        let parts = query.split(separator: 0x26).filter { !$0.starts(with: "ns=".utf8) }
        let text = parts.map { String(decoding: $0, as: UTF8.self) }.joined(separator: "&")
        return text.isEmpty ? nil : text
    }

    /// The upstream's next page, as a `Link` to this server: same path here, the upstream's query, and `ns` again.
    func link(to next: String) -> String? {
        guard let mark = next.firstIndex(of: "?") else { return nil }
        var query = String(next[next.index(after: mark)...])
        if let namespace { query += "&ns=\(QueryItems.encode(namespace))" }
        guard query.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7F && $0 != 0x3C && $0 != 0x3E }) else { return nil }
        return "<\(path)?\(query)>; rel=\"next\""
    }
}

/// An index of referrers (distribution-spec 1.1, "Listing Referrers").
struct ReferrersIndex: Codable {
    struct Entry: Codable {
        var mediaType: String
        var digest: String
        var size: Int64
        var artifactType: String?
        var annotations: [String: String]?
        var urls: [String]?
        var data: String?
    }

    var schemaVersion = 2
    var mediaType = MediaType.ociIndex.text
    var manifests: [Entry] = []
    var annotations: [String: String]?

    init() {}

    /// Reads an index; nil when the bytes are none.
    init?(_ bytes: [UInt8]) {
        guard let read = try? JSONDecoder().decode(ReferrersIndex.self, from: Data(bytes)),
            read.schemaVersion == 2, read.mediaType == MediaType.ociIndex.text
        else { return nil }
        self = read
    }

    var json: [UInt8]? {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        return (try? encoder.encode(self)).map { Array($0) }
    }
}

// Referrers (signatures, attestations, SBOMs), forwarded. A failing upstream gives an error, never an empty list, which
// could hide a signature. For an upstream without the API, the fallback tag is requested.

internal import FoundationEssentials
internal import OCI

extension API {
    func referrers(_ connection: Connection, _ request: Request) throws(RegistryError) {
        guard let subject = Digest(ascii: request.route.reference) else {
            throw RegistryError(status: 400, code: .digestInvalid, message: "invalid digest")
        }
        let query = QueryItems(request.head.query.in(request.bytes))
        let owned = try OwnedRequest(request, pseudonym: pseudonym, connection)
        if builtin?.manifests[subject] != nil { return send(connection, ReferrersAnswer(), nil, .hit) }
        if policy.airGapped {
            return connection.respond(
                .manifestUnknown("referrers are not cached, and this server is air-gapped"))
        }
        let page = ReferrersPage(
            subject: subject, artifactType: query.value(named: "artifactType"),
            link: ListLink(
                path: request.route.shownPath("referrers/\(subject)"), namespace: query.value(named: "ns")),
            upstreamQuery: ListLink.forwarded(request.head.query.in(request.bytes)))
        fetchReferrers(makePendingResponse(connection, owned.source), page, owned)
    }

    private func fetchReferrers(_ pending: PendingResponse, _ page: ReferrersPage, _ owned: OwnedRequest) {
        var fetch = UpstreamRequest(
            method: .get, path: "/v2/\(owned.source.repository)/referrers/\(page.subject)", query: page.upstreamQuery,
            repository: owned.source.repository, kind: .referrers)
        fetch.accept = [MediaType.ociIndex.text]
        fetch.via = owned.source.via
        fetch.client = owned.source.client
        fetch.requestID = owned.source.requestID
        puller.fetch(fetch, from: owned.source) { [self] result in
            switch result {
            case .success(let answer): sendReferrers(pending, answer, page, owned)
            case .failure(let error) where error.status == 404: fallBack(pending, page, owned)
            case .failure(let error): pending.answer { $0.respond(error) }
            }
        }
    }

    private func sendReferrers(
        _ pending: PendingResponse, _ answer: BufferedFetch.Answer, _ page: ReferrersPage, _ owned: OwnedRequest
    ) {
        let isIndex = answer.head.contentType.flatMap { MediaType($0) } == .ociIndex
        read(answer.body, page.artifactType) { [self] list in
            if let list {
                let next = answer.head.nextLink.flatMap { page.link.link(to: $0) }
                pending.answer { send($0, list, next) }
            } else if isIndex {
                // The upstream has the API: an empty fallback tag would not prove that there are no referrers.
                pending.answer { $0.respond(.badManifest("the upstream's list of referrers cannot be read")) }
            } else {
                // Some upstreams answer unknown paths with a 200 and an HTML page.
                fallBack(pending, page, owned)
            }
        }
    }

    /// Requests the index under the tag `<alg>-<hex>`, which clients maintain where the API is missing; a missing tag
    /// gives an empty list.
    private func fallBack(_ pending: PendingResponse, _ page: ReferrersPage, _ owned: OwnedRequest) {
        let tag = "\(page.subject.algorithm.name)-\(page.subject.hex.prefix(64))"
        let request = UpstreamRequest.manifest(.get, .tag(tag), owned.source)
        puller.fetch(request, from: owned.source) { [self] result in
            switch result {
            case .success(let answer):
                read(answer.body, page.artifactType) { [self] list in
                    pending.answer { connection in
                        if let list { return send(connection, list, nil) }
                        connection.respond(.badManifest("the fallback tag of the referrers is not an index"))
                    }
                }
            case .failure(let error) where error.status == 404:
                pending.answer { send($0, ReferrersAnswer(), nil) }
            case .failure(let error): pending.answer { $0.respond(error) }
            }
        }
    }

    /// Parses the list off the loop: four megabytes take longer than other clients should wait. Nil when it is invalid.
    private func read(_ bytes: [UInt8], _ artifactType: String?, then: @escaping (ReferrersAnswer?) -> Void) {
        offload.run {
            try ReferrersAnswer(bytes, artifactType: artifactType)
        } then: { (result: Result<ReferrersAnswer, any Error>) in
            then(try? result.get())
        }
    }

    private func send(
        _ connection: Connection, _ list: ReferrersAnswer, _ next: String?, _ verdict: Verdict = .miss
    ) {
        var extra: [(String, String)] = []
        if list.isFiltered { extra.append(("OCI-Filters-Applied", "artifactType")) }
        if let next { extra.append(("Link", next)) }
        let fields = ResponseFields.plain(
            contentType: MediaType.ociIndex.text, length: list.body.count, extra: extra)
        connection.respond(status: 200, fields: fields, body: list.body, verdict: verdict)
    }
}

/// The parameters of one page of a referrers list.
struct ReferrersPage {
    let subject: Digest
    let artifactType: String?
    let link: ListLink
    let upstreamQuery: String?
}

/// A list of referrers in the form sent to a client.
package struct ReferrersAnswer: Sendable {
    let body: [UInt8]
    /// Whether the list contains only the requested type.
    let isFiltered: Bool

    /// An empty list.
    init() {
        body = Array("{\"schemaVersion\":2,\"mediaType\":\"\(MediaType.ociIndex.text)\",\"manifests\":[]}".utf8)
        isFiltered = false
    }

    /// Parses an upstream's index and filters it. If an entry has no type (from an old client, under the fallback tag),
    /// all entries are sent and the client filters: dropping that entry could hide a signature.
    /// - Throws: when the bytes are not an index.
    package init(_ bytes: [UInt8], artifactType: String?) throws {
        var index = try JSONDecoder().decode(ReferrersIndex.self, from: Data(bytes))
        isFiltered = artifactType != nil && index.manifests.allSatisfy { $0.artifactType != nil }
        if isFiltered { index.manifests.removeAll { $0.artifactType != artifactType } }
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        body = Array(try encoder.encode(index))
    }
}

/// An index of referrers (distribution-spec 1.1, "Listing Referrers").
private struct ReferrersIndex: Codable {
    struct Entry: Codable {
        var mediaType: String
        var digest: String
        var size: Int64
        var artifactType: String?
        var annotations: [String: String]?
        var urls: [String]?
        var data: String?
    }

    let schemaVersion: Int
    let mediaType: String
    var manifests: [Entry]
    let annotations: [String: String]?

    /// The media type may be absent (image-spec, image-index.md), and some Go programs write an empty list as `null`;
    /// refusing either would give a false empty list.
    init(from decoder: any Decoder) throws {
        let values = try decoder.container(keyedBy: CodingKeys.self)
        schemaVersion = try values.decode(Int.self, forKey: .schemaVersion)
        mediaType = try values.decodeIfPresent(String.self, forKey: .mediaType) ?? MediaType.ociIndex.text
        annotations = try values.decodeIfPresent([String: String].self, forKey: .annotations)
        guard schemaVersion == 2, mediaType == MediaType.ociIndex.text, values.contains(.manifests) else {
            throw RegistryError.badManifest("not an index")
        }
        manifests = try values.decodeIfPresent([Entry].self, forKey: .manifests) ?? []
    }
}

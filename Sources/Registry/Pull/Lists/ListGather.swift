// Fetches a whole list of tags or referrers: all pages, and for referrers the fallback tag. A page that fails is an
// error: a short list hides a signature as an empty one does.

package import OCI

/// Why a list was not fetched.
package enum ListFailure: Error, Sendable {
    /// It exceeds the limits of what is kept, and is passed through instead.
    case tooLarge
    case failed(RegistryError)
}

/// One list being fetched, and the callers that wait for it. It keeps itself alive until it has ended.
final class ListGather {
    typealias Outcome = Result<KeptList, ListFailure>

    /// Limit for the whole list. Each page has a limit of its own (`BufferedFetch.deadlineMilliseconds`), and a
    /// thousand pages at it would take a day.
    static let deadlineMilliseconds: UInt64 = 600_000
    /// Statuses of registries without the referrers API, beside 404.
    private static let statusesWithoutAPI: Set<Int> = [405, 406, 501]
    /// Statuses to the request for a fallback tag that say that there can be none.
    private static let statusesWithoutFallback: Set<Int> = [400, 404, 405, 406, 410]

    private let name: ListName
    private let source: PullSource
    private let puller: Puller
    private let waitsForPause: Bool
    private let ended: (Outcome) -> Void
    private var waiting: [(Outcome) -> Void] = []
    /// The tags of the pages so far.
    private var tags: [String] = []
    /// The pages of referrers so far.
    private var indexes: [ReferrersIndex] = []
    private var bytes = 0
    /// The endpoint of the first page. Pages of two endpoints would not be one list.
    private var endpoint: UpstreamEndpoint?
    /// Whether the cache has a list with entries.
    private let replacesEntries: Bool
    private var pageCount = 0
    /// Queries of the pages so far: a repeated one would cause endless requests.
    private var queries: Set<String> = []
    /// The error of an upstream that may lack the API, by a status other than 404; raised unless a fallback tag exists.
    private var missingAPIError: RegistryError?
    private var startMilliseconds: UInt64 = 0
    private var hasEnded = false

    private var isTags: Bool { name.kind == .tags }

    /// - Parameters:
    ///   - kept: the list that the cache has. Callers that can get it do not wait for the end of the repository's pause
    ///     after a 429.
    ///   - ended: called before the waiting callers, so that a request they start does not join this one.
    init(
        _ name: ListName, source: PullSource, puller: Puller, replacing kept: KeptList?,
        ended: @escaping (Outcome) -> Void
    ) {
        waitsForPause = kept == nil
        replacesEntries = kept.map { $0.pages.contains { $0 != ReferrersIndex(entries: []).body } } ?? false
        self.name = name
        self.source = source
        self.puller = puller
        self.ended = ended
    }

    func join(_ then: @escaping (Outcome) -> Void) { waiting.append(then) }

    func start() {
        startMilliseconds = puller.context.loop.nowMilliseconds
        fetchPage(nil)
    }

    // MARK: Pages

    private func fetchPage(_ query: String?) {
        var request = UpstreamRequest.list(name, query: query, source)
        request.waitsForPause = waitsForPause
        puller.fetch(request, from: source) { [self] result in
            switch result {
            case .success(let answer): read(answer, isFirst: query == nil)
            case .failure(let error) where error.code == .sizeInvalid: finish(.failure(.tooLarge))
            case .failure(let error): pageFailed(error, isFirst: query == nil)
            }
        }
    }

    private func pageFailed(_ error: RegistryError, isFirst: Bool) {
        guard isFirst, case .referrers(let subject) = name.kind else { return fail(error) }
        if error.status == 404 { return fetchFallback(subject, isOnlySource: true) }
        guard let status = error.upstreamStatus, ListGather.statusesWithoutAPI.contains(status) else {
            return fail(error)
        }
        missingAPIError = error
        fetchFallback(subject, isOnlySource: true)
    }

    private func read(_ answer: BufferedFetch.Answer, isFirst: Bool) {
        bytes = bytes.addingSaturated(answer.body.count)
        pageCount += 1
        guard bytes <= puller.keptListBytes, pageCount <= puller.keptListPages else {
            return finish(.failure(.tooLarge))
        }
        guard puller.gatheredLists.add(answer.body.count, to: name) else {
            return fail(.unavailable("too many long lists are being fetched at once"))
        }
        if endpoint == nil { endpoint = answer.exchange.endpoint }
        guard endpoint === answer.exchange.endpoint else {
            return fail(.badGateway("\(source.host): a page of \(name) came from another endpoint than the first one"))
        }
        let (body, isTags) = (answer.body, isTags)
        puller.context.offload.run {
            isTags ? ListPage.tags(try TagList(body)) : .referrers(try ReferrersIndex(body))
        } then: { [self] (result: Result<ListPage, any Error>) in
            answer.hold.release()
            switch result {
            case .success(.tags(let page)): tags += page.tags
            case .success(.referrers(let page)): indexes.append(page)
            case .failure: return pageUnreadable(answer, isFirst: isFirst)
            }
            next(answer.head.nextLink)
        }
    }

    private func pageUnreadable(_ answer: BufferedFetch.Answer, isFirst: Bool) {
        guard case .referrers(let subject) = name.kind else {
            return fail(.badGateway("\(source.host) sent a tag list that cannot be read"))
        }
        let error = RegistryError.badManifest("the upstream's list of referrers cannot be read")
        let isIndex = answer.head.contentType.flatMap { MediaType($0) } == .ociIndex
        guard isFirst, !isIndex else { return fail(error) }
        // Some upstreams without the API answer unknown paths with a 200 and an HTML page. Anything else may be a list
        // that is damaged or cut off, so a missing fallback tag does not prove that there are no referrers.
        if !ListGather.isWebPage(answer) { missingAPIError = error }
        fetchFallback(subject, isOnlySource: true)
    }

    private static func isWebPage(_ answer: BufferedFetch.Answer) -> Bool {
        let isHTML = answer.head.contentType?.asciiLowercased.hasPrefix("text/html") ?? false
        let start = answer.body.first { $0 > 0x20 }
        return isHTML && start == UInt8(ascii: "<")
    }

    private func next(_ link: String?) {
        guard let link else {
            guard case .referrers(let subject) = name.kind else { return finishTags() }
            return fetchFallback(subject, isOnlySource: false)
        }
        guard puller.context.loop.nowMilliseconds - startMilliseconds < ListGather.deadlineMilliseconds else {
            return fail(.unavailable("\(source.host) takes too long for \(name)"))
        }
        guard let query = ListLink.query(of: link) else {
            return fail(.badGateway("\(source.host) sent a link to the next page that cannot be followed"))
        }
        guard queries.insert(query).inserted else {
            return fail(.badGateway("\(source.host): the Link header of \(name) names a page that was already fetched"))
        }
        fetchPage(query)
    }

    private func finishTags() {
        let (tags, repository) = (tags, "\(source.repository)")
        puller.context.offload.run {
            var seen: Set<String> = []
            let list = TagList(tags: tags.filter { seen.insert($0).inserted })
            return [try list.body(name: repository)]
        } then: { [self] in
            finish(pages: $0)
        }
    }

    // MARK: The fallback tag

    /// Requests the index under the tag `<alg>-<hex>`, which clients maintain where the API is missing. A registry that
    /// got the API later may have both.
    /// - Parameter isOnlySource: whether the API is missing, so that a missing tag means an empty list.
    private func fetchFallback(_ subject: Digest, isOnlySource: Bool) {
        var request = UpstreamRequest.manifest(.get, .tag(ReferrersIndex.fallbackTag(of: subject)), source)
        request.waitsForPause = waitsForPause
        puller.fetch(request, from: source) { [self] result in
            switch result {
            case .success(let answer): readFallback(answer, isOnlySource: isOnlySource)
            case .failure(let error) where error.status == 404:
                if let missingAPIError { return fail(missingAPIError) }
                if isOnlySource, replacesEntries { confirmSubject(subject) } else { finishReferrers(nil) }
            case .failure(let error):
                guard !isOnlySource, let status = error.upstreamStatus,
                    ListGather.statusesWithoutFallback.contains(status)
                else { return fail(error) }
                finishReferrers(nil)
            }
        }
    }

    /// Ends with an empty list if the registry has the manifest that the list is about. Registries hide a repository
    /// behind 404 as well, and then the list that the cache has must not be replaced.
    private func confirmSubject(_ subject: Digest) {
        var request = UpstreamRequest.manifest(.head, .digest(subject), source)
        request.waitsForPause = waitsForPause
        puller.head(request, from: source) { [self] result in
            switch result {
            case .success: finishReferrers(nil)
            case .failure(let error) where error.status == 404:
                fail(.badGateway("\(source.host) does not have the manifest that \(name) are about"))
            case .failure(let error): fail(error)
            }
        }
    }

    private func readFallback(_ answer: BufferedFetch.Answer, isOnlySource: Bool) {
        let body = answer.body
        puller.context.offload.run {
            try ReferrersIndex(body)
        } then: { [self] (result: Result<ReferrersIndex, any Error>) in
            answer.hold.release()
            switch result {
            case .success(let index): finishReferrers(index)
            case .failure where isOnlySource:
                fail(.badManifest("the fallback tag of the referrers is not an index"))
            // The API's list is complete without it: the tag is something else's.
            case .failure: finishReferrers(nil)
            }
        }
    }

    private func finishReferrers(_ fallback: ReferrersIndex?) {
        let indexes = indexes
        puller.context.offload.run {
            ReferrersIndex.merge(indexes, fallback).map(\.body)
        } then: { [self] in
            finish(pages: $0)
        }
    }

    // MARK: The end

    private func finish(pages result: Result<[[UInt8]], any Error>) {
        guard case .success(let pages) = result else {
            return fail(.badGateway("\(source.host) sent a list that cannot be written again"))
        }
        // The fallback tag's entries have been added, and the pages have been written anew.
        guard pages.reduce(0, { $0 + $1.count }) <= puller.keptListBytes, pages.count <= puller.keptListPages else {
            return finish(.failure(.tooLarge))
        }
        finish(.success(KeptList(checkedAtSeconds: EventLoop.unixSeconds, pages: pages)))
    }

    private func fail(_ error: RegistryError) { finish(.failure(.failed(error))) }

    private func finish(_ outcome: Outcome) {
        guard !hasEnded else { return }
        hasEnded = true
        puller.gatheredLists.remove(name)
        ended(outcome)
        let all = waiting
        waiting = []
        puller.context.loop.deferred.forEach(all) { $0(outcome) }
    }
}

/// A parsed page.
private enum ListPage: Sendable {
    case tags(TagList)
    case referrers(ReferrersIndex)
}

extension ReferrersIndex {
    /// The pages of the API, and the fallback tag's entries that the API does not have. The pages stay as they are:
    /// clients read at most 4 MiB.
    static func merge(_ pages: [ReferrersIndex], _ fallback: ReferrersIndex?) -> [ReferrersIndex] {
        guard let fallback else { return pages.isEmpty ? [ReferrersIndex(entries: [])] : pages }
        guard let last = pages.last else { return [fallback] }
        let known = Set(pages.flatMap { $0.entries.map(\.digest) })
        let rest = fallback.entries.filter { !known.contains($0.digest) }
        guard !rest.isEmpty else { return pages }
        let joined = ReferrersIndex(entries: last.entries + rest, annotations: last.annotations)
        guard joined.body.count <= Manifest.maximumSizeBytes else { return pages + [ReferrersIndex(entries: rest)] }
        return pages.dropLast() + [joined]
    }
}

extension UpstreamRequest {
    /// The request for a page of a list.
    /// - Parameter query: the upstream's query of the page; nil for the first one.
    static func list(_ name: ListName, query: String?, _ source: PullSource) -> UpstreamRequest {
        let (end, kind): (String, Kind) =
            switch name.kind {
            case .tags: ("tags/list", .tags)
            case .referrers(let subject): ("referrers/\(subject)", .referrers)
            }
        var request = UpstreamRequest(
            method: .get, path: "/v2/\(source.repository)/\(end)", query: query, repository: source.repository,
            kind: kind)
        if kind == .referrers { request.accept = [MediaType.ociIndex.text] }
        request.via = source.via
        request.client = source.client
        request.requestID = source.requestID
        return request
    }
}

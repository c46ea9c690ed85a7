// Lists of tags and referrers: which list answers a request. A cached list is fresh for the ttl of the tags' policy,
// then revalidated, and served as stale when the upstream fails. Without a cached list the response is an error, never
// an empty list, which would hide a signature.

internal import Configuration
internal import OCI

/// A list to answer with.
struct ListAnswer {
    let list: KeptList
    /// What the cache has beside the list.
    var cachedReferrers: [ReferrerEntry] = []
    var cachedTags: [String] = []
    let verdict: Verdict
    /// Why the upstream did not confirm it; nil if it did.
    var offline: OfflineReason?

    /// Fields of the response: a warning in the form that clients show (RFC 7234 §5.5).
    var fields: [(String, String)] {
        offline.map { [("Warning", "299 - \"list from the cache: \($0.text)\"")] } ?? []
    }
}

/// A request for a list.
struct ListRequest {
    let name: ListName
    let owned: OwnedRequest
    /// Sends a list.
    let send: (Connection, ListAnswer) -> Void
    /// Passes the upstream's page through, since the whole list is too long to be kept.
    let pass: (Connection) -> Void
}

extension API {
    /// Answers with the cache's list, or with the upstream's.
    func answer(_ connection: Connection, _ request: ListRequest) {
        store.findList(request.name) { [self] kept in
            if policy.airGapped {
                let error = RegistryError.unavailable(
                    "\(request.name) are not in the cache, and this server is air-gapped")
                return answerOffline(connection, request, kept, .airGapped, error)
            }
            guard let kept else { return fetch(connection, request, nil) }
            tags.whenPolicyKnown(request.name.policyName) { [self] policy in
                let isFresh = ListFreshness.isFresh(
                    checkedAtSeconds: kept.checkedAtSeconds, nowSeconds: EventLoop.unixSeconds, ttl: policy.ttl)
                guard isFresh else { return fetch(connection, request, kept) }
                request.send(connection, ListAnswer(list: kept, verdict: .hit))
            }
        }
    }

    private func fetch(_ connection: Connection, _ request: ListRequest, _ kept: KeptList?) {
        let pending: PendingResponse
        if kept != nil {
            pending = PendingResponse(connection, deadlineMilliseconds: policy.revalidationDeadlineMilliseconds) {
                [self] connection in
                answerOffline(connection, request, kept, .late, .unavailable("the upstream has not answered in time"))
            }
        } else {
            pending = makePendingResponse(connection, request.owned.source)
        }
        puller.list(request.name, from: request.owned.source, replacing: kept) { [self] result in
            pending.answer { [self] connection in
                switch result {
                case .success(let list): request.send(connection, ListAnswer(list: list, verdict: .miss))
                case .failure(.tooLarge): request.pass(connection)
                case .failure(.failed(let error)):
                    guard let reason = OfflineReason(error) else { return connection.respond(error) }
                    answerOffline(connection, request, kept, reason, error)
                }
            }
        }
    }

    /// Answers without the upstream: with the last list that was obtained, and with what else the cache has.
    /// - Parameter error: the response when the cache has neither.
    private func answerOffline(
        _ connection: Connection, _ request: ListRequest, _ kept: KeptList?, _ reason: OfflineReason,
        _ error: RegistryError
    ) {
        let (host, repository) = (request.name.host, request.name.repository)
        switch request.name.kind {
        case .tags:
            guard let kept else { return connection.respond(error) }
            store.cachedTags(host: host, repository: repository) { [self] tags in
                metrics.lists.servedOffline(.tags, reason)
                request.send(connection, ListAnswer(list: kept, cachedTags: tags, verdict: .stale, offline: reason))
            }
        case .referrers(let subject):
            cachedReferrers.find { [self] all in
                let found = all?.entries(of: subject, host: host, repository: repository)
                guard kept != nil || found?.isListed == true || found?.entries.isEmpty == false else {
                    return connection.respond(error)
                }
                metrics.lists.servedOffline(.referrers, reason)
                let list = kept ?? KeptList(checkedAtSeconds: 0, pages: [])
                request.send(
                    connection,
                    ListAnswer(
                        list: list, cachedReferrers: found?.entries ?? [], verdict: .stale, offline: reason))
            }
        }
    }
}

extension ListName {
    /// The tag whose policy the list has. Entries of `tagPolicies` see a list of referrers as the tag that clients
    /// keep it under where a registry has no API for it, and a list of tags as a name with an empty tag.
    var policyName: TagName {
        let tag =
            switch kind {
            case .tags: ""
            case .referrers(let subject): ReferrersIndex.fallbackTag(of: subject)
            }
        return TagName(host: host, repository: repository, tag: tag)
    }
}

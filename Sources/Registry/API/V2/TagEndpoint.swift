// Manifests by tag. A tag moves at its upstream: what is cached is served within the limits of the tag's policy
// (TagFreshness), and its upstream is asked in time (TagChecks).

package import Configuration
internal import OCI

extension API {
    /// A cached tag, with what a request needs of it.
    struct CachedTag {
        let name: TagName
        let manifest: CachedManifest
        /// When its upstream last confirmed it, on the store's `tagClock`.
        let checked: Int64
        /// Whether the content may be served in the request's repository.
        let isServable: Bool
    }

    /// Replaces the policies of tags. Answers that were given under the former ones are not repeated from memory.
    package func replaceTagPolicies(_ policies: TagPolicies) {
        guard policies != tags.policies else { return }
        tags.replacePolicies(policies)
        recentAnswers = RecentAnswers()
    }

    func manifest(
        _ connection: Connection, _ request: Request, tag: UnsafeRawBufferPointer
    ) throws(RegistryError) {
        let isLatest = tag.equals("latest")
        if let builtin, builtin.isNamed(host: request.target.host.host, name: request.target.name), isLatest {
            return try answer(connection, request, builtin.index)
        }
        if policy.airGapped || !request.head.refusesCached,
            let record = request.target.tag(tag, in: store), let cached = store.manifestAtOnce(record.digest),
            isProven(record.digest, request.target), let times = freshness(of: record, request.target, tag, isLatest)
        {
            return try answer(connection, request, cached, times)
        }
        let owned = try OwnedRequest(request, pseudonym: pseudonym, connection)
        let isForced = request.head.refusesCached
        let name = TagName(
            host: owned.source.host, repository: owned.source.repository, tag: String(decoding: tag, as: UTF8.self))
        findTag(name, owned) { [self] found in
            guard found != nil || tags.cooldown.isActive else { return pull(connection, .tag(name.tag), owned) }
            tags.whenPolicyKnown(name) { [self] policy in
                guard tags.cooldown.isActive else {
                    guard let found else { return pull(connection, .tag(name.tag), owned) }
                    return answer(connection, found, policy, isForced, owned)
                }
                var owned = owned
                owned.cooldownScope = tags.cooldown.scope(name.host, name.repository)
                answerUnderCooldown(connection, name, found, policy, isForced, owned)
            }
        }
    }

    /// How long a tag may be served without asking; nil when it may not be, or when that is not known yet.
    private func freshness(
        of record: TagRecord, _ target: Target, _ tag: UnsafeRawBufferPointer, _ isLatest: Bool
    ) -> RecentAnswers.TagTimes? {
        var freshUntil = Int64.max
        if !policy.airGapped || tags.cooldown.isActive {
            let tagPolicy = target.withBytes { tags.policy(of: TagBytes($0, tag: tag), isLatest: isLatest) }
            guard let tagPolicy, servesAtOnce(record.digest, target, tagPolicy) else { return nil }
            if !policy.airGapped {
                freshUntil = record.checkedMilliseconds.addingSaturated(tagPolicy.ttl.milliseconds)
                guard store.tagClock < freshUntil else { return nil }
            }
        }
        return RecentAnswers.TagTimes(checkedMilliseconds: record.checkedMilliseconds, freshUntil: freshUntil)
    }

    /// Whether a tag's manifest is known not to be held back. While tags wait, the slower path looks for this one.
    @inline(__always)
    private func servesAtOnce(_ digest: Digest, _ target: Target, _ policy: TagPolicy) -> Bool {
        guard tags.cooldown.isActive else { return true }
        guard target.withBytes({ name in name.withText { tags.cooldown.isAdmitted(digest, in: $0) } }) else {
            return false
        }
        return policy.cooldown == .zero
            || (store.ledger?.pendingTagCount == 0 && tags.cooldown.isOver(digest, policy.cooldown.seconds))
    }

    func findTag(_ name: TagName, _ owned: OwnedRequest, then: @escaping (CachedTag?) -> Void) {
        store.findTag(host: name.host, repository: name.repository, tag: name.tag) { [self] record in
            guard let record else { return then(nil) }
            store.findManifest(record.digest) { [self] found in
                guard let found else { return then(nil) }
                whenServable(found.digest, owned) { isServable in
                    then(
                        CachedTag(
                            name: name, manifest: found, checked: record.checkedMilliseconds, isServable: isServable))
                }
            }
        }
    }

    func answer(
        _ connection: Connection, _ tag: CachedTag, _ policy: TagPolicy, _ isForced: Bool, _ owned: OwnedRequest
    ) {
        let decision = tags.decide(
            tag.name, checked: tag.checked, policy, isForced: isForced, from: owned.source)
        guard tag.isServable else {
            // Pulled by its tag, the manifest could be one that is held back.
            guard policy.cooldown == .zero else { return resolve(connection, tag.name, nil, policy, owned) }
            if decision == .fresh { return proveManifest(connection, tag.manifest, .tag(tag.name.tag), owned) }
            return pull(connection, .tag(tag.name.tag), owned, tagPolicy: policy)
        }
        switch decision {
        case .fresh:
            metrics.tags.served(ageMilliseconds: tags.age(tag.checked))
            sendWaiting(connection, tag.name, policy)
            serve(connection, tag.manifest, owned)
        case .stale(let reason):
            countHit(owned.source.host)
            serveStale(connection, tag, policy, owned, reason)
        case .revalidate(let wait): revalidate(connection, tag, policy, wait, owned)
        case .refuse, .remove:
            connection.respond(
                tags.lastError(tag.name) ?? .manifestUnknown("\(tag.name) has no answer from its upstream"))
        }
    }

    private func serveStale(
        _ connection: Connection, _ tag: CachedTag, _ policy: TagPolicy, _ owned: OwnedRequest, _ reason: StaleReason
    ) {
        sendWaiting(connection, tag.name, policy)
        completeImage(tag.manifest, owned)
        metrics.tags.served(ageMilliseconds: tags.age(tag.checked))
        metrics.tags.servedStale(reason)
        connection.extraField += reason.field
        send(connection, tag.manifest, owned.conditions, .stale)
    }

    /// Has the upstream asked, and answers when it has answered, or when the client has waited long enough.
    private func revalidate(
        _ connection: Connection, _ tag: CachedTag, _ policy: TagPolicy, _ wait: TagFreshness.Wait,
        _ owned: OwnedRequest
    ) {
        let since = tags.runningSince(tag.name)
        let waitMilliseconds = self.policy.revalidationDeadlineMilliseconds
        // The time limit counts from the start of the revalidation: a request that joins later waits only for the rest.
        let waited = since.map { loop.nowMilliseconds &- $0 } ?? 0
        if wait == .none || (wait == .brief && waited >= waitMilliseconds) {
            if since == nil { tags.check(tag.name, cached: tag.manifest.digest, policy, from: owned.source) { _ in } }
            countHit(owned.source.host)
            return serveStale(connection, tag, policy, owned, wait == .none ? .revalidating : .slow)
        }
        let tally = countPull(owned.source, isJoined: since != nil)
        let pending =
            wait == .full
            ? makePendingResponse(connection, owned.source)
            : PendingResponse(connection, deadlineMilliseconds: waitMilliseconds &- waited) { [self] connection in
                countServed(tally)
                serveStale(connection, tag, policy, owned, .slow)
            }
        tags.check(
            tag.name, cached: tag.manifest.digest, policy, from: owned.source, isNeeded: wait == .full
        ) { [self] outcome in
            countEnd(tally)
            if case .moved(let manifest, let isPulled) = outcome {
                completeImage(manifest, owned)
                if isPulled, since == nil { puller.prefetchReferrers(of: manifest, from: owned.source) }
            }
            pending.answer { [self] in answer($0, tag, policy, outcome, owned, tally) }
        }
    }

    private func answer(
        _ connection: Connection, _ tag: CachedTag, _ policy: TagPolicy, _ outcome: TagChecks.Outcome,
        _ owned: OwnedRequest, _ tally: PullTally
    ) {
        switch outcome {
        case .unchanged, .held:
            completeImage(tag.manifest, owned)
            countServed(tally)
            metrics.tags.served(ageMilliseconds: 0)
            sendWaiting(connection, tag.name, policy)
            send(connection, tag.manifest, owned.conditions, .hit)
        case .moved(let manifest, let isPulled):
            if let scope = owned.cooldownScope { tags.cooldown.tagServes(manifest.digest, policy, scope) }
            sendWaiting(connection, tag.name, policy)
            countServed(tally)
            send(connection, manifest, owned.conditions, isPulled ? (tally.isJoined ? .joined : .miss) : .hit)
        case .failed(let failure, let error):
            let age = tags.age(tag.checked)
            guard case .stale(let reason) = TagFreshness.afterFailure(failure, policy, ageMilliseconds: age) else {
                return connection.respond(error)
            }
            countServed(tally)
            serveStale(connection, tag, policy, owned, reason)
        }
    }
}

extension StaleReason {
    /// The whole field. Code and agent are those of distribution-spec 1.1, "Warnings", in the form of RFC 7234 §5.5.
    fileprivate var field: [UInt8] { StaleReason.fields[index] }

    private static let fields = allCases.map { Array("Warning: 299 - \"\($0.warning)\"\r\n".utf8) }

    private var warning: String {
        switch self {
        case .revalidating: "this tag may have moved: its upstream is being asked"
        case .slow: "this tag may have moved: its upstream has not answered yet"
        case .failed(.deleted): "the upstream does not have this tag any more"
        case .failed(.denied): "this tag may have moved: its upstream denied access"
        case .failed(.rateLimited): "this tag may have moved: its upstream asks for fewer requests"
        case .failed(.badStatus): "this tag may have moved: its upstream answered with an error"
        case .failed(.invalid): "this tag may have moved: its upstream answered with something that is no manifest"
        case .failed(.unreachable): "this tag may have moved: its upstream cannot be reached"
        case .failed(.quota): "this tag may have moved: few pulls are left at its upstream"
        }
    }
}

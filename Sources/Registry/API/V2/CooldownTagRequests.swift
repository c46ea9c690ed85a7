// Requests for tags while policies have a cooldown.

internal import Configuration
internal import OCI

extension API {
    /// Answers a request for a tag while policies have a cooldown.
    func answerUnderCooldown(
        _ connection: Connection, _ name: TagName, _ found: CachedTag?, _ policy: TagPolicy, _ isForced: Bool,
        _ owned: OwnedRequest
    ) {
        if self.policy.airGapped, tags.cooldown.newer(name, policy) != nil {
            // No check will come.
            return tags.takeCached(name, policy, checked: store.tagClock) { [self] _ in
                findTag(name, owned) { [self] found in serveUnderCooldown(connection, name, found, policy, false, owned)
                }
            }
        }
        serveUnderCooldown(connection, name, found, policy, isForced, owned)
    }

    private func serveUnderCooldown(
        _ connection: Connection, _ name: TagName, _ found: CachedTag?, _ policy: TagPolicy, _ isForced: Bool,
        _ owned: OwnedRequest
    ) {
        guard let found, let scope = owned.cooldownScope else {
            guard policy.cooldown != .zero else { return pull(connection, .tag(name.tag), owned, tagPolicy: policy) }
            return resolve(connection, name, nil, policy, owned)
        }
        tags.cooldown.whenPastCooldown(found.manifest.digest, name, policy, scope) { [self] isServed in
            guard isServed else { return resolve(connection, name, found.manifest.digest, policy, owned) }
            // What the tag has moved to is served as soon as its wait is over.
            let hasNewer =
                !self.policy.airGapped && !tags.isPaused(name) && tags.cooldown.newer(name, policy) != nil
            let isForced = isForced || hasNewer
            answer(connection, found, policy, isForced, owned)
        }
    }

    /// Names what a tag does not serve yet in the response.
    func sendWaiting(_ connection: Connection, _ name: TagName, _ policy: TagPolicy) {
        guard tags.cooldown.isActive, let hold = tags.cooldown.waiting(for: name, policy) else { return }
        metrics.tags.heldBack(.olderTag)
        connection.extraField += Array("\(CooldownHold.fieldName): \(hold.field)\r\n".utf8)
    }

    /// Answers a request for a tag that has no manifest which may be served: its upstream says what it means.
    /// - Parameter cached: the cached manifest, which is held back.
    func resolve(
        _ connection: Connection, _ name: TagName, _ cached: Digest?, _ policy: TagPolicy, _ owned: OwnedRequest
    ) {
        let cooldown = tags.cooldown
        if let held = cooldown.heldTags[name], tags.age(held.checkedMilliseconds) < policy.ttl.milliseconds,
            cooldown.newer(name, policy) == nil, !cooldown.isOver(held.hold.digest, policy.cooldown.seconds)
        {
            return refuse(connection, held.hold, .tag, "\(name)")
        }
        guard !self.policy.airGapped else {
            guard let cached else {
                return connection.respond(.notCached(manifest: .tag(name.tag), in: name.repository))
            }
            return refuse(connection, cooldown.hold(cached, policy.cooldown.seconds), .tag, "\(name)")
        }
        if tags.isPaused(name), let error = tags.lastError(name) { return connection.respond(error) }
        if let error = puller.rememberedError(.tag(name.tag), from: owned.source, isHead: true) {
            return connection.respond(error)
        }
        let isJoined = tags.runningSince(name) != nil
        let tally = countPull(owned.source, isJoined: isJoined)
        let pending = makePendingResponse(connection, owned.source)
        tags.check(name, cached: cached, policy, from: owned.source, isNeeded: true) { [self] outcome in
            countEnd(tally)
            switch outcome {
            case .moved(let manifest, let isPulled):
                if let scope = owned.cooldownScope { cooldown.tagServes(manifest.digest, policy, scope) }
                completeImage(manifest, owned)
                if isPulled, !isJoined { puller.prefetchReferrers(of: manifest, from: owned.source) }
                pending.answer { [self] connection in
                    countServed(tally)
                    sendWaiting(connection, name, policy)
                    send(connection, manifest, owned.conditions, isPulled ? (isJoined ? .joined : .miss) : .hit)
                }
            case .held(let hold): pending.answer { [self] in refuse($0, hold, .tag, "\(name)") }
            case .failed(_, let error): pending.answer { $0.respond(error) }
            case .unchanged:
                // Its wait has ended meanwhile.
                findTag(name, owned) { [self] found in
                    pending.answer { [self] connection in
                        guard let found else { return connection.respond(.unavailable("\(name) has left the cache")) }
                        if let scope = owned.cooldownScope {
                            cooldown.tagServes(found.manifest.digest, policy, scope)
                        }
                        countServed(tally)
                        send(connection, found.manifest, owned.conditions, .hit)
                    }
                }
            }
        }
    }
}

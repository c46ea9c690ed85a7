// The start of blob pulls: a pull starts when the queue selects it, unless its repository is paused after a 429. A pull
// that waits for the end of a pause gives its slot to another one.

package import OCI

extension Puller {
    func startWaiting() {
        guard !isClosed else { return }
        let now = context.loop.nowMilliseconds
        for key in queue.startable(now: now) {
            if let pull = blobs[key] { start(pull) }
        }
        watchSlowdown(now: now)
    }

    /// A pull that is not in the queue yet.
    func makePull(_ digest: Digest, from source: PullSource) -> BlobPull {
        let ticket = beginRequest(.blob(.get, digest, source), source)
        return BlobPull(key: source.key(digest), source: source, context: context) { [weak self] _, blob in
            self?.endRequest(ticket, blob)
            self?.ended(blob)
        }
    }

    private func start(_ pull: BlobPull) {
        if isGivenUp(pull) { return context.loop.deferred.enqueue { [weak self] in self?.giveUp(pull) } }
        let limits = context.client.rateLimits
        let repository = pull.blob.key.limited
        if pull.isReleased, !limits.isPaused(repository) { return pull.start() }
        switch limits.admission(repository, waitedSince: pull.waitingSinceMilliseconds) {
        case .open: pull.start()
        case .wait: hold(pull)
        case .refused: refuse(pull)
        }
    }

    /// Ends a prefetch, unless a client has asked for the blob since.
    private func giveUp(_ pull: BlobPull) {
        guard !isClosed, blobs[pull.blob.key] === pull else { return }
        guard isGivenUp(pull) else { return start(pull) }
        countSaved(.blob, of: pull.blob.key.host)
        let reason = "\(pull.blob.key.host): the pulls that it has left are kept for clients (quota.reserve)"
        pull.refuse(.unavailable(reason))
    }

    /// Deferred, so that one call only fills the slots that are free.
    private func startWaitingLater() { context.loop.deferred.enqueue { [weak self] in self?.startWaiting() } }

    // MARK: Pauses after a 429

    /// The error for a client whose request waits because the repository is paused; nil when it is not paused.
    package func rateLimitRefusal(of source: PullSource) -> RegistryError? {
        context.client.rateLimits.refusal(source.limited)
    }

    /// Makes a pull wait for the end of its repository's pause, and frees its slot.
    func hold(_ pull: BlobPull) {
        let key = pull.blob.key
        if queue.isPrefetch(key), queue.isSlow(key.host) {
            // Nothing is prefetched from this host for a minute: the pull must not run before pulls with a client.
            guard !pull.isPutBack else { return refuse(pull) }
            pull.isPutBack = true
            queue.putBack(key)
            return startWaitingLater()
        }
        pull.isReleased = false
        let ticket = context.client.rateLimits.wait(key.limited, since: pull.beginWaiting()) { [weak self] end in
            switch end {
            case .released: self?.resume(key)
            case .refused: self?.pauseGrew(key)
            }
        }
        guard let ticket else { return refuse(pull) }
        held[key] = ticket
        queue.hold(key)
        startWaitingLater()
    }

    private func resume(_ key: PullKey) {
        guard held.removeValue(forKey: key) != nil else { return }
        blobs[key]?.isReleased = true
        queue.resume(key)
        startWaiting()
    }

    /// The pull's repository was given a longer pause than the pull can wait for.
    private func pauseGrew(_ key: PullKey) {
        guard held.removeValue(forKey: key) != nil, let pull = blobs[key] else { return }
        refuse(pull)
    }

    /// The pull ends, and its place is free then.
    private func refuse(_ pull: BlobPull) {
        let error = context.client.rateLimits.error(pull.blob.key.limited)
        context.loop.deferred.enqueue { pull.refuse(error) }
    }

    /// Handles a 429 of a host: it gets fewer requests for a while.
    func slowDown(_ host: RegistryHost) {
        let now = context.loop.nowMilliseconds
        queue.slowDown(host, now: now)
        promoteWanted(of: host)
        watchSlowdown(now: now)
    }

    /// Moves the pulls of `load` for a slowed-down host to the clients' reduced limit; as prefetches they would stop.
    /// There are at most `BlobFetches.maximumAtOnce` of them.
    func promoteWanted(of host: RegistryHost) {
        let wanted = endings.keys.filter { $0.host == host && queue.isPrefetch($0) }
        for key in wanted {
            wantedOfSlowHosts.insert(key)
            _ = queue.add(key, host: host, demand: .client)
        }
        if !wanted.isEmpty { startWaitingLater() }
    }

    /// Starts waiting pulls when a slowdown ends, even if no pull ends then.
    private func watchSlowdown(now: UInt64) {
        guard let next = queue.nextSlowdownCheck, !blobs.isEmpty, !isClosed else {
            slowdownTimer?.close()
            slowdownTimer = nil
            return
        }
        let timer = slowdownTimer ?? Timer(on: context.loop) { [weak self] in self?.startWaiting() }
        slowdownTimer = timer
        timer.start(afterMilliseconds: next > now ? next - now : 0)
    }
}

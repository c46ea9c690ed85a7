// When blob pulls start: those whose turn it is in the queue, unless their repository is paused after a 429. A pull
// that waits for the end of a pause gives its place to another one.

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

    private func start(_ pull: BlobPull) {
        let limits = context.client.rateLimits
        let repository = pull.blob.key.limited
        if pull.isReleased, !limits.isPaused(repository) { return pull.start() }
        switch limits.admission(repository, waitedSince: pull.waitingSinceMilliseconds) {
        case .open: pull.start()
        case .wait: hold(pull)
        case .refused: refuse(pull)
        }
    }

    /// In the next iteration, so that no call does more than fill the places that there are.
    private func startWaitingLater() { context.loop.deferred.enqueue { [weak self] in self?.startWaiting() } }

    // MARK: Pauses after a 429

    /// The error for a client whose request waits because the repository is paused; nil when it does not.
    package func rateLimitRefusal(of source: PullSource) -> RegistryError? {
        context.client.rateLimits.refusal(source.limited)
    }

    /// A pull waits for the end of its repository's pause, and another one takes its place.
    func hold(_ pull: BlobPull) {
        let key = pull.blob.key
        if queue.isPrefetch(key), queue.isSlow(key.host) {
            // Nothing is prefetched from this host for a minute: it must not run before pulls with a client.
            guard !pull.wasPutBack else { return refuse(pull) }
            pull.wasPutBack = true
            queue.putBack(key)
            return startWaitingLater()
        }
        pull.isReleased = false
        let ticket = context.client.rateLimits.wait(key.limited, since: pull.waits()) { [weak self] end in
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

    /// A host has answered 429: it gets fewer requests for a while.
    func slowDown(_ host: RegistryHost) {
        let now = context.loop.nowMilliseconds
        queue.slowDown(host, now: now)
        promoteWanted(of: host)
        watchSlowdown(now: now)
    }

    /// What `load` fetches takes part in the reduced number of transfers of a slowed-down host, as clients' pulls do:
    /// with the prefetch it would stop. There are `BlobFetches.maximumAtOnce` of them at most.
    func promoteWanted(of host: RegistryHost) {
        let wanted = endings.keys.filter { $0.host == host && queue.isPrefetch($0) }
        for key in wanted {
            wantedOfSlowHosts.insert(key)
            _ = queue.add(key, host: host, demand: .client)
        }
        if !wanted.isEmpty { startWaitingLater() }
    }

    /// Has what waits started when a slowdown ends, also if no pull ends then.
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

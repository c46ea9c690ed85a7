// All blobs, manifests and heads that are being fetched, each once. A request for content that is being pulled joins
// that pull; a client that leaves cancels nothing.

package import OCI

/// The answer of an upstream to a HEAD for a manifest or blob.
package struct UpstreamEntity: Sendable {
    package var contentType: String?
    package var sizeBytes: Int64?
    package var digest: Digest?
}

/// Starts pulls, and lets requests join those in flight.
package final class Puller {
    /// Largest tag list or referrers index accepted from an upstream: like manifests, it is collected in memory.
    static let maximumListBytes = Manifest.maximumSizeBytes
    /// Memory for lists, over all clients: enough for eight of the largest.
    static let listMemoryBytes = 32 * 1024 * 1024

    private struct ManifestKey: Hashable {
        let host: RegistryHost
        let repository: RepositoryName
        let reference: Reference
    }

    private struct HeadKey: Hashable {
        let host: RegistryHost
        let repository: RepositoryName
        let path: String
    }

    let context: PullContext
    private(set) var blobs: [PullKey: BlobPull] = [:]
    var queue: PullQueue<PullKey>
    /// Callers that wait until a blob is in the store, or its pull has failed.
    private(set) var endings: [PullKey: [(GrowingBlob) -> Void]] = [:]
    /// Pulls of `fetchBlob` that count as client pulls while their host is slowed down after a 429, since prefetching
    /// from it stops then. No client has asked for them.
    var wantedOfSlowHosts: Set<PullKey> = []
    private var manifests: [ManifestKey: ManifestPull] = [:]
    private var heads: [HeadKey: [(Result<UpstreamEntity, RegistryError>) -> Void]] = [:]
    private var fetches: [ObjectIdentifier: BufferedFetch] = [:]
    /// Lists that are being fetched, and the bytes that they have gathered.
    var listGathers: [ListName: ListGather] = [:]
    var gatheredLists = GatheredLists()
    /// Limits of a list that is kept; tests have smaller ones.
    var keptListPages = KeptList.maximumPages
    var keptListBytes = KeptList.maximumBytes
    /// Limits of the referrers that are fetched for an image; tests have smaller ones.
    var referrersLimits = ReferrersFetch.Limits()
    /// Lists that the cache has and that could not be fetched, with the ends of their pauses.
    var listFailures: [ListName: (endMilliseconds: UInt64, error: RegistryError)] = [:]
    /// Manifests whose referrers are being prefetched.
    var referrerPrefetches: Set<PullKey> = []
    /// Lists too long to be kept, with the ends of their times.
    var longLists: [ListName: UInt64] = [:]
    var tagHints = TagHints()
    /// What upstreams lately did not have, or denied.
    var negatives: NegativeAnswers
    /// Images whose rest is fetched when one of their layers is asked for.
    var incompleteImages = IncompleteImages()
    /// What a page of a list of tags or referrers is gathered in; it does not wait for the disk.
    private let listMemory: MemoryBudget
    private(set) var isClosed = false
    /// Blobs that pass through, since the cache has no room for them.
    var passing = PassingPulls()
    /// Pulls that wait for the end of their repository's pause.
    var held: [PullKey: RateLimitGate.Ticket] = [:]
    /// Runs while pulls wait for the end of a host's slowdown.
    var slowdownTimer: Timer?

    package init(context: PullContext) {
        self.context = context
        queue = PullQueue(limits: context.client.pullLimits)
        listMemory = MemoryBudget(on: context.loop, limitBytes: Puller.listMemoryBytes)
        negatives = NegativeAnswers(context.settings.negativeCache)
        context.client.rateLimits.onPause = { [weak self] host in self?.slowDown(host) }
        context.client.onCredentialsChanged = { [weak self] in self?.negatives.clear() }
        watchStore()
    }

    /// Takes the settings of upstreams that have been configured anew. What they have answered so far no longer counts.
    package func upstreamsChanged() {
        queue.limits = context.client.pullLimits
        negatives.clear(context.settings.negativeCache)
        listFailures = [:]
        startWaiting()
    }

    /// Blob pulls, running and waiting.
    package var blobsInFlight: Int { blobs.count + passing.pulls.count }
    /// Running blob pulls.
    package var runningBlobs: Int { queue.running }
    package var manifestsInFlight: Int { manifests.count }

    // MARK: Blobs

    /// The pull of this blob that is in flight, if one is.
    package func growingBlob(_ key: PullKey) -> GrowingBlob? { blobs[key]?.blob ?? joinablePassing(key) }

    /// Joins the blob's pull, or starts it.
    /// - Returns: the growing blob; nil when too many pulls wait already.
    package func blob(
        _ digest: Digest, from source: PullSource, demand: PullQueue<PullKey>.Demand = .client
    ) -> GrowingBlob? {
        let key = source.key(digest)
        if blobs[key] == nil {
            if demand == .client, let joined = joinablePassing(key) { return joined }
            if let failed = rememberedFailure(digest, from: source) { return failed }
            if demand == .client, hasNoRoom(key) { return startPassing(digest, from: source) }
        }
        guard !isClosed, queue.add(key, host: source.host, demand: demand) else { return nil }
        if demand == .client { wantedOfSlowHosts.remove(key) }
        let pull = blobs[key] ?? makePull(digest, from: source)
        pull.onPause = { [weak self] in self?.hold($0) }
        pull.onNoRoom = { [weak self] in self?.passThroughIfPossible($0) ?? false }
        blobs[key] = pull
        startWaiting()
        return pull.blob
    }

    /// Fetches a blob without a waiting client, after the blobs that clients wait for.
    /// - Parameter then: called later, when the pull has ended, with nil when the store has the blob.
    /// - Returns: the growing blob; nil when it cannot be pulled now, in which case `then` gets the error.
    package func fetchBlob(
        _ digest: Digest, from source: PullSource, then: @escaping (RegistryError?) -> Void
    ) -> GrowingBlob? {
        guard let growing = blob(digest, from: source, demand: .prefetch) else {
            let reason = isClosed ? "the server is stopping" : "too many pulls wait already"
            context.loop.deferred.enqueue { then(.unavailable(reason)) }
            return nil
        }
        if case .failed(let error) = growing.phase, blobs[growing.key] == nil {
            context.loop.deferred.enqueue { then(error) }
            return nil
        }
        endings[growing.key, default: []].append { [context] blob in
            if case .present = context.store.blobSize(digest) { return then(nil) }
            if case .failed(let error) = blob.phase { return then(error) }
            then(.unavailable("the cache cannot be written"))
        }
        if queue.isSlow(source.host) { promoteWanted(of: source.host) }
        return growing
    }

    /// Called when a caller of `fetchBlob` no longer needs the blob: the pull ends and keeps its bytes, unless another
    /// caller waits.
    package func letGo(_ key: PullKey) {
        let hasNoClient = queue.isPrefetch(key) || wantedOfSlowHosts.contains(key)
        guard hasNoClient, endings[key, default: []].count <= 1 else { return }
        blobs[key]?.close("nobody waits for it any more")
    }

    func ended(_ blob: GrowingBlob) {
        if !passingEnded(blob) { leaveQueue(blob) }
    }

    /// Forgets a pull, so that another of its blob can begin, and lets others start.
    func leaveQueue(_ blob: GrowingBlob) {
        blobs[blob.key] = nil
        queue.remove(blob.key)
        let waiting = endings.removeValue(forKey: blob.key) ?? []
        held.removeValue(forKey: blob.key)?.cancel()
        wantedOfSlowHosts.remove(blob.key)
        // Deferred, since the ended pull is still on the call stack.
        context.loop.deferred.enqueue { [weak self, context] in
            context.loop.deferred.forEach(waiting) { $0(blob) }
            self?.startWaiting()
        }
    }

    // MARK: Manifests

    /// Whether this manifest is being pulled.
    package func isPulling(_ reference: Reference, from source: PullSource) -> Bool {
        manifests[ManifestKey(host: source.host, repository: source.repository, reference: reference)] != nil
    }

    /// Whether a HEAD for this request is in progress.
    func isAsking(_ request: UpstreamRequest, from source: PullSource) -> Bool {
        heads[HeadKey(host: source.host, repository: source.repository, path: request.path)] != nil
    }

    /// Joins the manifest's pull, or starts it.
    /// - Parameters:
    ///   - isOptional: whether a 404 is no failed pull, since most registries have no such manifest.
    ///   - then: gets the manifest, which is in the store by then, and whether this call joined another's pull.
    package func manifest(
        _ reference: Reference, from source: PullSource, isOptional: Bool = false,
        then: @escaping (_ manifest: Result<CachedManifest, RegistryError>, _ joined: Bool) -> Void
    ) {
        let key = ManifestKey(host: source.host, repository: source.repository, reference: reference)
        if let running = manifests[key] { return running.join { then($0, true) } }
        let request = UpstreamRequest.manifest(.get, reference, source)
        if let error = rememberedError(request, .content, source) {
            return context.loop.deferred.enqueue { then(.failure(error), false) }
        }
        let ticket = beginRequest(request, source)
        let pull = ManifestPull(reference: reference, source: source, context: context, isOptional: isOptional)
        manifests[key] = pull
        pull.join { [self] outcome in
            if case .success(let manifest) = outcome { arrived(manifest, from: source) }
            then(outcome, false)
        }
        pull.start { [self] outcome in
            manifests[key] = nil
            endRequest(ticket, .content, outcome.failure)
        }
    }

    private func arrived(_ manifest: CachedManifest, from source: PullSource) { setHintedTags(manifest.digest, source) }

    /// Requests the head of a manifest or blob; calls made meanwhile share the answer. Starts no pull.
    package func head(
        _ request: UpstreamRequest, from source: PullSource,
        then: @escaping (Result<UpstreamEntity, RegistryError>) -> Void
    ) {
        let key = HeadKey(host: source.host, repository: source.repository, path: request.path)
        guard heads[key] == nil else {
            heads[key]?.append(then)
            return
        }
        if let error = rememberedError(request, .head, source) {
            return context.loop.deferred.complete(then, .failure(error))
        }
        let ticket = beginRequest(request, source)
        heads[key] = [then]
        fetch(request, from: source) { [self] result in
            let waiting = heads.removeValue(forKey: key) ?? []
            endRequest(ticket, .head, result.failure)
            let entity = result.map { answer in
                UpstreamEntity(
                    contentType: answer.head.contentType, sizeBytes: answer.head.decodedLength,
                    digest: answer.head.dockerContentDigest.flatMap { Digest($0) })
            }
            context.loop.deferred.forEach(waiting) { $0(entity) }
        }
    }

    // MARK: Lists

    /// Fetches a small answer unchanged.
    func fetch(
        _ request: UpstreamRequest, from source: PullSource,
        then: @escaping (Result<BufferedFetch.Answer, RegistryError>) -> Void
    ) {
        guard !isClosed else {
            return context.loop.deferred.complete(then, .failure(.unavailable("the server is stopping")))
        }
        var identity: ObjectIdentifier?
        let fetch = BufferedFetch(
            request, to: source.host, client: context.client,
            memory: request.kind == .manifest ? context.store.backlog : listMemory,
            limitBytes: Puller.maximumListBytes
        ) { [weak self] result in
            if let identity { self?.fetches[identity] = nil }
            then(result)
        }
        identity = ObjectIdentifier(fetch)
        fetches[ObjectIdentifier(fetch)] = fetch
    }

    // MARK: The end

    /// Ends every pull; partial files are kept.
    package func close() {
        isClosed = true
        slowdownTimer?.close()
        slowdownTimer = nil
        for pull in Array(blobs.values) { pull.close("the server is stopping") }
        for pull in Array(passing.pulls.values) { pull.close("the server is stopping") }
        for pull in Array(manifests.values) { pull.cancel(.unavailable("the server is stopping")) }
        for fetch in Array(fetches.values) { fetch.cancel(.unavailable("the server is stopping")) }
    }
}

// Recent statements of upstreams that save requests: negative answers, and the pulls that are left.

package import OCI

extension Puller {
    // MARK: Negative answers

    /// The remembered 404 or 403 for a manifest, counted as a negative hit; nil when the upstream has to be asked, or
    /// is being asked.
    package func rememberedError(
        _ reference: Reference, from source: PullSource, isHead: Bool
    ) -> RegistryError? {
        let request = UpstreamRequest.manifest(isHead ? .head : .get, reference, source)
        guard !isPulling(reference, from: source) else { return nil }
        return rememberedError(request, isHead ? .head : .content, source)
    }

    /// The same for a blob.
    package func rememberedError(_ blob: Digest, from source: PullSource, isHead: Bool) -> RegistryError? {
        guard growingBlob(source.key(blob)) == nil else { return nil }
        return rememberedError(.blob(isHead ? .head : .get, blob, source), isHead ? .head : .content, source)
    }

    func rememberedError(
        _ request: UpstreamRequest, _ question: NegativeAnswers.Question, _ source: PullSource
    ) -> RegistryError? {
        guard !source.isExplicit, !source.ignoresRememberedErrors else { return nil }
        let key = NegativeAnswers.Key(host: source.host, path: request.path)
        let error = negatives.error(key, question, now: context.loop.nowMilliseconds)
        if let error { context.metrics.pulls.negativeHit(status: error.status) }
        return error
    }

    func beginRequest(_ request: UpstreamRequest, _ source: PullSource) -> NegativeAnswers.Ticket {
        // An upstream may refuse a client's own types: that is no answer for other clients.
        negatives.begin(
            NegativeAnswers.Key(host: source.host, path: request.path), remembersFailure: source.extraAccept.isEmpty)
    }

    /// - Parameter error: nil after a success.
    func endRequest(
        _ ticket: NegativeAnswers.Ticket, _ question: NegativeAnswers.Question, _ error: RegistryError?
    ) {
        negatives.end(ticket, question, error, now: context.loop.nowMilliseconds)
    }

    /// Handles the end of a blob's pull.
    func endRequest(_ ticket: NegativeAnswers.Ticket, _ blob: GrowingBlob) {
        let error: RegistryError? = if case .failed(let error) = blob.phase { error } else { nil }
        endRequest(ticket, .content, error)
    }

    /// A failed pull with the remembered 404 or 403 of a blob; nil without one.
    func rememberedFailure(_ digest: Digest, from source: PullSource) -> GrowingBlob? {
        guard let error = rememberedError(.blob(.get, digest, source), .content, source) else { return nil }
        let blob = GrowingBlob(key: source.key(digest), loop: context.loop)
        blob.fail(error)
        return blob
    }

    /// Keeps negative answers from outliving what the store is given by pulls, loads and HEADs.
    func watchStore() {
        context.store.onTagSet = { [weak self] host, repository, tag in
            self?.negatives.succeeded(.init(host: host, path: "/v2/\(repository)/manifests/\(tag)"))
        }
        context.store.onContentAdded = { [weak self] host, repository, digest in
            self?.negatives.succeeded(.init(host: host, path: "/v2/\(repository)/manifests/\(digest)"))
            self?.negatives.succeeded(.init(host: host, path: "/v2/\(repository)/blobs/\(digest)"))
        }
    }

    // MARK: Quotas

    /// Whether so few pulls are left at an upstream, as it states itself, that only those are made which a client
    /// needs: one of content that is not cached (`quota.reserve`).
    package func mustSaveQuota(_ host: RegistryHost) -> Bool { context.client.mustSaveQuota(host) }

    /// Counts a pull that was not made, to save its upstream's quota.
    package func countSaved(_ kind: PullKind, of host: RegistryHost) { context.metrics.quotaSaved(host, kind) }

    /// Whether a waiting pull is a prefetch that is given up, to save its upstream's quota.
    func isGivenUp(_ pull: BlobPull) -> Bool {
        let key = pull.blob.key
        guard queue.isPrefetch(key), endings[key] == nil, !pull.source.isExplicit else { return false }
        return mustSaveQuota(key.host)
    }
}

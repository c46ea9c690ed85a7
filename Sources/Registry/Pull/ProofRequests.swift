// Asks upstreams whether their repositories have content that the cache got elsewhere.

package import OCI

/// What an upstream says about content that is in the cache.
package enum ProofAnswer {
    /// The repository has it, and the proof is recorded.
    case proven
    /// Only the content itself would be a proof: the upstream is one that a client chose, or it does not answer HEAD.
    case needsContent
    /// The repository does not have it, or the upstream cannot be asked.
    case refused(RegistryError)

    /// Whether a HEAD's answer has the content's digest or size, and not another one.
    fileprivate static func isAbout(_ digest: Digest, _ sizeBytes: Int64, _ entity: UpstreamEntity) -> Bool {
        let stated = entity.digest.flatMap { $0.algorithm == digest.algorithm ? $0 : nil }
        guard stated.map({ $0 == digest }) ?? true, entity.sizeBytes.map({ $0 == sizeBytes }) ?? true else {
            return false
        }
        return stated != nil || entity.sizeBytes != nil
    }
}

extension Puller {
    /// Asks by HEAD whether a repository has a manifest or blob; calls made meanwhile share the answer.
    /// - Parameter sizeBytes: the size of the cached content.
    package func prove(
        _ digest: Digest, _ kind: UpstreamRequest.Kind, sizeBytes: Int64, from source: PullSource,
        then: @escaping (ProofAnswer) -> Void
    ) {
        guard context.client.upstream(for: source.host).isNamed else {
            return context.loop.deferred.complete(then, .needsContent)
        }
        let request =
            kind == .manifest
            ? UpstreamRequest.manifest(.head, .digest(digest), source) : UpstreamRequest.blob(.head, digest, source)
        if let error = rememberedError(request, .proof, source) {
            return context.loop.deferred.complete(then, .refused(error))
        }
        let ticket = beginRequest(request, source)
        head(request, from: source) { [self] result in
            endRequest(ticket, .proof, result.failure)
            switch result {
            case .failure(let error) where error.mayConcernHeadOnly:
                // A plain 404 is the repository's word; a store that it redirects to may refuse HEAD alone.
                then(error.upstreamStatus == 404 ? .refused(error) : .needsContent)
            case .failure(let error): then(.refused(error))
            case .success(let entity):
                // Some servers answer 200 for every path.
                guard ProofAnswer.isAbout(digest, sizeBytes, entity) else { return then(.needsContent) }
                context.store.addProof(digest, host: source.host, repository: source.repository) { [self] in
                    if kind == .manifest { setHintedTags(digest, source) }
                    then(.proven)
                }
            }
        }
    }
}

// Whether cached content may be served under the name that a request uses. Content is stored by digest alone, so a
// private blob pulled under one name would otherwise be given out under any other.

internal import Logging
internal import OCI

extension API {
    /// Whether the content may be served in the request's repository, as far as memory tells. Allocates nothing.
    @inline(__always)
    func isProven(_ digest: Digest, _ target: Target) -> Bool {
        !store.requiresProofs || target.proofStatus(of: digest, in: store) == .proven
    }

    /// Calls `then` with whether the content may be served in the request's repository: at once without rules on names.
    func whenServable(_ digest: Digest, _ owned: OwnedRequest, then: @escaping (Bool) -> Void) {
        store.whenServable(digest, host: owned.source.host, repository: owned.source.repository, then: then)
    }

    /// Answers a request for a blob that no proof in memory admits.
    func blobWithoutProof(_ connection: Connection, _ digest: Digest, _ owned: OwnedRequest) {
        whenServable(digest, owned) { [self] isServable in
            store.findBlob(digest) { [self] file in
                // A pull under this name may have begun.
                guard let file, isServable || puller.growingBlob(owned.source.key(digest)) == nil else {
                    return pull(connection, digest, owned)
                }
                guard !isServable else { return send(connection, file, digest, owned) }
                proveBlob(connection, file, digest, owned)
            }
        }
    }

    private func proveBlob(_ connection: Connection, _ file: OpenFile, _ digest: Digest, _ owned: OwnedRequest) {
        let unknown = RegistryError.blobUnknown("\(digest) is not known to be in \(owned.source.repository)")
        // The error of content that is not cached, so that a client cannot tell the difference.
        if policy.airGapped { return refuse(connection, .notCached(blob: digest), .unavailable) }
        let pending = makePendingResponse(connection, owned.source)
        puller.prove(digest, .blob, sizeBytes: file.sizeBytes, from: owned.source) { [self] answer in
            pending.answer { [self] connection in
                switch answer {
                case .proven:
                    count(.proven)
                    send(connection, file, digest, owned)
                case .needsContent:
                    count(.pulled)
                    pull(connection, digest, owned)
                case .refused(let error): refuse(connection, error, unknown, owned)
                }
            }
        }
    }

    /// Answers a request for a cached manifest without a proof.
    func proveManifest(
        _ connection: Connection, _ manifest: CachedManifest, _ reference: Reference, _ owned: OwnedRequest
    ) {
        let unknown = RegistryError.manifestUnknown("\(reference) is not known to be in \(owned.source.repository)")
        if policy.airGapped {
            return refuse(connection, .notCached(manifest: reference, in: owned.source.repository), .unavailable)
        }
        let pending = makePendingResponse(connection, owned.source)
        let size = Int64(manifest.sizeBytes)
        puller.prove(manifest.digest, .manifest, sizeBytes: size, from: owned.source) { [self] answer in
            pending.answer { [self] connection in
                switch (answer, reference) {
                case (.proven, _):
                    count(.proven)
                    serve(connection, manifest, owned)
                case (.needsContent, _):
                    count(.pulled)
                    pull(connection, reference, owned)
                case (.refused(let error), .tag) where error.status == 404:
                    // The tag may have moved since.
                    count(.pulled)
                    pull(connection, reference, owned)
                case (.refused(let error), _): refuse(connection, error, unknown, owned)
                }
            }
        }
    }

    /// Passes the upstream's refusal on. When it cannot be asked, the content counts as unknown.
    private func refuse(
        _ connection: Connection, _ error: RegistryError, _ unknown: RegistryError, _ owned: OwnedRequest
    ) {
        guard error.status >= 500 else { return refuse(connection, error, .refused) }
        logger.warning(
            "cached content is not served, since the upstream cannot be asked whether it has it",
            metadata: [
                "host": "\(owned.source.host)", "repository": "\(owned.source.repository)",
                "id": "\(owned.source.requestID)", "reason": "\(error.reason)",
            ])
        refuse(connection, unknown, .unavailable)
    }

    private func refuse(_ connection: Connection, _ error: RegistryError, _ result: ProofResult) {
        count(result)
        connection.respond(error)
    }

    private func count(_ result: ProofResult) { metrics.requests.withoutProof[result, default: 0] &+= 1 }
}

extension Target {
    func proofStatus(of digest: Digest, in store: Store) -> ProofStatus {
        withBytes { $0.withText { store.proofStatus(of: digest, in: $0) } }
    }
}

// Content by digest for requests that name no upstream: what the cache has is served, since a digest says all about it.
// Lazy snapshotters (stargz, soci) ask their mirrors so.

internal import OCI

extension API {
    /// Answers from the cache alone, and 404 for what it does not have.
    func cachedContent(
        _ connection: Connection, _ route: Route, _ head: RequestHead, _ bytes: UnsafeRawBufferPointer
    ) {
        guard route.kind == .manifest || route.kind == .blob, let digest = Digest(ascii: route.reference) else {
            return connection.respond(
                RegistryError(
                    status: 400, code: .nameInvalid,
                    message: "no upstream can be derived: name one by ns, X-Registry or the first path segment"))
        }
        guard RepositoryName.isValid(route.name) else {
            return connection.respond(
                RegistryError(status: 400, code: .nameInvalid, message: "invalid repository name"))
        }
        guard !store.requiresProofs, !tags.cooldown.isActive else {
            return connection.respond(
                RegistryError(
                    status: 404, code: route.kind == .manifest ? .manifestUnknown : .blobUnknown,
                    message: "content is served only under the names of its upstreams: name one by ns, X-Registry or "
                        + "the first path segment"))
        }
        let conditions = Conditions(head, bytes)
        if route.kind == .manifest {
            store.findManifest(digest) { [self] found in
                guard let found = builtin?.manifests[digest] ?? found else {
                    return connection.respond(
                        .manifestUnknown("\(digest) is not in the cache, and no upstream is named"))
                }
                metrics.countCachedPull(Namespaces.other)
                send(connection, found, conditions, .hit)
            }
        } else {
            if let blob = builtin?.blobs[digest] { return send(connection, blob, digest, conditions) }
            store.findBlob(digest) { [self] file in
                let unknown = RegistryError.blobUnknown("\(digest) is not in the cache, and no upstream is named")
                guard let file else { return connection.respond(unknown) }
                send(connection, file, digest, conditions) { { $0.respond(unknown) } }
            }
        }
    }
}

extension RegistryError {
    /// The error of an air-gapped server for a blob that it may not serve.
    static func notCached(blob digest: Digest) -> RegistryError { .blobUnknown("\(digest) is not in the cache") }

    /// The error of an air-gapped server for a manifest that it may not serve.
    static func notCached(manifest reference: Reference, in repository: RepositoryName) -> RegistryError {
        .manifestUnknown("\(repository):\(reference) is not in the cache")
    }
}

// Blobs that manifests bring along in their descriptors: they are stored like pulled ones, so that clients that ask for
// them get them, also where the upstream does not have them.

package import OCI

extension Store {
    /// Stores verified blobs, one after the other; what cannot be stored is left to a pull.
    /// - Parameter then: called later, when each of them is stored or given up.
    package func putInline(
        _ blobs: ArraySlice<InlineBlob>, host: RegistryHost, repository: RepositoryName, then: @escaping () -> Void
    ) {
        guard let blob = blobs.first else { return loop.deferred.enqueue(then) }
        let next = { [self] in putInline(blobs.dropFirst(), host: host, repository: repository, then: then) }
        let key = PullKey(host: host, repository: repository, digest: blob.digest)
        // A pull of it in progress is not waited for.
        if case .present = blobSize(blob.digest) {
            addProof(blob.digest, host: host, repository: repository)
            return next()
        }
        guard writing[key] == nil else { return next() }
        beginIngest(key) { result in
            guard case .success(let ingest) = result else { return next() }
            let rest = blob.bytes.dropFirst(Int(clamping: ingest.offsetBytes))
            ingest.reserve(totalBytes: Int64(blob.bytes.count)) { error in
                guard error == nil else {
                    ingest.discard()
                    return next()
                }
                // Smaller than a manifest, so that no pause is needed between its pieces.
                _ = Array(rest).withUnsafeBytes { ingest.append($0) }
                ingest.verify { matches in
                    guard case .success(true) = matches else {
                        ingest.discard()
                        return next()
                    }
                    ingest.commit { _ in next() }
                }
            }
        }
    }
}

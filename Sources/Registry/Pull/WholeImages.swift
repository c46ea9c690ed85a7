// Completes cached images: when a client pulls one, the rest of its config and layers is prefetched. `prefetchLayers`
// decides when: with the first request for a layer, or with the request for the manifest.

internal import Configuration
package import OCI

extension Puller {
    /// Finds the blobs of a cached image that are missing, and prefetches them: now, or when a client requests one of
    /// its layers (`prefetchLayers`). A cached blob whose size differs from the manifest's is hashed again. Called for
    /// every GET of a manifest. Returns immediately once the image is complete (`nextWholeCheckMilliseconds` is
    /// `.max`).
    /// - Parameter fetches: whether an upstream may be asked for missing blobs.
    package func completeImage(_ manifest: CachedManifest, from source: PullSource, fetches: Bool) {
        let now = context.loop.nowMilliseconds
        let key = source.key(manifest.digest)
        guard now >= manifest.nextWholeCheckMilliseconds, now >= manifest.nextWholeChecks[key] ?? 0, !isClosed else {
            return
        }
        guard manifest.nextWholeChecks.count < Puller.maximumWholeChecks else {
            // A check decodes the manifest, and a client can name any number of repositories.
            manifest.nextWholeChecks = [:]
            return manifest.nextWholeCheckMilliseconds = now + Puller.wholeCheckPauseMilliseconds
        }
        // Not again for this source while this check is under way.
        manifest.nextWholeChecks[key] = .max
        // Shared, not copied: any number of these jobs may wait for a thread.
        let (body, mediaType) = (manifest.sharedBody, manifest.mediaType.text)
        context.offload.run {
            let decoded = try Manifest.decode(body.bytes, contentType: mediaType)
            return (decoded.prefetchedBlobs, decoded.layers.map(\.digest))
        } then: { [self] (result: Result<([Descriptor], [Digest]), any Error>) in
            guard case .success(let (blobs, layers)) = result, !blobs.isEmpty else {
                manifest.nextWholeChecks[key] = nil
                return manifest.nextWholeCheckMilliseconds = .max
            }
            findMissing(blobs, source) { [self] missing in
                let lacking = Set(missing)
                context.store.noteNamed(blobs.map(\.digest).filter { !lacking.contains($0) }, by: manifest.digest)
                guard !missing.isEmpty else {
                    // Where proofs are required, the image is whole for this source alone.
                    guard !context.store.requiresProofs else { return }
                    manifest.nextWholeChecks[key] = nil
                    return manifest.nextWholeCheckMilliseconds = .max
                }
                manifest.nextWholeChecks[key] = nil
                let next = context.loop.nowMilliseconds + Puller.wholeCheckPauseMilliseconds
                guard fetches, context.settings.prefetchLayers != .never else {
                    return manifest.nextWholeCheckMilliseconds = next
                }
                // Another repository may have what this one lacks.
                manifest.nextWholeChecks[key] = next
                complete(manifest, missing, layers, source)
            }
        }
    }

    /// Sources of one image that is not whole: beyond this none is checked for a while.
    static let maximumWholeChecks = 64
    /// Pause before an image whose layers could not all be fetched is checked again.
    package static let wholeCheckPauseMilliseconds: UInt64 = 30_000

    /// Whether a request for this blob may begin the prefetch of an image.
    package func mayCompleteImage(_ layer: Digest) -> Bool { incompleteImages.mayHave(layer) }

    /// A client has asked for a blob. If it is a layer of an image that is not whole, the rest is fetched.
    package func layerRequested(_ digest: Digest, from source: PullSource) {
        let images = incompleteImages.take(source.key(digest), now: context.loop.nowMilliseconds)
        for image in images { prefetch(image.missing, source) }
    }

    /// - Parameter then: gets the blobs that the cache does not have, and those that it may not serve for this source.
    ///   A hostile registry could otherwise learn what is cached from what is not requested.
    private func findMissing(_ blobs: [Descriptor], _ source: PullSource, then: @escaping ([Digest]) -> Void) {
        var unknown = blobs.count
        var missing: [Digest] = []
        let onKnown = { (digest: Digest, isServable: Bool) in
            unknown -= 1
            if !isServable { missing.append(digest) }
            if unknown == 0 { then(missing) }
        }
        for blob in blobs {
            context.store.hasBlob(blob) { [context] isPresent in
                guard isPresent else { return onKnown(blob.digest, false) }
                context.store.whenServable(blob.digest, host: source.host, repository: source.repository) {
                    onKnown(blob.digest, $0)
                }
            }
        }
    }

    private func complete(_ manifest: CachedManifest, _ missing: [Digest], _ layers: [Digest], _ source: PullSource) {
        // A client may have asked for a layer while the manifest was being read.
        let isPulled = layers.contains { blobs[source.key($0)] != nil && !queue.isPrefetch(source.key($0)) }
        switch context.settings.prefetchLayers {
        case .never: break
        case .manifest: prefetch(missing, source)
        case .layer where isPulled: prefetch(missing, source)
        case .layer:
            let image = IncompleteImages.Image(
                host: source.host, repository: source.repository, manifest: manifest.digest, missing: missing)
            incompleteImages.note(image, layers: layers, now: context.loop.nowMilliseconds)
        }
    }

    private func prefetch(_ missing: [Digest], _ source: PullSource) {
        let mustSave = mustSaveQuota(source.host)
        var unproven: [(digest: Digest, sizeBytes: Int64)] = []
        for digest in missing {
            if case .present(let sizeBytes) = context.store.blobSize(digest) {
                if context.store.requiresProofs { unproven.append((digest, sizeBytes)) }
            } else if mustSave {
                countSaved(.blob, of: source.host)
            } else {
                _ = blob(digest, from: source, demand: .prefetch)
            }
        }
        proveNext(unproven[...], source)
    }

    /// Asks about cached blobs one after the other: clients' requests must not wait for them.
    private func proveNext(_ blobs: ArraySlice<(digest: Digest, sizeBytes: Int64)>, _ source: PullSource) {
        guard let first = blobs.first, !isClosed else { return }
        prove(first.digest, .blob, sizeBytes: first.sizeBytes, from: source) { [self] answer in
            if case .needsContent = answer, !mustSaveQuota(source.host) {
                _ = blob(first.digest, from: source, demand: .prefetch)
            }
            proveNext(blobs.dropFirst(), source)
        }
    }
}

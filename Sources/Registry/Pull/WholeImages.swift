// A cached image is a whole image: what its manifest lists is fetched when the manifest is asked for.

internal import OCI

extension Puller {
    /// Looks whether a cached image is a whole image: starts what is missing of its config and layers, and has blobs
    /// whose size is not the manifest's hashed. Asked on every GET of a manifest; answered by a flag once the image is
    /// known to be whole.
    /// - Parameter fetches: whether what is missing may be asked of an upstream.
    package func completeImage(_ manifest: CachedManifest, from source: PullSource, fetches: Bool) {
        guard context.loop.nowMilliseconds >= manifest.nextWholeCheckMilliseconds, !isClosed else { return }
        // Not again while this look is under way.
        manifest.nextWholeCheckMilliseconds = .max
        // Not a copy: any number of these jobs may wait for a thread.
        let (body, mediaType) = (manifest.sharedBody, manifest.mediaType.text)
        context.offload.run {
            try Manifest.decode(body.bytes, contentType: mediaType).prefetchedBlobs
        } then: { [self] (result: Result<[Descriptor], any Error>) in
            guard case .success(let blobs) = result else { return }
            look(at: blobs, of: manifest, from: fetches && context.prefetchLayers ? source : nil)
        }
    }

    /// Pause before an image whose layers could not all be fetched is checked again.
    static let wholeCheckPauseMilliseconds: UInt64 = 30_000

    /// - Parameter source: where what is missing is fetched; nil: it is not.
    private func look(at blobs: [Descriptor], of manifest: CachedManifest, from source: PullSource?) {
        var unknown = blobs.count
        var missing = 0
        for blob in blobs {
            context.store.hasBlob(blob) { [self] isPresent in
                unknown -= 1
                if !isPresent, let source {
                    missing += 1
                    _ = self.blob(blob.digest, from: source, demand: .prefetch)
                }
                guard unknown == 0, missing > 0 else { return }
                manifest.nextWholeCheckMilliseconds =
                    context.loop.nowMilliseconds + Puller.wholeCheckPauseMilliseconds
            }
        }
    }
}

// A cached image is a whole image: what its manifest lists is fetched when the manifest is asked for.

extension Puller {
    /// Starts what is missing of an image's config and layers, so that a cached image is a whole image. Asked on every
    /// GET of a manifest; answered by a flag once the image is known to be whole.
    package func completeImage(_ manifest: CachedManifest, from source: PullSource) {
        let now = context.loop.nowMilliseconds
        guard now >= manifest.nextWholeCheckMilliseconds, !isClosed else { return }
        guard context.prefetchLayers else {
            manifest.nextWholeCheckMilliseconds = .max
            return
        }
        manifest.nextWholeCheckMilliseconds = now + Puller.wholeCheckPauseMilliseconds
        // Not a copy: any number of these jobs may wait for a thread.
        let (body, mediaType) = (manifest.sharedBody, manifest.mediaType.text)
        context.offload.run {
            try Manifest.decode(body.bytes, contentType: mediaType).prefetchedBlobs
        } then: { [self] (result: Result<[Descriptor], any Error>) in
            guard case .success(let blobs) = result else { return }
            fetchMissing(blobs, of: manifest, from: source)
        }
    }

    /// Pause before an image whose layers could not all be fetched is looked at again.
    static let wholeCheckPauseMilliseconds: UInt64 = 30_000

    private func fetchMissing(_ blobs: [Descriptor], of manifest: CachedManifest, from source: PullSource) {
        var unknown = blobs.count
        var missing = 0
        for blob in blobs {
            context.store.hasBlob(blob.digest) { [self] isPresent in
                unknown -= 1
                if !isPresent {
                    missing += 1
                    _ = self.blob(blob.digest, from: source, demand: .ahead)
                }
                if unknown == 0, missing == 0 { manifest.nextWholeCheckMilliseconds = .max }
            }
        }
        if blobs.isEmpty { manifest.nextWholeCheckMilliseconds = .max }
    }
}

extension Store {
    /// Whether the store has a blob: from memory, or from the disk while recovery has not finished.
    func hasBlob(_ digest: Digest, then: @escaping (Bool) -> Void) {
        switch blobSize(digest) {
        case .present: then(true)
        case .absent: then(false)
        case .unknown: findBlob(digest) { then($0 != nil) }
        }
    }
}

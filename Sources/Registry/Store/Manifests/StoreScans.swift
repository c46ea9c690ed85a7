// Scans of the whole store for operators: images, and blobs with the manifests that use them.

internal import Logging
internal import OCI

extension Store {
    /// Calls `making` with all images, sorted by name. It runs off the loop, since there may be many.
    /// - Parameter readsProofs: whether the index of proofs is read too.
    package func images<R: Sendable>(
        readsProofs: Bool = false, making: @escaping @Sendable ([CachedImage]) throws -> R,
        then: @escaping (Result<R, any Error>) -> Void
    ) {
        scan(readsProofs: readsProofs, { scan, accessed in try making(scan.images(accessed)) }, then: then)
    }

    /// Calls `making` with all cached blobs, sorted by digest. It runs off the loop, since there may be many.
    package func blobEntries<R: Sendable>(
        making: @escaping @Sendable ([BlobEntry]) throws -> R, then: @escaping (Result<R, any Error>) -> Void
    ) {
        scan({ scan, accessed in try making(scan.blobEntries(accessed)) }, then: then)
    }

    func scan<R: Sendable>(
        readsProofs: Bool = false, _ work: @escaping @Sendable (ImageScan, DigestMap<Int64>) throws -> R,
        then: @escaping (Result<R, any Error>) -> Void
    ) {
        let (layout, accessed) = (layout, accessTimes.seconds)
        workBegins()
        offload.run {
            let scan = try ImageScan(layout, readsProofs: readsProofs)
            let value = try work(scan, accessed)
            return (value, scan.unreadable, scan.entryCount)
        } then: { [self] (result: Result<(R, [StoreError], Int), any Error>) in
            if case .success((_, let unreadable, let count)) = result {
                for error in unreadable { logger.error("store: left out of the images: \(error)") }
                // Off the loop, once the scan's memory has been freed.
                offload.run {
                    ImageScan.giveMemoryBack(afterEntries: count)
                } then: { _ in
                }
            }
            then(result.map(\.0))
            workEnds()
        }
    }
}

extension ImageScan {
    /// The blobs, sorted by digest. A blob counts as used when a manifest that names it was.
    fileprivate func blobEntries(_ accessed: DigestMap<Int64>) -> [BlobEntry] {
        var named: [Digest: (count: Int, usedSeconds: Int64)] = [:]
        for (digest, manifest) in manifests {
            let usedSeconds = accessed[digest] ?? manifest.createdSeconds
            for blob in Set(manifest.blobs.map(\.digest)) where blobs[blob] != nil {
                let known = named[blob] ?? (0, usedSeconds)
                named[blob] = (known.count + 1, max(known.usedSeconds, usedSeconds))
            }
        }
        let entries = blobs.map { digest, blob in
            let usedSeconds = max(
                blob.createdSeconds, accessed[digest] ?? blob.createdSeconds,
                named[digest]?.usedSeconds ?? blob.createdSeconds)
            return BlobEntry(
                digest: digest, sizeBytes: blob.sizeBytes, createdSeconds: blob.createdSeconds,
                usedSeconds: usedSeconds, referenceCount: named[digest]?.count ?? 0)
        }
        return entries.map { ("\($0.digest)", $0) }.sorted { $0.0 < $1.0 }.map(\.1)
    }
}

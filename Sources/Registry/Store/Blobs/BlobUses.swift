// The last uses of blobs that no cached manifest names: they were requested alone, or arrived after their image had
// been removed. Other blobs live as long as the manifests that name them, so their own uses are not recorded once that
// is known. The file of last uses then has about one line an image.

package import OCI

/// A blob in memory, or its open file.
protocol UsedBlob: AnyObject {
    /// When its next use is recorded, on the loop's clock.
    var nextTouchMilliseconds: UInt64 { get set }
}

extension OpenFile: UsedBlob {}
extension CachedBlob: UsedBlob {}

extension Store {
    /// Records that a cached blob is being served. It allocates at most twice a minute, and while content is being
    /// removed.
    @inline(__always)
    func touch(_ blob: some UsedBlob, _ digest: @autoclosure () -> Digest) {
        let now = loop.nowMilliseconds
        let isDue = now >= blob.nextTouchMilliseconds
        guard isDue || pruning != nil else { return }
        if isDue { blob.nextTouchMilliseconds = now + AccessTimes.granularityMilliseconds }
        blobUsed(digest(), isDue: isDue)
    }

    /// - Parameter isDue: whether the time is recorded. A use before that only keeps the blob from a running prune.
    func blobUsed(_ digest: Digest, isDue: Bool) {
        pruning?.touched.insert(digest)
        guard isDue, let blob = blobs[digest], !blob.isNamed else { return }
        accessTimes.touch(digest, at: EventLoop.unixSeconds)
    }

    /// Records that a cached manifest names these blobs.
    package func noteNamed(_ named: [Digest], by manifest: Digest) {
        // It may have been removed since it was read.
        guard manifests[manifest] != nil || manifestsInWriting[manifest] != nil else { return }
        for digest in named {
            blobs.setNamed(true, digest)
            forgetUse(of: digest)
        }
    }

    /// Removes a last use that nothing needs: the content has left the cache, or lives as long as a manifest. A
    /// manifest and a blob can have the same digest.
    func forgetUse(of digest: Digest) {
        guard manifests[digest] == nil, manifestsInWriting[digest] == nil, blobs[digest]?.isNamed ?? true else {
            return
        }
        accessTimes.forget(digest)
    }
}

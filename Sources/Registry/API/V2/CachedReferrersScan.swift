// The referrers in the cache, for answers without an upstream.

internal import OCI

/// Finds the cache's referrers, once for all requests that wait meanwhile, and again only when names or manifests were
/// stored since: each scan reads the whole cache.
final class CachedReferrersScan {
    /// While the cache changes, scans take at most this part of the time.
    private static let shareOfTime: UInt64 = 10

    private let store: Store
    private let loop: EventLoop
    private var waiting: [(CachedReferrers?) -> Void] = []
    private var latest: (found: CachedReferrers, contentCount: UInt64, requiresProofs: Bool, endMilliseconds: UInt64)?

    init(_ store: Store, on loop: EventLoop) {
        self.store = store
        self.loop = loop
    }

    /// - Parameter then: called later with the referrers, or nil when the cache cannot be read.
    func find(then: @escaping (CachedReferrers?) -> Void) {
        if let latest, latest.requiresProofs == store.requiresProofs,
            latest.contentCount == store.contentCount || loop.nowMilliseconds < latest.endMilliseconds
        {
            return loop.deferred.complete(then, latest.found)
        }
        waiting.append(then)
        if waiting.count == 1 { scan() }
    }

    private func scan() {
        let (count, requires, start) = (store.contentCount, store.requiresProofs, loop.nowMilliseconds)
        store.cachedReferrers { [self] result in
            let found = try? result.get()
            let pause = (loop.nowMilliseconds - start).multipliedSaturated(by: CachedReferrersScan.shareOfTime)
            latest = found.map { ($0, count, requires, loop.nowMilliseconds.addingSaturated(pause)) }
            let all = waiting
            waiting = []
            loop.deferred.forEach(all) { $0(found) }
        }
    }
}

// Admission and eviction. A pull states how much room it needs before it writes. If that does not fit, the least
// recently used images and blobs without an image are evicted. Content in use and pinned images stay; if that frees
// too little, the pull is refused for lack of room.

internal import Configuration
internal import Glibc
internal import Logging
internal import OCI

/// Counts of removals since the start.
struct Removals {
    var prunedImages: UInt64 = 0
    var prunedBytes: UInt64 = 0
    var evictedImages: UInt64 = 0
    var evictedBytes: UInt64 = 0

    mutating func add(_ outcome: Pruning.Outcome, isEviction: Bool) {
        if isEviction {
            evictedImages &+= UInt64(outcome.removed.count)
            evictedBytes &+= UInt64(clamping: outcome.freedBytes)
        } else {
            prunedImages &+= UInt64(outcome.removed.count)
            prunedBytes &+= UInt64(clamping: outcome.freedBytes)
        }
    }
}

extension Store {
    /// Bytes that count towards the budget.
    package var usedBytes: Int64 {
        [blobs.totalBytes, manifests.totalBytes, partials.totalBytes, reservedBytes, accessTimes.file.bytes]
            .saturatedSum { $0 }
    }

    /// Whether images may be evicted; without a budget nothing is evicted.
    var mayEvict: Bool { !limits.budget.isUnlimited }

    /// Grants room, after evicting partial files and images if necessary. The callback gets the granted bytes: all of
    /// `bytes`, or the available room if that is at least `least`.
    func admit(_ bytes: Int64, atLeast least: Int64, then: @escaping (Result<Int64, StoreError>) -> Void) {
        admit(bytes, least, evictionsLeft: 2, then)
    }

    /// - Parameter evictionsLeft: how many more evictions may fail before the pull is refused. A pull's own failed
    ///   eviction refuses it. After another pull's failed eviction it tries once more, because content may have become
    ///   removable since then. A successful eviction is not counted, even if another pull took the space.
    private func admit(
        _ bytes: Int64, _ least: Int64, evictionsLeft: Int, _ then: @escaping (Result<Int64, StoreError>) -> Void
    ) {
        // Without a limit every request is granted.
        guard !limits.budget.isUnlimited else { return loop.deferred.complete(then, .success(bytes)) }
        levels { [self] result in
            switch result {
            case .failure(let error): then(.failure(error))
            case .success(let levels) where limits.budget.fits(bytes, levels): then(.success(bytes))
            case .success(let levels):
                let excess = limits.budget.excess(bytes, levels)
                guard evictionsLeft > 0, excess > 0 else {
                    let room = limits.budget.room(levels)
                    guard room < least else { return then(.success(room)) }
                    // `excess` is 0 for content larger than the limit. That is refused without an eviction, and not
                    // counted.
                    if excess > 0 { refusedAdmissions &+= 1 }
                    return then(.failure(.noSpace(call: "budget", path: layout.root)))
                }
                let joinsAnother = isEvicting
                evict(excess) { [self] foundEnough in
                    admit(
                        bytes, least, evictionsLeft: foundEnough ? evictionsLeft : joinsAnother ? evictionsLeft - 1 : 0,
                        then)
                }
            }
        }
    }

    private func levels(then: @escaping (Result<Budget.Levels, StoreError>) -> Void) {
        let layout = layout
        perform({ () throws(StoreError) in try Disk.space(layout.temporary) }) { [self] result in
            then(result.map { Budget.Levels(usedBytes: usedBytes, freeBytes: $0.freeBytes) })
        }
    }

    /// Called after content was stored: makes room in advance, so that the next pull does not have to wait.
    func keepBelowBudget() {
        guard mayEvict, !isEvicting, !isClosing else { return }
        levels { [self] result in
            guard case .success(let levels) = result, limits.budget.isHigh(levels) else { return }
            evict(limits.budget.excess(0, levels)) { _ in }
        }
    }

    /// Evicts partial files and then images until this many bytes are free or nothing more can be evicted. Callers
    /// during a running eviction wait for it and check again. `then` gets whether the running one freed enough.
    func evict(_ bytes: Int64, then: @escaping (_ foundEnough: Bool) -> Void) {
        guard bytes > 0, !isClosing else { return loop.deferred.complete(then, false) }
        waitingForRoom.append(then)
        guard !isEvicting else { return }
        isEvicting = true
        removePartials(bytes) { [self] freed in
            guard freed < bytes else { return roomMade(true) }
            guard !evictionBackOff.isActive(now: loop.nowMilliseconds) else { return roomMade(false) }
            let isPinned = limits.isPinned
            prune(
                selecting: { try !isPinned($0) }, orphanAge: OrphanAge(usedBefore: leaseBegin),
                goalBytes: bytes - freed, reporting: { EvictionSum($0) }
            ) { [self] result in evicted(result, bytes - freed) }
        }
    }

    /// The summary of an eviction for the log.
    private struct EvictionSum: Sendable {
        let images: Int
        /// Blobs without an image.
        let orphans: Int
        let bytes: Int64
        let skipped: Int

        init(_ report: PruneReport) {
            (images, orphans) = (report.images.count, report.orphans.count)
            (bytes, skipped) = (report.freedBytes, report.skipped.count)
        }
    }

    private func evicted(_ result: Result<EvictionSum, any Error>, _ bytes: Int64) {
        switch result {
        case .success(let sum):
            logger.notice(
                "store: made room",
                metadata: [
                    "images": "\(sum.images)", "unreferenced_blobs": "\(sum.orphans)", "bytes": "\(sum.bytes)",
                    "wanted": "\(bytes)", "in_use": "\(sum.skipped)",
                ])
        case .failure(let error): logger.error("store: cannot make room: \(error)")
        }
        roomMade((try? result.get()).map { $0.bytes >= bytes } ?? false)
    }

    private func roomMade(_ foundEnough: Bool) {
        isEvicting = false
        let waiting = waitingForRoom
        waitingForRoom = []
        for then in waiting { then(foundEnough) }
    }

    /// Milliseconds until a manifest's last use no longer protects it from eviction.
    func millisecondsToLeaseEnd(of digest: Digest) -> UInt64 {
        guard limits.leaseSeconds > 0, let lastUse = accessTimes.seconds[digest] else { return 0 }
        let (age, overflow) = EventLoop.unixSeconds.subtractingReportingOverflow(lastUse)
        return EvictionBackOff.milliseconds(overflow ? 0 : leaseReachSeconds - min(max(age, 0), leaseReachSeconds))
    }

    /// Records that a new blob may be evicted if no manifest uses it within the time of a lease.
    func blobMayBecomeOrphan() {
        evictionBackOff.mayLeave(
            inMilliseconds: EvictionBackOff.milliseconds(leaseReachSeconds), now: loop.nowMilliseconds)
    }

    /// How long a use protects an image: uses are known only to `granularitySeconds`.
    private var leaseReachSeconds: Int64 {
        guard limits.leaseSeconds > 0 else { return 0 }
        return min(limits.leaseSeconds, Int64(Int32.max)) + AccessTimes.granularitySeconds
    }

    /// Begins a back-off: an eviction found too little, and nothing more can be evicted for now.
    func backOffEvictions(after running: Pruning) {
        var leaseEnd = running.plan.leaseEndSeconds
        // An image used during the eviction is protected for as long as any other that was just used.
        if running.hasSkippedInUse { leaseEnd = min(leaseEnd ?? .max, leaseReachSeconds) }
        evictionBackOff.begin(
            now: loop.nowMilliseconds, startedAt: running.startedMilliseconds,
            leaseEndsAt: leaseEnd.map { running.startedMilliseconds &+ EvictionBackOff.milliseconds($0) },
            awaitsPulls: running.hasSkippedPulled)
    }

    /// Begins a back-off: the store could not be read, so it is unknown what can be evicted.
    func backOffEvictionsAfterFailure(_ running: Pruning) {
        let now = loop.nowMilliseconds
        evictionBackOff.begin(
            now: now, startedAt: running.startedMilliseconds,
            leaseEndsAt: now &+ EvictionBackOff.afterFailureMilliseconds, awaitsPulls: false)
    }
}

// Making room. A pull says how much it will need before it writes; where that does not fit, the images that have gone
// unused for longest leave first. What is in use stays, pinned images stay, and if that leaves too little, the pull is
// refused for want of room.

internal import Configuration
internal import Glibc
internal import Logging
internal import OCI

/// What has been removed since the start.
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
    /// What the budget counts.
    package var usedBytes: Int64 {
        [blobs.totalBytes, manifests.totalBytes, partials.totalBytes, reservedBytes, accessTimes.file.bytes]
            .saturatedSum { $0 }
    }

    /// Without a budget nothing ever leaves by itself.
    var mayEvict: Bool { !limits.budget.isUnlimited }

    /// Calls back with how much more may be stored, after partial files and images have left for it if need be: what is
    /// wanted, or what room there is when that is enough for now.
    func admit(_ bytes: Int64, atLeast least: Int64, then: @escaping (Result<Int64, StoreError>) -> Void) {
        admit(bytes, least, looks: 2, then)
    }

    /// - Parameter looks: how often it may still be looked in vain for what can leave. Who has found enough, and does
    ///   not fit all the same, has lost it to somebody else who waited: that may go on as long as images leave. Who has
    ///   looked in vain knows. Who has waited for another's look in vain may look once more, since that one may have
    ///   begun before what could leave now was let go; no more than that, or many at once would look one after the
    ///   other.
    private func admit(
        _ bytes: Int64, _ least: Int64, looks: Int, _ then: @escaping (Result<Int64, StoreError>) -> Void
    ) {
        // Without a budget nobody counts.
        guard !limits.budget.isUnlimited else { return loop.deferred.complete(then, .success(bytes)) }
        levels { [self] result in
            switch result {
            case .failure(let error): then(.failure(error))
            case .success(let levels) where limits.budget.fits(bytes, levels): then(.success(bytes))
            case .success(let levels):
                let excess = limits.budget.excess(bytes, levels)
                guard looks > 0, excess > 0 else {
                    let room = limits.budget.room(levels)
                    guard room < least else { return then(.success(room)) }
                    // What can never fit is refused at once, and is not for want of what may leave.
                    if excess > 0 { refusedAdmissions &+= 1 }
                    return then(.failure(.noSpace(call: "budget", path: layout.root)))
                }
                let isOthers = isEvicting
                evict(excess) { [self] foundEnough in
                    admit(bytes, least, looks: foundEnough ? looks : isOthers ? looks - 1 : 0, then)
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

    /// After something has been stored: room is made before the next pull has to wait for it.
    func keepBelowBudget() {
        guard mayEvict, !isEvicting, !isClosing else { return }
        levels { [self] result in
            guard case .success(let levels) = result, limits.budget.isHigh(levels) else { return }
            evict(limits.budget.excess(0, levels)) { _ in }
        }
    }

    /// Lets partial files and then images leave until so much is free, or nothing more may leave. Who asks meanwhile
    /// waits for the one under way, and looks again then. `then` gets whether there was as much as that one wanted.
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
                selecting: { try !isPinned($0) }, orphansBefore: EventLoop.unixSeconds - limits.leaseSeconds,
                goalBytes: bytes - freed, reporting: { EvictionSum($0) }
            ) { [self] result in evicted(result, bytes - freed) }
        }
    }

    /// What a log's line says of an eviction.
    private struct EvictionSum: Sendable {
        let images: Int
        let bytes: Int64
        let skipped: Int

        init(_ report: PruneReport) {
            (images, bytes, skipped) = (report.images.count, report.freedBytes, report.skipped.count)
        }
    }

    private func evicted(_ result: Result<EvictionSum, any Error>, _ bytes: Int64) {
        switch result {
        case .success(let sum):
            logger.notice(
                "store: made room",
                metadata: [
                    "images": "\(sum.images)", "bytes": "\(sum.bytes)", "wanted": "\(bytes)",
                    "in_use": "\(sum.skipped)",
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

    /// Milliseconds until a manifest's last use no longer keeps it from leaving.
    func millisecondsToLeaseEnd(of digest: Digest) -> UInt64 {
        guard limits.leaseSeconds > 0, let lastUse = accessTimes.seconds[digest] else { return 0 }
        let (age, overflow) = EventLoop.unixSeconds.subtractingReportingOverflow(lastUse)
        return EvictionBackOff.milliseconds(overflow ? 0 : leaseReachSeconds - min(max(age, 0), leaseReachSeconds))
    }

    /// A new blob may leave if no manifest uses it by the end of what a lease lasts.
    func blobMayBecomeOrphan() {
        evictionBackOff.mayLeave(
            inMilliseconds: EvictionBackOff.milliseconds(leaseReachSeconds), now: loop.nowMilliseconds)
    }

    /// How long a use keeps an image from leaving: uses are known to the granularity only.
    private var leaseReachSeconds: Int64 {
        guard limits.leaseSeconds > 0 else { return 0 }
        return min(limits.leaseSeconds, Int64(Int32.max)) + AccessTimes.granularitySeconds
    }

    /// An eviction has found too little, and nothing more may leave for now.
    func backOffEvictions(after running: Pruning) {
        var leaseEnd = running.plan.leaseEndSeconds
        // What was used while it ran is in use for as long as anything else that has just been.
        if running.hasSkippedInUse { leaseEnd = min(leaseEnd ?? .max, leaseReachSeconds) }
        evictionBackOff.begin(
            now: loop.nowMilliseconds, startedAt: running.startedMilliseconds,
            leaseEndsAt: leaseEnd.map { running.startedMilliseconds &+ EvictionBackOff.milliseconds($0) },
            awaitsPulls: running.hasSkippedPulled)
    }

    /// The store could not be read: what may leave is not known.
    func backOffEvictionsAfterFailure(_ running: Pruning) {
        let now = loop.nowMilliseconds
        evictionBackOff.begin(
            now: now, startedAt: running.startedMilliseconds,
            leaseEndsAt: now &+ EvictionBackOff.afterFailureMilliseconds, awaitsPulls: false)
    }
}

// Making room. A pull says how much it will need before it writes; where that does not fit, the images that have gone
// unused for longest leave first. What is in use stays, pinned images stay, and if that leaves too little, the pull is
// told that there is no room.

internal import Glibc
internal import Logging

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
        [blobs.totalBytes, manifests.totalBytes, partials.totalBytes, reservedBytes].saturatedSum { $0 }
    }

    /// Without a budget nothing ever leaves by itself.
    var mayEvict: Bool { !limits.budget.isUnlimited }

    /// Hears how much more may be stored, after partial files and images have left for it if need be: what is wanted,
    /// or what room there is when that is enough for now.
    func admit(_ bytes: Int64, atLeast least: Int64, then: @escaping (Result<Int64, StoreError>) -> Void) {
        admit(bytes, least, looks: 2, then)
    }

    /// - Parameter looks: how often it may still be looked in vain for what can leave. Who has found enough, and does
    ///   not fit all the same, has lost it to somebody else who waited: that may go on as long as images leave. Who has
    ///   looked in vain knows. Who has waited for another's look in vain may look once more, since that one may have
    ///   begun before what could leave now was let go; no more than that, or a crowd would look one after the other.
    private func admit(
        _ bytes: Int64, _ least: Int64, looks: Int, _ then: @escaping (Result<Int64, StoreError>) -> Void
    ) {
        // Without a budget nobody counts.
        guard !limits.budget.isUnlimited else { return then(.success(bytes)) }
        levels { [self] result in
            switch result {
            case .failure(let error): then(.failure(error))
            case .success(let levels) where limits.budget.fits(bytes, levels): then(.success(bytes))
            case .success(let levels):
                let excess = limits.budget.excess(bytes, levels)
                guard looks > 0, excess > 0 else {
                    // What can never fit is refused at once.
                    let room = limits.budget.room(levels)
                    return then(room >= least ? .success(room) : .failure(.noSpace(call: "budget", path: layout.root)))
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
    /// waits for the one under way, and looks again then. `then` hears whether there was as much as that one wanted.
    func evict(_ bytes: Int64, then: @escaping (_ foundEnough: Bool) -> Void) {
        guard bytes > 0, !isClosing else { return then(false) }
        waitingForRoom.append(then)
        guard !isEvicting else { return }
        isEvicting = true
        removePartials(bytes) { [self] freed in
            guard freed < bytes else { return roomMade(true) }
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
}

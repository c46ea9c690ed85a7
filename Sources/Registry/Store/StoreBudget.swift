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

    mutating func add(_ report: PruneReport, isEviction: Bool) {
        if isEviction {
            evictedImages &+= UInt64(report.images.count)
            evictedBytes &+= UInt64(clamping: report.freedBytes)
        } else {
            prunedImages &+= UInt64(report.images.count)
            prunedBytes &+= UInt64(clamping: report.freedBytes)
        }
    }
}

extension Store {
    /// A part of a blob that nobody has gone on with for so long is not worth its room.
    static let stalePartialSeconds: Int64 = 24 * 3600

    /// What the budget counts.
    package var usedBytes: Int64 { blobs.totalBytes + manifests.totalBytes + reservedBytes }

    /// Without a budget nothing ever leaves by itself.
    var mayEvict: Bool { !limits.budget.isUnlimited }

    /// Hears nil when so much more may be stored, after images have left for it if need be.
    func admit(_ bytes: Int64, then: @escaping (StoreError?) -> Void) {
        admit(bytes, mayEvict: true, then)
    }

    private func admit(_ bytes: Int64, mayEvict: Bool, _ then: @escaping (StoreError?) -> Void) {
        guard !limits.budget.isUnlimited else { return then(nil) }
        levels { [self] result in
            switch result {
            case .failure(let error): then(error)
            case .success(let levels) where limits.budget.fits(bytes, levels): then(nil)
            case .success(let levels):
                let excess = limits.budget.excess(bytes, levels)
                // What can never fit is refused at once.
                guard mayEvict, excess > 0 else { return then(.noSpace(call: "budget", path: layout.root)) }
                // Who has only waited for what another wanted may try for itself.
                let mayTryAgain = isEvicting
                evict(excess) { [self] in admit(bytes, mayEvict: mayTryAgain, then) }
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
            evict(limits.budget.excess(0, levels)) {}
        }
    }

    /// Lets images leave until so much is free, or nothing more may leave. Who asks meanwhile waits for the one under
    /// way, and looks again then.
    func evict(_ bytes: Int64, then: @escaping () -> Void) {
        guard bytes > 0, !isClosing else { return then() }
        waitingForRoom.append(then)
        guard !isEvicting else { return }
        isEvicting = true
        removeStalePartials { [self] in
            let isPinned = limits.isPinned
            prune(
                selecting: { try !isPinned($0) }, orphansBefore: EventLoop.unixSeconds - limits.leaseSeconds,
                goalBytes: bytes
            ) { [self] result in evicted(result, bytes) }
        }
    }

    private func evicted(_ result: Result<PruneReport, any Error>, _ bytes: Int64) {
        isEvicting = false
        switch result {
        case .success(let report):
            logger.notice(
                "store: made room",
                metadata: [
                    "images": "\(report.images.count)", "bytes": "\(report.freedBytes)", "wanted": "\(bytes)",
                    "in_use": "\(report.skipped.count)",
                ])
        case .failure(let error): logger.error("store: cannot make room: \(error)")
        }
        let waiting = waitingForRoom
        waitingForRoom = []
        for then in waiting { then() }
    }

    private func removeStalePartials(then: @escaping () -> Void) {
        let layout = layout
        let inUse = Set(writing.keys.map { layout.partialFile($0) })
        let before = EventLoop.unixSeconds - Store.stalePartialSeconds
        perform({ () throws(StoreError) in
            for name in try Disk.names(in: layout.partial) {
                let path = "\(layout.partial)/\(name)"
                guard !inUse.contains(path), let status = try? Disk.status(at: path), status.modifiedSeconds < before
                else { continue }
                try Disk.unlink(path)
            }
        }) { [logger] result in
            if let error = result.failure { logger.error("store: partial files: \(error)") }
            then()
        }
    }
}

// Partial files of running and of interrupted pulls. They take room, so the budget counts them. Files that no pull uses
// are evicted first.

internal import Logging
internal import OCI

/// Sizes of partial files, by path.
struct PartialFiles {
    struct Entry: Sendable {
        var sizeBytes: Int64
        var modifiedSeconds: Int64
        /// Whether an ingest is writing it, which counts its new bytes itself.
        var isInUse: Bool
    }

    private(set) var entries: [String: Entry] = [:]
    private(set) var totalBytes: Int64 = 0
    /// Number of entries that no ingest writes.
    private(set) var abandonedCount = 0

    subscript(path: String) -> Entry? {
        get { entries[path] }
        set {
            let former = entries[path]
            let others = max(0, totalBytes.subtractingSaturated(former?.sizeBytes ?? 0))
            totalBytes = others.addingSaturated(newValue?.sizeBytes ?? 0)
            abandonedCount += (newValue?.isInUse == false ? 1 : 0) - (former?.isInUse == false ? 1 : 0)
            entries[path] = newValue
        }
    }

    /// The files to remove for this many bytes, the oldest first. Runs off the loop.
    static func leaving(_ entries: [String: Entry], goalBytes: Int64) -> [String] {
        let abandoned = entries.filter { !$0.value.isInUse }
            .sorted { $0.value.modifiedSeconds < $1.value.modifiedSeconds }
        var sum: Int64 = 0
        return abandoned.prefix { entry in
            defer { sum = sum.addingSaturated(entry.value.sizeBytes) }
            return sum < goalBytes
        }.map(\.key)
    }
}

extension Store {
    /// Marks the file as in use for an ingest; `then` runs once the file is not being removed.
    func takePartial(_ path: String, then: @escaping () -> Void) {
        if partialsLeaving[path] != nil {
            partialsLeaving[path]?.append { [self] in takePartial(path, then: then) }
            return
        }
        var entry = partials[path] ?? .init(sizeBytes: 0, modifiedSeconds: 0, isInUse: true)
        entry.isInUse = true
        partials[path] = entry
        then()
    }

    /// Records the size of an opened file, which memory may not have known.
    func partialOpened(_ path: String, sizeBytes: Int64) {
        partials[path] = .init(sizeBytes: sizeBytes, modifiedSeconds: EventLoop.unixSeconds, isInUse: true)
    }

    /// Records that no ingest writes the file any more.
    /// - Parameter keptBytes: its remaining size; nil: unchanged.
    func partialEnded(_ path: String, keptBytes: Int64?) {
        let kept = keptBytes ?? partials[path]?.sizeBytes ?? 0
        if kept > 0 {
            partials[path] = .init(sizeBytes: kept, modifiedSeconds: EventLoop.unixSeconds, isInUse: false)
        } else {
            partials[path] = nil
            if !isRecovered { partialsGoneInRecovery.insert(path) }
        }
    }

    /// Records a file found by recovery, unless the loop has newer information.
    func partialFound(_ path: String, _ status: FileStatus) {
        guard partials[path] == nil, !partialsGoneInRecovery.contains(path) else { return }
        partials[path] = .init(
            sizeBytes: status.sizeBytes, modifiedSeconds: status.modifiedSeconds, isInUse: false)
    }

    /// Removes unused partial files, the oldest first, until this many bytes are free. `then` gets the freed bytes.
    func removePartials(_ goalBytes: Int64, then: @escaping (Int64) -> Void) {
        guard partials.abandonedCount > 0 else { return loop.deferred.complete(then, 0) }
        let entries = partials.entries
        perform({ () throws(StoreError) in
            PartialFiles.leaving(entries, goalBytes: goalBytes)
        }) { [self] result in
            // A file that was taken by an ingest meanwhile stays.
            let leaving = ((try? result.get()) ?? []).filter { partials[$0]?.isInUse == false }
            unlinkPartials(leaving, then)
        }
    }

    private func unlinkPartials(_ paths: [String], _ then: @escaping (Int64) -> Void) {
        guard !paths.isEmpty else { return then(0) }
        let entries = paths.map { partials[$0] }
        for path in paths {
            partialEnded(path, keptBytes: 0)
            partialsLeaving[path] = []
        }
        perform({ () throws(StoreError) in Disk.unlinkAll(paths) }) { [self] result in
            let failures = UnlinkFailure.all(of: paths.count, result)
            if let first = failures.first {
                logger.error("store: \(failures.count) partial files cannot be removed, the first: \(first.error)")
            }
            for failure in failures {
                partials[paths[failure.index]] = entries[failure.index]
                partialsGoneInRecovery.remove(paths[failure.index])
            }
            let stays = Set(failures.map(\.index))
            let freed = entries.indices.saturatedSum { stays.contains($0) ? 0 : entries[$0]?.sizeBytes ?? 0 }
            logger.notice(
                "store: partial files removed for room",
                metadata: ["files": "\(paths.count - failures.count)", "bytes": "\(freed)"])
            then(freed)
            for path in paths {
                for waiter in partialsLeaving.removeValue(forKey: path) ?? [] { waiter() }
            }
        }
    }
}

// Partial files: what pulls under way have written, and what interrupted ones have left to go on from. They take room,
// so the budget counts them; and those that no pull resumes are the first to leave when room is wanted.

internal import Logging
internal import OCI

/// Sizes of partial files, by path.
struct PartialFiles {
    struct Entry: Sendable {
        var sizeBytes: Int64
        var modifiedSeconds: Int64
        /// An ingest is writing it, and counts what it adds itself.
        var isInUse: Bool
    }

    private(set) var entries: [String: Entry] = [:]
    private(set) var totalBytes: Int64 = 0
    /// Entries that no ingest writes.
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

    /// Those to remove for so many bytes: the longest left first. Off the loop.
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
    /// An ingest is about to open this file; `then` when nobody is removing it.
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

    /// The file taken is so large: memory may not have known it.
    func partialOpened(_ path: String, sizeBytes: Int64) {
        partials[path] = .init(sizeBytes: sizeBytes, modifiedSeconds: EventLoop.unixSeconds, isInUse: true)
    }

    /// Nobody writes it any more.
    /// - Parameter keptBytes: what is left of it; nil: whatever it had.
    func partialEnded(_ path: String, keptBytes: Int64?) {
        let kept = keptBytes ?? partials[path]?.sizeBytes ?? 0
        if kept > 0 {
            partials[path] = .init(sizeBytes: kept, modifiedSeconds: EventLoop.unixSeconds, isInUse: false)
        } else {
            partials[path] = nil
            if !isRecovered { partialsGoneInRecovery.insert(path) }
        }
    }

    /// What the walk over the store has seen. What the loop knows is newer.
    func partialFound(_ path: String, _ status: FileStatus) {
        guard partials[path] == nil, !partialsGoneInRecovery.contains(path) else { return }
        partials[path] = .init(
            sizeBytes: status.sizeBytes, modifiedSeconds: status.modifiedSeconds, isInUse: false)
    }

    /// Removes partial files that nobody writes, the oldest first, until so much is free. `then` gets how much it was.
    func removePartials(_ goalBytes: Int64, then: @escaping (Int64) -> Void) {
        guard partials.abandonedCount > 0 else { return loop.deferred.complete(then, 0) }
        let entries = partials.entries
        perform({ () throws(StoreError) in
            PartialFiles.leaving(entries, goalBytes: goalBytes)
        }) { [self] result in
            // One that has been taken up since stays.
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

// Listing and removing images: see ImageScan for the looking and Pruning for the rules.

import Glibc
internal import Logging

extension Store {
    /// All images, sorted by name; or why the disk does not tell.
    package func images(then: @escaping (Result<[CachedImage], any Error>) -> Void) {
        scan { scan, accessed in scan.images(accessed) } whenFailed: { then(.failure($0)) } then: { then(.success($0)) }
    }

    /// How many cached manifests use each cached blob, sorted by digest.
    package func blobReferences(then: @escaping (Result<[(digest: Digest, count: Int)], any Error>) -> Void) {
        scan { scan, _ in
            var counts = scan.blobs.mapValues { _ in 0 }
            for manifest in scan.manifests.values {
                for blob in Set(manifest.blobs.map(\.digest)) where counts[blob] != nil { counts[blob]? += 1 }
            }
            return counts.map { (digest: $0.key, count: $0.value) }.sorted { "\($0.digest)" < "\($1.digest)" }
        } whenFailed: {
            then(.failure($0))
        } then: {
            then(.success($0))
        }
    }

    /// Removes the images that are picked, the oldest uses first.
    /// - Parameters:
    ///   - selecting: runs off the loop; what it throws ends the prune before anything is removed.
    ///   - limit: names removed at most.
    ///   - ignoringLease: also what has been served a moment ago.
    ///   - orphansBefore: blobs of no manifest that came before this go as well.
    ///   - goalBytes: enough; what was picked beyond it stays.
    package func prune(
        selecting: @escaping @Sendable (CachedImage) throws -> Bool, limit: Int? = nil, dryRun: Bool = false,
        ignoringLease: Bool = false, orphansBefore: Int64? = nil, goalBytes: Int64? = nil,
        then: @escaping (Result<PruneReport, any Error>) -> Void
    ) {
        guard !isClosing else { return then(.failure(StoreError.closed)) }
        guard pruning == nil, isRecovered else {
            // One at a time: each counts on what its look has found.
            return waitingPrunes.append { [self] in
                prune(
                    selecting: selecting, limit: limit, dryRun: dryRun, ignoringLease: ignoringLease,
                    orphansBefore: orphansBefore, goalBytes: goalBytes, then: then)
            }
        }
        let since = ignoringLease || limits.leaseSeconds == 0 ? nil : leaseBegin
        let running = Pruning(leasedSince: since)
        running.goalBytes = goalBytes
        pruning = running
        scan { scan, accessed in
            try Pruning.Plan(
                scan, accessed: accessed, leasedSince: since, limit: limit, orphansBefore: orphansBefore,
                indexesFirst: goalBytes == nil, selecting: selecting)
        } whenFailed: { [self] error in
            endPruning()
            then(.failure(error))
        } then: { [self] plan in
            running.plan = plan
            running.report.skipped = plan.skipped
            running.report.isDryRun = dryRun
            removeOrphans(running) { [self] in
                removeNext(running) { [self] in finish(running, then) }
            }
        }
    }

    /// Once the files are gone as well.
    private func finish(_ running: Pruning, _ then: @escaping (Result<PruneReport, any Error>) -> Void) {
        whenNoneIsCondemned { [self] in
            endPruning()
            if !running.report.isDryRun { removals.add(running.report, isEviction: running.goalBytes != nil) }
            then(.success(running.report))
        }
    }

    private func whenNoneIsCondemned(_ then: @escaping () -> Void) {
        guard let digest = condemned.keys.first else { return then() }
        condemned[digest]?.append { [self] in whenNoneIsCondemned(then) }
    }

    /// What has been used since then is in use. Uses are known to `granularityMilliseconds`.
    private var leaseBegin: Int64 {
        EventLoop.unixSeconds - limits.leaseSeconds - Int64(AccessTimes.granularityMilliseconds / 1000)
    }

    private func endPruning() {
        pruning = nil
        startWaitingPrune()
    }

    func startWaitingPrune() {
        if !waitingPrunes.isEmpty { waitingPrunes.removeFirst()() }
    }

    private func scan<R: Sendable>(
        _ work: @escaping @Sendable (ImageScan, [Digest: Int64]) throws -> R,
        whenFailed: @escaping (any Error) -> Void, then: @escaping (R) -> Void
    ) {
        let (layout, accessed) = (layout, accessTimes.seconds)
        workBegins()
        offload.run {
            let scan = try ImageScan(layout)
            return (try work(scan, accessed), scan.unreadable)
        } then: { [self] (result: Result<(R, [StoreError]), any Error>) in
            switch result {
            case .success((let value, let unreadable)):
                for error in unreadable { logger.error("store: left out of the images: \(error)") }
                then(value)
            case .failure(let error): whenFailed(error)
            }
            workEnds()
        }
    }

    // MARK: Removing

    /// Blobs of no manifest, some a turn: a cache may have any number.
    private func removeOrphans(_ running: Pruning, then: @escaping () -> Void) {
        guard !running.plan.orphans.isEmpty, !running.hasEnough, !isClosing else { return then() }
        for orphan in running.plan.orphans.suffix(Pruning.imagesPerStep) { removeBlob(orphan, running) }
        running.plan.orphans.removeLast(min(Pruning.imagesPerStep, running.plan.orphans.count))
        whenNoneIsCondemned { [self] in
            loop.deferred.enqueue { [self] in removeOrphans(running, then: then) }
        }
    }

    private func removeNext(_ running: Pruning, then: @escaping () -> Void) {
        guard running.next < running.plan.images.count, !running.hasEnough, !isClosing else { return then() }
        let end = min(running.next + Pruning.imagesPerStep, running.plan.images.count)
        var paths: [String] = []
        while running.next < end, !running.hasEnough {
            remove(running.plan.images[running.next], running, &paths)
            running.next += 1
        }
        guard !running.report.isDryRun, !paths.isEmpty else {
            return loop.deferred.enqueue { [self] in removeNext(running, then: then) }
        }
        unlink(paths) { [self] in removeNext(running, then: then) }
    }

    /// Takes one name out of memory, and with it what nothing else needs; its files' paths are added to `paths`.
    private func remove(_ image: CachedImage, _ running: Pruning, _ paths: inout [String]) {
        // One without a name of its own goes by that of the index that lists it, and with that index.
        let isNamed = running.plan.names[image.digest, default: 0] > 0
        let isListed = running.plan.listings[image.digest, default: 0] > 0
        guard isNamed || !isListed, !isUsedAgain(image.digest, running),
            removeName(image, dryRun: running.report.isDryRun)
        else { return running.report.skipped.append(image) }
        running.report.images.append(image)
        paths.append(layout.nameFile(image.host, image.repository, image.reference))
        if isNamed { running.plan.names[image.digest, default: 1] -= 1 }
        if running.isUnneeded(image.digest) { removeManifest(image.digest, running, &paths) }
    }

    private func isUsedAgain(_ digest: Digest, _ running: Pruning) -> Bool { running.touched.contains(digest) }

    /// False when the name means something else by now.
    private func removeName(_ image: CachedImage, dryRun: Bool) -> Bool {
        guard case .tag(let tag) = image.reference else { return true }
        let name = TagName(host: image.host, repository: image.repository, tag: tag)
        if let record = name.withBytes({ tags.record($0) }), record.digest != image.digest { return false }
        if !dryRun { name.withBytes { tags.remove($0) } }
        return true
    }

    private func removeManifest(_ digest: Digest, _ running: Pruning, _ paths: inout [String]) {
        guard let entry = running.plan.manifests.removeValue(forKey: digest) else { return }
        running.report.freedBytes += entry.sizeBytes
        if !running.report.isDryRun {
            manifests[digest] = nil
            manifestCache.remove(digest)
            accessTimes.forget(digest)
        }
        paths.append(layout.manifest(digest, entry.mediaType))
        for child in Set(entry.children) {
            running.plan.listings[child, default: 1] -= 1
            if running.isUnneeded(child), !isUsedAgain(child, running), !isLeased(child, running) {
                removeManifest(child, running, &paths)
            }
        }
        for blob in Set(entry.blobs.map(\.digest)) {
            running.plan.blobUses[blob, default: 1] -= 1
            if running.plan.blobUses[blob] == 0 { removeBlob(blob, running) }
        }
    }

    /// One that had no name of its own, and whose client may be about to ask for its layers.
    private func isLeased(_ digest: Digest, _ running: Pruning) -> Bool {
        running.leasedSince.map { (accessTimes.seconds[digest] ?? 0) > $0 } ?? false
    }

    private func removeBlob(_ digest: Digest, _ running: Pruning) {
        guard let sizeBytes = running.plan.blobs[digest], !running.protected.contains(digest) else { return }
        running.report.blobCount += 1
        running.report.freedBytes += sizeBytes
        if !running.report.isDryRun { removeBlob(digest) }
    }

    /// Names and manifests, in turn with their writes: a tag that is set anew meanwhile is written after this.
    private func unlink(_ paths: [String], then: @escaping () -> Void) {
        workBegins()
        publisher.exclusively({ () throws(StoreError) in
            for path in paths { try Disk.unlink(path) }
        }) { [self] result in
            if let error = result.failure { logger.error("store: prune: \(error)") }
            then()
            workEnds()
        }
    }
}

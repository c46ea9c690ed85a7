// Removing images, and blobs without an image: ImageScan scans the store, Pruning has the rules.

import Glibc
internal import Logging
internal import OCI

extension Store {
    /// Removes the selected images and blobs without a manifest, least recently used first.
    /// - Parameters:
    ///   - selecting: runs off the loop; an error that it throws ends the prune before anything is removed.
    ///   - limit: the maximum number of names and blobs without a manifest, together, to remove.
    ///   - ignoringLease: also removes images that were served recently.
    ///   - isForced: also removes images that are served during the prune; only images stored meanwhile stay. Implies
    ///     `ignoringLease`.
    ///   - orphanAge: the blobs without a manifest that are removed too; nil: none. Those served since the scan stay.
    ///     For a lease, callers pass `usedBefore: leaseBegin`.
    ///   - goalBytes: the bytes to free; further selected content stays.
    ///   - reporting: converts the report for `then`. Runs off the loop, since the report may be long.
    package func prune<R: Sendable>(
        selecting: @escaping @Sendable (CachedImage) throws -> Bool, limit: Int? = nil, dryRun: Bool = false,
        ignoringLease: Bool = false, isForced: Bool = false, orphanAge: OrphanAge? = nil, goalBytes: Int64? = nil,
        reporting: @escaping @Sendable (PruneReport) throws -> R, then: @escaping (Result<R, any Error>) -> Void
    ) {
        guard !isClosing else { return loop.deferred.complete(then, .failure(StoreError.closed)) }
        guard pruning == nil, isRecovered else {
            // One at a time: each relies on the results of its scan.
            return waitingPrunes.append { [self] in
                prune(
                    selecting: selecting, limit: limit, dryRun: dryRun, ignoringLease: ignoringLease,
                    isForced: isForced, orphanAge: orphanAge, goalBytes: goalBytes, reporting: reporting,
                    then: then)
            }
        }
        let since = ignoringLease || isForced || limits.leaseSeconds == 0 ? nil : leaseBegin
        let running = Pruning(
            leasedSince: since, goalBytes: goalBytes, isDryRun: dryRun, startedMilliseconds: loop.nowMilliseconds,
            isForced: isForced)
        // A scan may miss files that are being written.
        running.stored.formUnion(manifestsInWriting.keys)
        running.protected.formUnion(manifestsInWriting.values.joined())
        pruning = running
        let isPinned = limits.isPinned
        scan { scan, accessed in
            try Pruning.Plan(
                scan, accessed: accessed, leasedSince: since, limit: limit, orphanAge: orphanAge,
                indexesFirst: goalBytes == nil, isPinned: isPinned, selecting: selecting)
        } then: { [self] (result: Result<Pruning.Plan, any Error>) in
            switch result {
            case .failure(let error):
                if goalBytes != nil { backOffEvictionsAfterFailure(running) }
                endPruning()
                then(.failure(error))
            case .success(let plan):
                running.plan = plan
                removeNext(running) { [self] in finish(running, reporting, then) }
            }
        }
    }

    /// Ends a prune when its files have been removed.
    private func finish<R: Sendable>(
        _ running: Pruning, _ reporting: @escaping @Sendable (PruneReport) throws -> R,
        _ then: @escaping (Result<R, any Error>) -> Void
    ) {
        let (plan, outcome) = (running.plan, running.outcome)
        if !outcome.isDryRun { removals.add(outcome, isEviction: running.goalBytes != nil) }
        if running.goalBytes == nil {
            // Content used by the removed images may be evictable now.
            if !outcome.removed.isEmpty || outcome.blobCount > 0, !outcome.isDryRun { evictionBackOff.end() }
        } else if !running.hasEnough {
            backOffEvictions(after: running)
        }
        endPruning()
        workBegins()
        offload.run {
            let count = plan.manifests.count + plan.blobs.count
            let value = try reporting(plan.finish(outcome))
            ImageScan.giveMemoryBack(afterEntries: count)
            return value
        } then: { [self] (result: Result<R, any Error>) in
            then(result)
            workEnds()
        }
    }

    /// Content used since this time is in use. Uses are known only to `granularitySeconds`.
    package var leaseBegin: Int64 {
        guard limits.leaseSeconds > 0 else { return EventLoop.unixSeconds }
        return EventLoop.unixSeconds - limits.leaseSeconds - AccessTimes.granularitySeconds
    }

    private func endPruning() {
        contentCount &+= 1
        pruning = nil
        startWaitingPrune()
    }

    func startWaitingPrune() {
        if !waitingPrunes.isEmpty { waitingPrunes.removeFirst()() }
    }

    // MARK: Removing

    /// Removes some items per iteration: a cache may have any number of them.
    private func removeNext(_ running: Pruning, then: @escaping () -> Void) {
        guard !running.isAtEnd, !running.hasEnough, !isClosing else { return then() }
        var steps = 0
        while steps < Pruning.orphansPerStep, !running.hasEnough, let item = running.takeNext() {
            switch item {
            case .image(let position):
                steps += Pruning.orphansPerStep / Pruning.imagesPerStep
                remove(position, running)
            case .orphan(let position):
                steps += 1
                removeOrphan(position, running)
            }
        }
        endStep(running) { [self] in removeNext(running, then: then) }
    }

    /// Removes the files of this step, manifests before blobs, since a crash may come in between. `then` runs in a
    /// later iteration, even when there are no files.
    private func endStep(_ running: Pruning, then: @escaping () -> Void) {
        let leaving = running.outcome.isDryRun ? [] : running.leaving
        running.leaving = []
        workBegins()
        // A proof must not outlive its content.
        whenProofsWritten { [self] in
            // What was stored again meanwhile has been given to the publisher before this, so its file is a new one.
            unlink(leaving.filter { !running.published.contains($0.path) }, running) { [self] in
                let blobs = running.leavingBlobs
                running.leavingBlobs = []
                removeBlobs(blobs) { failed in
                    running.outcome.blobCount -= failed.count
                    running.keepOrphans(Set(failed.map(\.digest)))
                    running.outcome.freedBytes = running.outcome.freedBytes.subtractingSaturated(
                        failed.saturatedSum(\.sizeBytes))
                    then()
                }
            }
            workEnds()
        }
    }

    /// Removes a blob without a manifest from memory, unless it was served since the scan.
    private func removeOrphan(_ position: Int, _ running: Pruning) {
        let digest = running.plan.orphans[position].digest
        guard !running.touched.contains(digest) else {
            running.hasSkippedInUse = true
            return
        }
        if removeBlob(digest, running) { running.outcome.removedOrphans.append(position) }
    }

    /// Removes one name from memory, with everything that nothing else needs; its files are removed at the end of the
    /// step.
    private func remove(_ position: Int, _ running: Pruning) {
        let image = running.plan.images[position]
        // An image without a name of its own is named by the index that lists it, and is removed with that index.
        let isNamed = running.plan.names[image.digest, default: 0] > 0
        let isListed = running.plan.listings[image.digest, default: 0] > 0
        var tag: (TagName, TagRecord)?
        guard isNamed || !isListed, !isUsedAgain(image.digest, running),
            removeName(image, dryRun: running.outcome.isDryRun, &tag)
        else { return running.outcome.skipped.append(position) }
        running.outcome.removed.append(position)
        let path = layout.nameFile(image.host, image.repository, image.reference)
        running.published.remove(path)
        running.leaving.append(Leaving(path: path, content: .name(position: position, tag: tag)))
        if isNamed {
            running.plan.names[image.digest, default: 1] -= 1
            nameRemoved(from: "\(image.host)/\(image.repository)", running)
        }
        if running.isUnneeded(image.digest) { removeManifest(image.digest, running) }
    }

    /// Whether the manifest was stored since the scan; or, unless the prune is forced, was served since then or is
    /// being read from the disk to be served.
    private func isUsedAgain(_ digest: Digest, _ running: Pruning) -> Bool {
        if running.stored.contains(digest) {
            running.hasSkippedInUse = true
            return true
        }
        guard !running.isForced else { return false }
        if running.touched.contains(digest) || loading[digest] != nil {
            running.hasSkippedInUse = true
            return true
        }
        guard isBeingPulled(digest, running) else { return false }
        running.hasSkippedPulled = true
        return true
    }

    /// Whether this is an eviction and a blob of the manifest, or of one that it lists, is being pulled: the bytes so
    /// far would be left without a manifest. (When an operator names an image, it is removed anyway.)
    private func isBeingPulled(_ digest: Digest, _ running: Pruning) -> Bool {
        guard running.goalBytes != nil, !writing.isEmpty else { return false }
        let coming = Set(writing.keys.map(\.digest))
        let listed = running.plan.manifests[digest]?.children ?? []
        return ([digest] + listed).contains { digest in
            running.plan.manifests[digest]?.blobs.contains { coming.contains($0.digest) } ?? false
        }
    }

    /// Removes a name from memory; false when it refers to another manifest by now.
    /// - Parameter former: gets the tag's entry in memory.
    private func removeName(_ image: CachedImage, dryRun: Bool, _ former: inout (TagName, TagRecord)?) -> Bool {
        guard case .tag(let tag) = image.reference else { return true }
        let name = TagName(host: image.host, repository: image.repository, tag: tag)
        let record = name.withBytes { tags.record($0) }
        if let record, record.digest != image.digest { return false }
        former = record.map { (name, $0) }
        if !dryRun { name.withBytes { tags.remove($0) } }
        return true
    }

    private func removeManifest(_ digest: Digest, _ running: Pruning) {
        guard let entry = running.plan.manifests.removeValue(forKey: digest) else { return }
        running.outcome.freedBytes = running.outcome.freedBytes.addingSaturated(entry.sizeBytes)
        if !running.outcome.isDryRun {
            manifests[digest] = nil
            manifestCache.remove(digest)
            forgetUse(of: digest)
            removeProofs(of: digest)
            // Only requests that already wait for it may still get it.
            if loading[digest] != nil { removedWhileLoading.insert(digest) }
        }
        let path = layout.manifest(digest, entry.mediaType)
        running.published.remove(path)
        running.leaving.append(Leaving(path: path, content: .manifest(digest, entry)))
        for child in Set(entry.children) {
            running.plan.listings[child, default: 1] -= 1
            if running.isUnneeded(child), !isUsedAgain(child, running), !isLeased(child, running) {
                removeManifest(child, running)
            }
        }
        for blob in Set(entry.blobs.map(\.digest)) {
            running.plan.blobUses[blob, default: 1] -= 1
            if running.plan.blobUses[blob] == 0 { removeBlob(blob, running) }
        }
    }

    /// Whether the manifest has no name and was served so recently that its client may still request its layers.
    private func isLeased(_ digest: Digest, _ running: Pruning) -> Bool {
        running.leasedSince.map { (accessTimes.seconds[digest] ?? 0) > $0 } ?? false
    }

    /// - Returns: whether the blob leaves.
    @discardableResult
    private func removeBlob(_ digest: Digest, _ running: Pruning) -> Bool {
        guard let sizeBytes = running.plan.blobs[digest]?.sizeBytes, !running.protected.contains(digest) else {
            // Where it came after the scan, it may have lost its last manifest.
            if !running.outcome.isDryRun { blobs.setNamed(false, digest) }
            return false
        }
        running.outcome.blobCount += 1
        running.outcome.freedBytes = running.outcome.freedBytes.addingSaturated(sizeBytes)
        guard !running.outcome.isDryRun else { return true }
        guard removeFromIndex(digest) else { return true }
        forgetUse(of: digest)
        running.leavingBlobs.append((digest, sizeBytes))
        removeProofs(of: digest)
        return true
    }
}

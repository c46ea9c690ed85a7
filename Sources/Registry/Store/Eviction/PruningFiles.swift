// Removal of the files whose entries a prune has removed from memory. A file that cannot be removed does not stop the
// others: it is logged, its entry is restored, and a later prune tries again.

internal import Logging
internal import OCI

extension Pruning {
    /// A name or a manifest whose file must be removed.
    struct Leaving {
        enum Content {
            /// A name, by its image's position in the plan, and for a tag its entry in memory.
            case name(position: Int, tag: (name: TagName, record: TagRecord)?)
            case manifest(Digest, ImageScan.ManifestEntry)
        }

        let path: String
        let content: Content
    }
}

extension Store {
    typealias Leaving = Pruning.Leaving

    /// Ends a repository's proofs with its last name, so that content that others use is asked for again.
    func nameRemoved(from repository: String, _ running: Pruning) {
        running.plan.repositoryNames[repository, default: 1] -= 1
        guard running.plan.repositoryNames[repository] == 0, !running.outcome.isDryRun,
            !running.namedRepositories.contains(repository)
        else { return }
        removeProofs(ofRepository: repository)
    }

    /// Removes names and manifests in order with their writes: a tag that is set again meanwhile is written after that.
    func unlink(_ leaving: [Leaving], _ running: Pruning, then: @escaping () -> Void) {
        let paths = leaving.map(\.path)
        workBegins()
        publisher.exclusively({ () throws(StoreError) in Disk.unlinkAll(paths) }) { [self] result in
            putBack(UnlinkFailure.all(of: paths.count, result), leaving, running)
            then()
            workEnds()
        }
    }

    private func putBack(_ failures: [UnlinkFailure], _ leaving: [Leaving], _ running: Pruning) {
        guard let first = failures.first else { return }
        logger.error("store: prune: \(failures.count) files cannot be removed, the first: \(first.error)")
        var positions: Set<Int> = []
        for failure in failures {
            switch leaving[failure.index].content {
            case .name(let position, let tag):
                positions.insert(position)
                running.plan.names[running.plan.images[position].digest, default: 0] += 1
                if let tag { addTag(tag.name, tag.record) }
            case .manifest(let digest, let entry): putBack(digest, entry, running)
            }
        }
        guard !positions.isEmpty else { return }
        // The images of this step are the last ones.
        let step = running.outcome.removed.suffix(Pruning.imagesPerStep)
        running.outcome.removed.removeLast(step.count)
        running.outcome.removed += step.filter { !positions.contains($0) }
        running.outcome.skipped += positions.sorted()
    }

    /// Restores a manifest that stays, and the blobs that it needs.
    private func putBack(_ digest: Digest, _ entry: ImageScan.ManifestEntry, _ running: Pruning) {
        running.plan.manifests[digest] = entry
        running.outcome.freedBytes = running.outcome.freedBytes.subtractingSaturated(entry.sizeBytes)
        if manifests[digest] == nil {
            manifests[digest] = .init(sizeBytes: entry.sizeBytes, detail: entry.mediaType)
        }
        for child in Set(entry.children) { running.plan.listings[child, default: 0] += 1 }
        let blobs = Set(entry.blobs.map(\.digest))
        for blob in blobs { running.plan.blobUses[blob, default: 0] += 1 }
        let kept = running.leavingBlobs.filter { blobs.contains($0.digest) }
        running.leavingBlobs.removeAll { blobs.contains($0.digest) }
        running.outcome.blobCount -= kept.count
        for blob in kept {
            running.outcome.freedBytes = running.outcome.freedBytes.subtractingSaturated(blob.sizeBytes)
            putBack(blob.digest, sizeBytes: blob.sizeBytes)
        }
    }

    /// Removes the files of blobs that are no longer in use. `then` gets the blobs whose files are still there.
    func removeBlobs(
        _ blobs: [(digest: Digest, sizeBytes: Int64)],
        then: @escaping (_ failed: [(digest: Digest, sizeBytes: Int64)]) -> Void
    ) {
        guard !blobs.isEmpty else { return then([]) }
        let paths = blobs.map { layout.blob($0.digest) }
        perform({ () throws(StoreError) in Disk.unlinkAll(paths) }) { [self] result in
            let failures = UnlinkFailure.all(of: paths.count, result)
            if let first = failures.first {
                logger.error("store: \(failures.count) blobs cannot be removed, the first: \(first.error)")
            }
            let failed = failures.map { blobs[$0.index] }
            let stays = Set(failed.map(\.digest))
            for blob in blobs {
                if stays.contains(blob.digest) {
                    putBack(blob.digest, sizeBytes: blob.sizeBytes)
                } else {
                    endPendingRemoval(blob.digest)
                }
            }
            then(failed)
        }
    }

    /// Restores a blob whose file could not be removed.
    private func putBack(_ digest: Digest, sizeBytes: Int64) {
        blobs.set(digest, sizeBytes: sizeBytes)
        endPendingRemoval(digest)
    }
}

/// A file that could not be removed, by its index in a list.
struct UnlinkFailure: Sendable {
    let index: Int
    let error: StoreError

    /// The failures of a job; all files when the pool has refused the job.
    static func all(of count: Int, _ result: Result<[UnlinkFailure], StoreError>) -> [UnlinkFailure] {
        switch result {
        case .success(let failures): failures
        case .failure(let error): (0..<count).map { UnlinkFailure(index: $0, error: error) }
        }
    }
}

extension Disk {
    /// Removes all files that can be removed.
    /// - Returns: the failures.
    static func unlinkAll(_ paths: [String]) -> [UnlinkFailure] {
        paths.indices.compactMap { index in
            Result { () throws(StoreError) in try unlink(paths[index]) }.failure
                .map { UnlinkFailure(index: index, error: $0) }
        }
    }
}

// Recovery at start: the indexes are filled in the background while lookups are answered. A lookup of something that
// the walk has not reached reads the disk, so it does not wait, however large the store is.

internal import Logging
internal import OCI

/// The result of the walk over the store.
package struct RecoveryReport: Sendable, Equatable {
    package var blobCount = 0
    package var blobBytes: Int64 = 0
    package var manifestCount = 0
    package var tagCount = 0
    /// Files that pulls can resume from.
    package var partialCount = 0
    /// Files moved to the quarantine; the log names them.
    package var setAsideCount = 0
    /// Entries that could not be read; the log names them.
    package var unreadableCount = 0
    /// False when the store was closed before the walk had ended.
    package var isComplete = false
}

extension Store {
    /// Walks the store in the background and fills the indexes. `then` runs at the end.
    package func startRecovery(then: @escaping (RecoveryReport) -> Void = { _ in }) {
        startAccessTimes()
        // Tags are added with the times of their last checks.
        whenChecksKnown { [self] in recoverNext(RecoveryScan(layout), RecoveryReport(), then) }
    }

    private func recoverNext(
        _ scan: RecoveryScan, _ report: RecoveryReport, _ then: @escaping (RecoveryReport) -> Void
    ) {
        guard !isClosing else { return then(report) }
        perform({ () throws(StoreError) in scan.next() }) { [self] result in
            var report = report
            // The job itself does not throw. If the pool refuses it, the walk ends, and lookups continue to read the
            // disk.
            guard case .success(let batch) = result else { return then(report) }
            apply(batch, &report)
            guard batch.isLast else { return recoverNext(scan, report, then) }
            isRecovered = true
            endUsingCheckTable()
            startWaitingPrune()
            setAsideInRecovery = []
            partialsGoneInRecovery = []
            report.isComplete = true
            log(report)
            then(report)
        }
    }

    private func apply(_ batch: RecoveryScan.Batch, _ report: inout RecoveryReport) {
        for (digest, sizeBytes) in batch.blobs {
            report.blobCount += 1
            report.blobBytes = report.blobBytes.addingSaturated(sizeBytes)
            // The loop's information is newer than the walk's.
            if blobs[digest] == nil, !setAsideInRecovery.contains(digest) {
                blobs.set(digest, sizeBytes: sizeBytes)
            }
        }
        for (digest, type, sizeBytes) in batch.manifests
        where manifests[digest] == nil && !setAsideInRecovery.contains(digest) {
            manifests[digest] = .init(sizeBytes: sizeBytes, detail: type)
        }
        for (name, record) in batch.tags { addTag(name, record) }
        report.manifestCount += batch.manifests.count
        report.tagCount += batch.tags.count
        for (path, status) in batch.partials { partialFound(path, status) }
        report.partialCount += batch.partials.count
        report.setAsideCount += batch.setAside.count
        report.unreadableCount += batch.unreadable.count
        for _ in 0..<batch.damagedCount { countDamage(.start) }
        for (path, reason, target) in batch.setAside { reportQuarantine(path, reason, .success(target)) }
        for error in batch.unreadable { logger.error("store: recovery: \(error)") }
    }

    private func log(_ report: RecoveryReport) {
        logger.info(
            """
            store: \(report.blobCount) blobs (\(report.blobBytes) bytes), \(report.manifestCount) manifests, \
            \(report.tagCount) tags, \(report.partialCount) partial files, \(report.setAsideCount) set aside, \
            \(report.unreadableCount) unreadable
            """)
    }
}

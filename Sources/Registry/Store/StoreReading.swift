// Readings of a store for the metrics: sizes and counts, and the state of the file system.

internal import Configuration
internal import Glibc
internal import OCI

extension Store {
    /// The readings from memory; `disk` is left empty.
    package var readings: StoreReadings {
        var readings = StoreReadings()
        readings.blobBytes = blobs.totalBytes
        readings.manifestBytes = manifests.totalBytes
        readings.blobCount = blobs.count
        readings.manifestCount = manifests.count
        readings.tagCount = tags.count
        readings.isRecovered = isRecovered
        readings.setAside = setAsideCount
        readings.damaged = damageCounts
        readings.scrub = scrub
        readings.cooldown = cooldownReadings
        readings.writeFailuresNoSpace = writeFailures.noSpace
        readings.writeFailuresOther = writeFailures.other
        readings.prunedImages = removals.prunedImages
        readings.prunedBytes = removals.prunedBytes
        readings.evictedImages = removals.evictedImages
        readings.evictedBytes = removals.evictedBytes
        readings.usedBytes = usedBytes
        readings.maxBytes = limits.budget.maxBytes
        readings.minFreeBytes = limits.budget.minFreeBytes
        readings.manifestMemoryBytes = manifestCache.weight
        readings.cachedManifests = manifestCache.count
        readings.openFiles = openFiles.count
        readings.backlogBytes = backlog.heldBytes
        readings.evictionsInVain = evictionBackOff.inVain
        readings.refusedAdmissions = refusedAdmissions
        return readings
    }

    /// Failed writes since the start.
    package var refusedWrites: UInt64 { writeFailures.noSpace &+ writeFailures.other }

    /// Reads the disk's part of the readings; must run in the pool.
    package var diskReading: @Sendable () -> DiskReadings {
        let layout = layout
        return { DiskReadings(layout) }
    }

    /// Records a failed write, or a failed reservation for one.
    /// - Parameter bytes: its size.
    func noteFailure(_ error: StoreError, bytes: Int64 = 0) {
        switch error {
        case .noSpace:
            writeFailures.noSpace &+= 1
            roomWantedBytes = max(roomWantedBytes, bytes, Int64(Store.probeBytes))
        case .system, .unusable: writeFailures.other &+= 1
        case .locked, .notVerified, .closed: break
        }
    }
}

extension DiskReadings {
    /// Directory entries that are counted; more are not worth the pool's time.
    private static let maximumEntries = 100_000

    /// Reads the values. Blocks. Values that cannot be read are 0.
    fileprivate init(_ layout: Layout) {
        self.init()
        (partialFiles, partialBytes) = DiskReadings.files(in: layout.partial)
        quarantinedFiles = DiskReadings.files(in: layout.quarantine).count
        var system = statvfs()
        guard statvfs(layout.root, &system) == 0 else { return }
        let space = DiskSpace(system)
        (sizeBytes, freeBytes) = (space.sizeBytes, space.freeBytes)
    }

    private static func files(in directory: String) -> (count: Int, bytes: Int64) {
        guard let stream = opendir(directory) else { return (0, 0) }
        defer { closedir(stream) }
        var (count, bytes) = (0, Int64(0))
        while count < maximumEntries, let name = Disk.nextName(stream) {
            // The file was removed after it was listed.
            guard let status = try? Disk.status(at: "\(directory)/\(name)") else { continue }
            count += 1
            bytes = bytes.addingSaturated(status.sizeBytes)
        }
        return (count, bytes)
    }
}

// Removing images while they may be asked for. What to remove is worked out off the loop, from one look at the store;
// it is removed on the loop, a few images an iteration, each looked at again: one that has been served, named or stored
// since the look stays; of a forced prune, one that has been stored. A manifest goes before its blobs, so that what can
// still be asked for can still be answered.

internal import OCI

/// One removal in progress: what is still to remove, and what has come of it.
final class Pruning {
    /// Images removed in one iteration of the loop.
    static let imagesPerStep = 32
    /// Blobs of no manifest removed in one iteration.
    static let orphansPerStep = 256

    /// What was worked out off the loop: how many times each manifest and blob is still needed, and what to remove. A
    /// large cache's takes long to copy and long to free, so it is an object, and its end is the pool's.
    final class Plan: @unchecked Sendable {
        // Sendable by hand-over: made in a job, used on the loop, and given to another job for its report and its end.

        /// Names to remove, in order.
        var images: [CachedImage] = []
        /// Names that were picked and stay, since they have been served a moment ago.
        var leased: [CachedImage] = []
        /// Blobs that no manifest uses.
        var orphans: [Digest] = []
        /// Seconds from the look on until the first may go of what was too recent to: the end of a lease, or of a new
        /// blob's time to get a manifest. Nil when nothing was.
        var leaseEndSeconds: Int64?
        /// Names a manifest has.
        var names: [Digest: Int] = [:]
        /// Indexes that list it.
        var listings: [Digest: Int] = [:]
        /// Manifests that use a blob.
        var blobUses: [Digest: Int] = [:]
        var manifests: [Digest: ImageScan.ManifestEntry] = [:]
        /// Blobs on disk.
        var blobs: [Digest: (sizeBytes: Int64, createdSeconds: Int64)] = [:]

        init() {}
    }

    /// What came of it; images by their place in the plan.
    struct Outcome: Sendable {
        var removed: [Int] = []
        var skipped: [Int] = []
        var blobCount = 0
        var freedBytes: Int64 = 0
        var isDryRun = false
    }

    var plan = Plan()
    var outcome = Outcome()
    let leasedSince: Int64?
    /// What is to be freed; nil: all that was picked goes.
    let goalBytes: Int64?
    /// When it began, on the loop's clock.
    let startedMilliseconds: UInt64
    var next = 0
    /// Whether something stayed that has been used or stored since the look.
    var hasSkippedInUse = false
    /// Whether something stayed because a blob of it is being pulled.
    var hasSkippedPulled = false
    /// Whether it removes also what is being served.
    let isForced: Bool
    /// Manifests that have been served since the look, or stored although they were there.
    var touched: Set<Digest> = []
    /// Manifests that have been stored since the look, or were on their way to the disk then.
    var stored: Set<Digest> = []
    /// Blobs that a manifest stored since the look may use.
    var protected: Set<Digest> = []
    /// What the step under way removes: names and manifests, then blobs with their sizes.
    var leaving: [Leaving] = []
    var leavingBlobs: [(digest: Digest, sizeBytes: Int64)] = []

    /// - Parameter leasedSince: what has been used since then stays; nil: only what is used while this runs.
    init(
        leasedSince: Int64?, goalBytes: Int64?, isDryRun: Bool, startedMilliseconds: UInt64, isForced: Bool = false
    ) {
        self.isForced = isForced
        self.leasedSince = leasedSince
        self.goalBytes = goalBytes
        self.startedMilliseconds = startedMilliseconds
        outcome.isDryRun = isDryRun
    }

    var hasEnough: Bool { goalBytes.map { outcome.freedBytes >= $0 } ?? false }

    /// Whether no name and no index that stays needs the manifest.
    func isUnneeded(_ digest: Digest) -> Bool {
        plan.names[digest, default: 0] <= 0 && plan.listings[digest, default: 0] <= 0
    }
}

extension Pruning.Plan {
    /// The report, and the end of the plan. Off the loop.
    func finish(_ outcome: Pruning.Outcome) -> PruneReport {
        var report = PruneReport()
        report.images = outcome.removed.map { images[$0] }
        report.skipped = leased + outcome.skipped.map { images[$0] }
        report.blobCount = outcome.blobCount
        report.freedBytes = outcome.freedBytes
        report.isDryRun = outcome.isDryRun
        (images, leased, orphans, names, listings) = ([], [], [], [:], [:])
        (blobUses, manifests, blobs) = ([:], [:], [:])
        return report
    }

    /// Off the loop.
    /// - Parameter orphansBefore: blobs of no manifest that came before this go as well.
    convenience init(
        _ scan: ImageScan, accessed: DigestMap<Int64>, leasedSince: Int64?, limit: Int?, orphansBefore: Int64?,
        indexesFirst: Bool, selecting: (CachedImage) throws -> Bool
    ) rethrows {
        self.init()
        manifests = scan.manifests
        blobs = scan.blobs
        let all = scan.images(accessed)
        for name in scan.names { names[name.digest, default: 0] += 1 }
        for manifest in manifests.values {
            for child in Set(manifest.children) { listings[child, default: 0] += 1 }
            for blob in Set(manifest.blobs.map(\.digest)) { blobUses[blob, default: 0] += 1 }
        }
        var picked: [CachedImage] = []
        for image in all where try selecting(image) { picked.append(image) }
        picked.sort {
            ($0.pulledSeconds, $0.mediaType.isIndex ? 0 : 1) < ($1.pulledSeconds, $1.mediaType.isIndex ? 0 : 1)
        }
        for image in picked {
            if let limit, images.count >= limit { break }
            let lastUse = accessed[image.digest] ?? 0
            if let leasedSince, lastUse > leasedSince {
                leased.append(image)
                noteRecent(lastUse, since: leasedSince)
            } else {
                images.append(image)
            }
        }
        // An index before its images, which cannot go while it is there; by age it is, unless pulled again since.
        if indexesFirst { images = images.filter(\.mediaType.isIndex) + images.filter { !$0.mediaType.isIndex } }
        guard let orphansBefore else { return }
        for (digest, blob) in scan.blobs where blobUses[digest] == nil {
            if blob.createdSeconds < orphansBefore {
                orphans.append(digest)
            } else {
                noteRecent(blob.createdSeconds, since: orphansBefore)
            }
        }
    }

    /// Something is too recent to go now; the limit moves on with the clock.
    private func noteRecent(_ seconds: Int64, since limit: Int64) {
        let (rest, overflow) = seconds.subtractingReportingOverflow(limit)
        // A second more: a blob goes when it is older than the limit.
        leaseEndSeconds = min(leaseEndSeconds ?? .max, overflow || rest == .max ? .max : rest + 1)
    }
}

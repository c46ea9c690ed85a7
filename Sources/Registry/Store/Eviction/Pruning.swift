// Removing images, and blobs that no manifest uses ("orphans"), while clients may request them. A scan off the loop
// plans what to remove. The loop then removes a few items per iteration and checks each again: an item served, named or
// stored since the scan stays (in a forced prune an image stays only if it was stored). A manifest is removed before
// its blobs, so that every image that can still be requested is complete.

internal import OCI

/// Which blobs without a manifest a prune removes: those to which both times apply, in seconds since 1970.
package struct OrphanAge: Sendable, Equatable {
    /// Stored before this time.
    package var createdBefore: Int64
    /// Last served before this time, or stored if they never were.
    package var usedBefore: Int64

    package init(createdBefore: Int64 = .max, usedBefore: Int64 = .max) {
        self.createdBefore = createdBefore
        self.usedBefore = usedBefore
    }
}

/// One prune in progress: its plan and its results so far.
final class Pruning {
    /// Images removed in one iteration.
    static let imagesPerStep = 32
    /// Blobs without a manifest removed in one iteration.
    static let orphansPerStep = 256

    /// A blob that no manifest uses. It lives by its own last use.
    struct Orphan {
        let digest: Digest
        /// When it was last served; if it never was, when it was stored.
        let usedSeconds: Int64
    }

    /// The next item to remove.
    enum Item {
        /// A position in the plan's images.
        case image(Int)
        /// A position in the plan's orphans.
        case orphan(Int)
    }

    /// The plan made off the loop: how often each manifest and blob is still needed, and what to remove. For a large
    /// cache it takes long to copy and to free, so it is an object that is freed in the pool.
    final class Plan: @unchecked Sendable {
        // Sendable by hand-over: made in a job, used on the loop, and passed to another job that makes the report and
        // frees it.

        /// Names to remove, in order.
        var images: [CachedImage] = []
        /// Selected names that stay, since they were served recently.
        var leased: [CachedImage] = []
        /// Blobs without a manifest to remove, least recently used first.
        var orphans: [Orphan] = []
        /// Seconds from the scan until the first item that is too recent now may be removed: the end of a lease, or of
        /// the time in which a new blob should get a manifest. Nil when nothing is too recent.
        var leaseEndSeconds: Int64?
        /// Number of names of a manifest.
        var names: [Digest: Int] = [:]
        /// Number of names in a repository, `host/name`.
        var repositoryNames: [String: Int] = [:]
        /// Number of indexes that list a manifest.
        var listings: [Digest: Int] = [:]
        /// Number of manifests that use a blob.
        var blobUses: [Digest: Int] = [:]
        var manifests: [Digest: ImageScan.ManifestEntry] = [:]
        /// Blobs on disk.
        var blobs: [Digest: (sizeBytes: Int64, createdSeconds: Int64)] = [:]

        init() {}
    }

    /// The results; images by their position in the plan.
    struct Outcome: Sendable {
        var removed: [Int] = []
        var skipped: [Int] = []
        /// Removed blobs without a manifest, by their positions in the plan. They are in `blobCount` too.
        var removedOrphans: [Int] = []
        var blobCount = 0
        var freedBytes: Int64 = 0
        var isDryRun = false
    }

    var plan = Plan()
    var outcome = Outcome()
    let leasedSince: Int64?
    /// The bytes to free; nil: everything selected is removed.
    let goalBytes: Int64?
    /// When the prune began, on the loop's clock.
    let startedMilliseconds: UInt64
    var next = 0
    var nextOrphan = 0
    /// Whether content stayed because it was used or stored since the scan.
    var hasSkippedInUse = false
    /// Whether an image stayed because one of its blobs is being pulled.
    var hasSkippedPulled = false
    /// Whether images that are being served are removed too.
    let isForced: Bool
    /// Manifests and blobs served since the scan, and manifests stored again although they existed.
    var touched: Set<Digest> = []
    /// Manifests stored since the scan, or being written when it began.
    var stored: Set<Digest> = []
    /// Repositories that have got a name since the scan.
    var namedRepositories: Set<String> = []
    /// Blobs that a manifest stored since the scan may use.
    var protected: Set<Digest> = []
    /// Files of names and manifests that have been published since the scan, or since this prune removed their entries:
    /// they stay, although an earlier step may have removed what they were.
    var published: Set<String> = []
    /// The current step's removals: names and manifests, then blobs with their sizes.
    var leaving: [Leaving] = []
    var leavingBlobs: [(digest: Digest, sizeBytes: Int64)] = []

    /// - Parameter leasedSince: images used since this time stay; nil: only images used during the prune stay.
    init(
        leasedSince: Int64?, goalBytes: Int64?, isDryRun: Bool, startedMilliseconds: UInt64, isForced: Bool = false
    ) {
        self.isForced = isForced
        self.leasedSince = leasedSince
        self.goalBytes = goalBytes
        self.startedMilliseconds = startedMilliseconds
        outcome.isDryRun = isDryRun
    }

    /// Whether everything in the plan has been handled.
    var isAtEnd: Bool { next >= plan.images.count && nextOrphan >= plan.orphans.count }

    /// Takes the next item. Of an image and a blob without a manifest, the least recently used is first.
    func takeNext() -> Item? {
        guard !isAtEnd else { return nil }
        if nextOrphan < plan.orphans.count,
            next >= plan.images.count || plan.orphans[nextOrphan].usedSeconds <= plan.images[next].pulledSeconds
        {
            nextOrphan += 1
            return .orphan(nextOrphan - 1)
        }
        next += 1
        return .image(next - 1)
    }

    /// Records that the files of some blobs of the current step could not be removed.
    func keepOrphans(_ kept: Set<Digest>) {
        guard !kept.isEmpty else { return }
        // Those of this step are the last ones.
        let step = outcome.removedOrphans.suffix(Pruning.orphansPerStep)
        outcome.removedOrphans.removeLast(step.count)
        outcome.removedOrphans += step.filter { !kept.contains(plan.orphans[$0].digest) }
    }

    var hasEnough: Bool { goalBytes.map { outcome.freedBytes >= $0 } ?? false }

    /// Whether neither a name nor a remaining index needs the manifest.
    func isUnneeded(_ digest: Digest) -> Bool {
        plan.names[digest, default: 0] <= 0 && plan.listings[digest, default: 0] <= 0
    }
}

extension Pruning.Plan {
    /// Makes the report and empties the plan. Runs off the loop.
    func finish(_ outcome: Pruning.Outcome) -> PruneReport {
        var report = PruneReport()
        report.images = outcome.removed.map { images[$0] }
        report.skipped = leased + outcome.skipped.map { images[$0] }
        report.orphans = outcome.removedOrphans.compactMap { position in
            let orphan = orphans[position]
            return blobs[orphan.digest].map { blob in
                BlobEntry(
                    digest: orphan.digest, sizeBytes: blob.sizeBytes, createdSeconds: blob.createdSeconds,
                    usedSeconds: orphan.usedSeconds, referenceCount: 0)
            }
        }
        report.blobCount = outcome.blobCount
        report.freedBytes = outcome.freedBytes
        report.isDryRun = outcome.isDryRun
        (images, leased, orphans, names, listings, repositoryNames) = ([], [], [], [:], [:], [:])
        (blobUses, manifests, blobs) = ([:], [:], [:])
        return report
    }

    /// Makes the plan. Runs off the loop.
    /// - Parameters:
    ///   - limit: the maximum number of names and of blobs without a manifest, together.
    ///   - orphanAge: the blobs without a manifest that are removed too.
    convenience init(
        _ scan: ImageScan, accessed: DigestMap<Int64>, leasedSince: Int64?, limit: Int?, orphanAge: OrphanAge?,
        indexesFirst: Bool, isPinned: (CachedImage) throws -> Bool = { _ in false },
        selecting: (CachedImage) throws -> Bool
    ) rethrows {
        self.init()
        manifests = scan.manifests
        blobs = scan.blobs
        let all = scan.images(accessed)
        for name in scan.names {
            names[name.digest, default: 0] += 1
            repositoryNames["\(name.host)/\(name.repository)", default: 0] += 1
        }
        for manifest in manifests.values {
            for child in Set(manifest.children) { listings[child, default: 0] += 1 }
            for blob in Set(manifest.blobs.map(\.digest)) { blobUses[blob, default: 0] += 1 }
        }
        let life = ReferrerLife(all, scan)
        var picked = try life.select(all, isPinned: isPinned, selecting: selecting)
        // A referrer leaves after what it is about: an eviction may end in between.
        let rank = { (item: (position: Int, image: CachedImage, isReferrer: Bool)) in
            (item.image.pulledSeconds, item.isReferrer ? 2 : item.image.mediaType.isIndex ? 0 : 1)
        }
        picked.sort { rank($0) < rank($1) }
        let unused = orphanAge.map { selectOrphans($0, scan, accessed) } ?? []
        var older = unused[...]
        for (position, image, _) in picked {
            while limit.map({ images.count + orphans.count < $0 }) ?? true,
                let orphan = older.first, orphan.usedSeconds <= image.pulledSeconds
            {
                orphans.append(older.removeFirst())
            }
            if let limit, images.count + orphans.count >= limit { break }
            let lastUse = life.lastUse(position, all, accessed)
            if let leasedSince, lastUse > leasedSince {
                leased.append(image)
                noteRecent(lastUse, since: leasedSince)
            } else {
                images.append(image)
            }
        }
        // An index must be removed before its images, which cannot be removed while it lists them. Pruning by age has
        // that order, unless an index was pulled again later.
        if indexesFirst { images = images.filter(\.mediaType.isIndex) + images.filter { !$0.mediaType.isIndex } }
        orphans += limit.map { older.prefix(max(0, $0 - images.count - orphans.count)) } ?? older
    }

    /// The blobs without a manifest that are old enough, least recently used first.
    private func selectOrphans(
        _ age: OrphanAge, _ scan: ImageScan, _ accessed: DigestMap<Int64>
    ) -> [Pruning.Orphan] {
        var selected: [Pruning.Orphan] = []
        for (digest, blob) in scan.blobs where blobUses[digest] == nil && blob.createdSeconds < age.createdBefore {
            let usedSeconds = max(blob.createdSeconds, accessed[digest] ?? blob.createdSeconds)
            if usedSeconds < age.usedBefore {
                selected.append(Pruning.Orphan(digest: digest, usedSeconds: usedSeconds))
            } else {
                noteRecent(usedSeconds, since: age.usedBefore)
            }
        }
        return selected.sorted { $0.usedSeconds < $1.usedSeconds }
    }

    /// Records that an item is too recent to be removed now.
    private func noteRecent(_ seconds: Int64, since limit: Int64) {
        let (rest, overflow) = seconds.subtractingReportingOverflow(limit)
        // One second more, since a blob is removed when it is older than the limit.
        leaseEndSeconds = min(leaseEndSeconds ?? .max, overflow || rest == .max ? .max : rest + 1)
    }
}

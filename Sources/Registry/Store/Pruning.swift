// Removing images while they may be asked for. What to remove is worked out off the loop, from one look at the store;
// it is removed on the loop, a few images a turn, each looked at again: one that has been served, named or stored since
// the look stays. A manifest goes before its blobs, so that what can still be asked for can still be answered.

/// One removal in progress: how many times each manifest and blob is still needed, and what is left to remove.
final class Pruning {
    /// Images removed between two turns of the loop.
    static let imagesPerStep = 32

    /// What was worked out off the loop.
    struct Plan: Sendable {
        /// Names to remove, indexes first.
        var images: [CachedImage] = []
        var skipped: [CachedImage] = []
        /// Blobs that no manifest uses.
        var orphans: [Digest] = []
        /// Names a manifest has.
        var names: [Digest: Int] = [:]
        /// Indexes that list it.
        var listings: [Digest: Int] = [:]
        /// Manifests that use a blob.
        var blobUses: [Digest: Int] = [:]
        var manifests: [Digest: ImageScan.ManifestEntry] = [:]
        /// Sizes of blobs on disk.
        var blobs: [Digest: Int64] = [:]
    }

    var plan = Plan()
    let leasedSince: Int64?
    /// What is to be freed; nil: all that was picked goes.
    var goalBytes: Int64?
    var next = 0
    /// Manifests that have been served or stored since the look.
    var touched: Set<Digest> = []
    /// Blobs that a manifest stored since the look may use.
    var protected: Set<Digest> = []
    var report = PruneReport()

    /// - Parameter leasedSince: what has been used since then stays; nil: only what is used while this runs.
    init(leasedSince: Int64?) {
        self.leasedSince = leasedSince
    }

    var hasEnough: Bool { goalBytes.map { report.freedBytes >= $0 } ?? false }

    /// Whether no name and no index that stays needs the manifest.
    func isUnneeded(_ digest: Digest) -> Bool {
        plan.names[digest, default: 0] <= 0 && plan.listings[digest, default: 0] <= 0
    }
}

extension Pruning.Plan {
    /// Off the loop.
    /// - Parameter orphansBefore: blobs of no manifest that came before this go as well.
    init(
        _ scan: ImageScan, accessed: [Digest: Int64], leasedSince: Int64?, limit: Int?, orphansBefore: Int64?,
        indexesFirst: Bool, selecting: (CachedImage) throws -> Bool
    ) rethrows {
        manifests = scan.manifests
        blobs = scan.blobs.mapValues(\.sizeBytes)
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
            let isLeased = leasedSince.map { since in (accessed[image.digest] ?? 0) > since } ?? false
            if isLeased { skipped.append(image) } else { images.append(image) }
        }
        // An index before its images, which cannot go while it is there; by age it is, unless pulled again since.
        if indexesFirst { images = images.filter(\.mediaType.isIndex) + images.filter { !$0.mediaType.isIndex } }
        guard let orphansBefore else { return }
        orphans = scan.blobs.filter { blobUses[$0.key] == nil && $0.value.createdSeconds < orphansBefore }.map(\.key)
    }
}

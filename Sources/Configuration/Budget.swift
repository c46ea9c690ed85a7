// The limits of the cache's size, and a pure calculation of the bytes to remove.

internal import OCI

/// Limits of the cache's size; nil means no limit. Sums saturate: a file system may report any number of bytes, and an
/// upstream may state any size.
package struct Budget: Sendable, Equatable {
    /// Limit on blobs, manifests, partial files and the space reserved for running pulls.
    package var maxBytes: Int64?
    /// Space to keep free on the file system.
    package var minFreeBytes: Int64?
    /// Above this share of a limit, images are removed in the background, so that no pull has to wait for space.
    package var highPercent = 95
    /// A removal continues down to this share of the limit, so that the next pulls need no removal.
    package var lowPercent = 85

    package init() {}

    package var isUnlimited: Bool { maxBytes == nil && minFreeBytes == nil }

    /// Current use of the disk.
    package struct Levels: Sendable, Equatable {
        /// Bytes of blobs, manifests and partial files, and reserved bytes.
        package var usedBytes: Int64
        package var freeBytes: Int64

        package init(usedBytes: Int64, freeBytes: Int64) {
            self.usedBytes = usedBytes
            self.freeBytes = freeBytes
        }
    }

    /// Bytes that may still be stored.
    package func room(_ levels: Levels) -> Int64 {
        min(
            levels.freeBytes.subtractingSaturated(minFreeBytes ?? 0),
            maxBytes.map { $0.subtractingSaturated(levels.usedBytes) } ?? .max)
    }

    /// Whether `wantedBytes` more fit.
    package func fits(_ wantedBytes: Int64, _ levels: Levels) -> Bool {
        isUnlimited || room(levels) >= wantedBytes
    }

    /// Whether images should be removed before a pull needs the space.
    package func isHigh(_ levels: Levels) -> Bool {
        if let maxBytes, levels.usedBytes > Budget.percent(highPercent, of: maxBytes) { return true }
        guard let minFreeBytes else { return false }
        let margin = Budget.percent(100 - highPercent, of: minFreeBytes)
        return levels.freeBytes < minFreeBytes.addingSaturated(margin)
    }

    /// Bytes to remove so that `wantedBytes` fit and the low mark is reached. A size that can never fit removes
    /// nothing: it would empty the cache in vain.
    package func excess(_ wantedBytes: Int64, _ levels: Levels) -> Int64 {
        var excess: Int64 = 0
        if let maxBytes {
            guard wantedBytes <= maxBytes else { return 0 }
            let goal = min(Budget.percent(lowPercent, of: maxBytes), maxBytes.subtractingSaturated(wantedBytes))
            if levels.usedBytes.addingSaturated(wantedBytes) > maxBytes || isHigh(levels) {
                excess = levels.usedBytes.subtractingSaturated(goal)
            }
        }
        if let minFreeBytes {
            let margin = Budget.percent(100 - lowPercent, of: minFreeBytes)
            let goal = minFreeBytes.addingSaturated(margin).addingSaturated(wantedBytes)
            if levels.freeBytes.subtractingSaturated(wantedBytes) < minFreeBytes || isHigh(levels) {
                excess = max(excess, goal.subtractingSaturated(levels.freeBytes))
            }
        }
        return max(excess, wantedBytes.subtractingSaturated(levels.freeBytes), 0)
    }

    private static func percent(_ percent: Int, of bytes: Int64) -> Int64 {
        // The division comes first, since a limit may be near the largest number.
        (bytes / 100).multipliedSaturated(by: Int64(percent))
            .addingSaturated(bytes % 100 * Int64(percent) / 100)
    }
}

// How large the cache may be, as a pure value: what there is and what is wanted go in, how much has to leave comes out.

internal import OCI

/// Limits of the cache's size; nil means none. Sums saturate: a file system may report any number of bytes, and an
/// upstream may ask for any number.
package struct Budget: Sendable, Equatable {
    /// Blobs, manifests and partial files, and what is reserved for pulls under way.
    package var maxBytes: Int64?
    /// What has to stay free on the file system.
    package var minFreeBytes: Int64?
    /// Past this share of a limit, images leave in the background, before a pull has to wait for it.
    package var highPercent = 95
    /// So much is left when some had to leave: else every pull would have to make room anew.
    package var lowPercent = 85

    package init() {}

    package var isUnlimited: Bool { maxBytes == nil && minFreeBytes == nil }

    /// What is there.
    package struct Levels: Sendable, Equatable {
        /// Bytes of blobs, manifests and partial files, and those reserved.
        package var usedBytes: Int64
        package var freeBytes: Int64

        package init(usedBytes: Int64, freeBytes: Int64) {
            self.usedBytes = usedBytes
            self.freeBytes = freeBytes
        }
    }

    /// What may still be stored.
    package func room(_ levels: Levels) -> Int64 {
        min(
            levels.freeBytes.subtractingSaturated(minFreeBytes ?? 0),
            maxBytes.map { $0.subtractingSaturated(levels.usedBytes) } ?? .max)
    }

    /// Whether so much more fits.
    package func fits(_ wantedBytes: Int64, _ levels: Levels) -> Bool {
        isUnlimited || room(levels) >= wantedBytes
    }

    /// Whether it is time to make room before anybody needs it.
    package func isHigh(_ levels: Levels) -> Bool {
        if let maxBytes, levels.usedBytes > Budget.percent(highPercent, of: maxBytes) { return true }
        guard let minFreeBytes else { return false }
        let margin = Budget.percent(100 - highPercent, of: minFreeBytes)
        return levels.freeBytes < minFreeBytes.addingSaturated(margin)
    }

    /// How much has to leave, so that so much more fits and some room is left besides. What could never fit lets
    /// nothing leave: it would empty the cache for nothing.
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
        // Divided first: a limit may be near the largest number.
        (bytes / 100).multipliedSaturated(by: Int64(percent))
            .addingSaturated(bytes % 100 * Int64(percent) / 100)
    }
}

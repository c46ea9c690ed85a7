// The index of all blobs in memory.

internal import OCI

/// Blobs by digest, with their sizes. The sum of sizes is kept up to date, as in `ContentIndex`.
struct BlobIndex {
    /// A blob's size, and whether a cached manifest is known to name the blob. It is one word, since a large cache has
    /// a million blobs: sizes are not negative, so the sign bit is free.
    struct Entry {
        private static let namedBit: UInt64 = 1 << 63
        private var word: UInt64

        init(sizeBytes: Int64, isNamed: Bool) {
            word = UInt64(clamping: sizeBytes) | (isNamed ? Entry.namedBit : 0)
        }

        var sizeBytes: Int64 { Int64(clamping: word & ~Entry.namedBit) }
        /// Whether a cached manifest is known to name the blob, so that the blob lives as long as that manifest and its
        /// own uses need not be recorded. False says nothing: the manifest may not have been read since the start.
        /// After a manifest was found damaged, this may stay true; the blob then counts as used when it was stored.
        var isNamed: Bool { word & Entry.namedBit != 0 }
    }

    private var entries = DigestMap<Entry>()
    private(set) var totalBytes: Int64 = 0

    var count: Int { entries.count }

    subscript(digest: Digest) -> Entry? { entries[digest] }

    /// Adds a blob, or sets its size.
    mutating func set(_ digest: Digest, sizeBytes: Int64) {
        replace(digest, Entry(sizeBytes: sizeBytes, isNamed: entries[digest]?.isNamed ?? false))
    }

    mutating func remove(_ digest: Digest) { replace(digest, nil) }

    /// Records whether a cached manifest names the blob; does nothing for a blob that is not in the index.
    mutating func setNamed(_ isNamed: Bool, _ digest: Digest) {
        guard let entry = entries[digest], entry.isNamed != isNamed else { return }
        entries[digest] = Entry(sizeBytes: entry.sizeBytes, isNamed: isNamed)
    }

    private mutating func replace(_ digest: Digest, _ entry: Entry?) {
        let others = max(0, totalBytes.subtractingSaturated(entries[digest]?.sizeBytes ?? 0))
        totalBytes = others.addingSaturated(entry?.sizeBytes ?? 0)
        entries[digest] = entry
    }
}

// An index of content by digest, with the sum of sizes kept up to date, so that it need not be computed over a hundred
// thousand entries.

internal import OCI

/// Content by digest, with its size and a detail such as a media type.
struct ContentIndex<Detail> {
    struct Entry {
        let sizeBytes: Int64
        let detail: Detail
    }

    private var entries = DigestMap<Entry>()
    private(set) var totalBytes: Int64 = 0

    var count: Int { entries.count }

    subscript(digest: Digest) -> Entry? {
        get { entries[digest] }
        set {
            let others = max(0, totalBytes.subtractingSaturated(entries[digest]?.sizeBytes ?? 0))
            totalBytes = others.addingSaturated(newValue?.sizeBytes ?? 0)
            entries[digest] = newValue
        }
    }
}

extension ContentIndex where Detail == Void {
    /// Sets the size of content without details.
    mutating func set(_ digest: Digest, sizeBytes: Int64) {
        self[digest] = Entry(sizeBytes: sizeBytes, detail: ())
    }
}

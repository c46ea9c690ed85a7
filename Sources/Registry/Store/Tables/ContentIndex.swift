// What the store has, by digest, and how much that is: the sum is kept, so that nobody has to add up a hundred thousand
// entries to know it.

internal import OCI

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
    /// The size alone.
    mutating func set(_ digest: Digest, sizeBytes: Int64) {
        self[digest] = Entry(sizeBytes: sizeBytes, detail: ())
    }
}

// Tables by digest for any number of entries.

internal import OCI

/// A dictionary by digest. A single dictionary of a million entries would move all of them when it grows, or when it is
/// changed while a job shares it, and block the loop. This one has 256 shards by a byte of the hash, each of which
/// moves only its own entries. Nearly all digests are sha256; their keys take half the memory here.
struct DigestMap<Value> {
    private static var shardCount: Int { 256 }

    private var shards = [[Digest.Short: Value]](repeating: [:], count: shardCount)
    /// Entries with other algorithms.
    private var others: [Digest: Value] = [:]
    private(set) var count = 0

    var isEmpty: Bool { count == 0 }

    subscript(digest: Digest) -> Value? {
        get {
            guard let short = Digest.Short(digest) else { return others[digest] }
            return shards[short.anyByte][short]
        }
        set {
            let former = exchange(digest, newValue)
            count += (newValue == nil ? 0 : 1) - (former == nil ? 0 : 1)
        }
    }

    private mutating func exchange(_ digest: Digest, _ value: Value?) -> Value? {
        guard let short = Digest.Short(digest) else {
            let former = others[digest]
            others[digest] = value
            return former
        }
        guard let value else { return shards[short.anyByte].removeValue(forKey: short) }
        return shards[short.anyByte].updateValue(value, forKey: short)
    }

    func forEach(_ body: (Digest, Value) throws -> Void) rethrows {
        for shard in shards {
            for (short, value) in shard { try body(short.digest, value) }
        }
        for (digest, value) in others { try body(digest, value) }
    }
}

extension DigestMap: Sendable where Value: Sendable {}
extension DigestMap: Equatable where Value: Equatable {}

extension DigestMap: ExpressibleByDictionaryLiteral {
    init(dictionaryLiteral elements: (Digest, Value)...) {
        for (digest, value) in elements { self[digest] = value }
    }
}

/// Content by digest, with its size and a detail such as a media type. The sum of sizes is kept up to date, so that it
/// need not be computed over a hundred thousand entries.
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

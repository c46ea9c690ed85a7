// A cache of objects in memory (manifests, small blobs) or of open files, with a budget and second-chance eviction. A
// hit sets a flag and moves nothing, so it costs one hash lookup.

internal import OCI

/// Objects by digest, within a budget of weight. The clock's hand skips an entry once if it was used since the last
/// pass.
struct ClockCache<Value: AnyObject>: ~Copyable {
    private struct Slot {
        var digest: Digest
        var value: Value?
        var weight: Int
        var wasUsed: Bool
        /// Whether the entry must not be evicted, because it is not on disk yet.
        var isPinned: Bool
    }

    let budget: Int
    private(set) var weight = 0
    private var slots: [Slot] = []
    private var free: [Int] = []
    private var index = HashPositions()
    private let hash = KeyedHash()
    private var hand = 0
    /// Counts removed values. While it is unchanged, each value keeps its position.
    private(set) var removalCount: UInt64 = 0

    init(budget: Int) { self.budget = budget }

    var count: Int { index.count }

    /// The value, marked as used. Allocates nothing.
    mutating func value(for digest: Digest) -> Value? {
        guard let position = position(of: digest) else { return nil }
        if !slots[position].wasUsed { slots[position].wasUsed = true }
        return slots[position].value
    }

    /// The position of this value; nil if its digest has another value or none.
    func position(of value: Value, under digest: Digest) -> Int? {
        guard let position = position(of: digest), slots[position].value === value else { return nil }
        return position
    }

    /// The digest of the value at a position.
    func digest(at position: Int) -> Digest { slots[position].digest }

    /// Marks the value at a position as used.
    @inline(__always)
    mutating func use(at position: Int) {
        if !slots[position].wasUsed { slots[position].wasUsed = true }
    }

    /// Adds or replaces a value, and evicts others except pinned ones if necessary.
    mutating func insert(_ value: Value, for digest: Digest, weight: Int, isPinned: Bool = false) {
        remove(digest)
        // Not marked as used, so that values that are never requested are evicted before those that are.
        let slot = Slot(digest: digest, value: value, weight: weight, wasUsed: false, isPinned: isPinned)
        let position = free.popLast() ?? slots.count
        if position == slots.count { slots.append(slot) } else { slots[position] = slot }
        index.insert(hash.of(digest), position)
        self.weight += weight
        makeRoom(keeping: position)
    }

    mutating func remove(_ digest: Digest) {
        guard let position = position(of: digest) else { return }
        empty(position)
    }

    /// Allows an entry to be evicted.
    mutating func unpin(_ digest: Digest) {
        guard let position = position(of: digest) else { return }
        slots[position].isPinned = false
        makeRoom(keeping: position)
    }

    mutating func removeAll() {
        for position in slots.indices where slots[position].value != nil { empty(position) }
    }

    private mutating func makeRoom(keeping kept: Int) {
        // Two rounds, since the first may only clear flags. Entries left after that are pinned.
        var steps = 2 * slots.count
        while weight > budget, steps > 0 {
            steps -= 1
            hand = hand + 1 < slots.count ? hand + 1 : 0
            guard hand != kept, slots[hand].value != nil, !slots[hand].isPinned else { continue }
            if slots[hand].wasUsed {
                slots[hand].wasUsed = false
                continue
            }
            empty(hand)
        }
    }

    @inline(__always)
    private func position(of digest: Digest) -> Int? {
        index.first(hash.of(digest)) { slots[$0].digest == digest }
    }

    private mutating func empty(_ position: Int) {
        removalCount &+= 1
        index.remove(hash.of(slots[position].digest), position)
        weight -= slots[position].weight
        slots[position].value = nil
        slots[position].weight = 0
        free.append(position)
    }
}

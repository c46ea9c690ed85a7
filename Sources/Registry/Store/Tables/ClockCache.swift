// What stays in memory (manifests) or open (blob files): a budget and second-chance eviction. A hit sets a flag and
// moves nothing, so that reading from the cache costs one hash lookup.

internal import OCI

/// Objects by digest within a budget of weight. The clock's hand passes over entries used since it last came by, once.
struct ClockCache<Value: AnyObject>: ~Copyable {
    private struct Slot {
        var digest: Digest
        var value: Value?
        var weight: Int
        var wasUsed: Bool
        /// Not to be evicted: the disk does not have it yet.
        var isPinned: Bool
    }

    let budget: Int
    private(set) var weight = 0
    private var slots: [Slot] = []
    private var free: [Int] = []
    private var index = HashPositions()
    private let hash = KeyedHash()
    private var hand = 0
    /// Counts the values that have left. While it stays the same, each value is where it was.
    private(set) var removalCount: UInt64 = 0

    init(budget: Int) { self.budget = budget }

    var count: Int { index.count }

    /// The value, marked as used. No allocation.
    mutating func value(for digest: Digest) -> Value? {
        guard let position = position(of: digest) else { return nil }
        if !slots[position].wasUsed { slots[position].wasUsed = true }
        return slots[position].value
    }

    /// Where a value is; nil when another one, or none, is there under its digest.
    func position(of value: Value, under digest: Digest) -> Int? {
        guard let position = position(of: digest), slots[position].value === value else { return nil }
        return position
    }

    /// Marks the value at a position as used.
    @inline(__always)
    mutating func use(at position: Int) {
        if !slots[position].wasUsed { slots[position].wasUsed = true }
    }

    /// Adds or replaces a value, and makes room: everything but the new and the pinned may go.
    mutating func insert(_ value: Value, for digest: Digest, weight: Int, isPinned: Bool = false) {
        remove(digest)
        // Not used yet: what is put in once and never asked for goes before what is asked for.
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

    /// Lets an entry go like any other.
    mutating func unpin(_ digest: Digest) {
        guard let position = position(of: digest) else { return }
        slots[position].isPinned = false
        makeRoom(keeping: position)
    }

    mutating func removeAll() {
        for position in slots.indices where slots[position].value != nil { empty(position) }
    }

    private mutating func makeRoom(keeping kept: Int) {
        // Two rounds: the first may do nothing but clear flags. What is left after that is pinned.
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

// The decisions about names, for the look-up of every request.

internal import OCI

/// Decisions by name, up to a number of names. The clock's hand skips a name once if it was used since the last pass.
struct DecisionTable<Decision: Hashable>: ~Copyable {
    /// More than the repositories that a cluster pulls from. Clients choose names freely: an entry takes some 100
    /// bytes, 700 at most.
    static var maximumNames: Int { 16_384 }

    /// What the table has about a name.
    enum Found {
        /// The decision of most names.
        case usual
        /// The position is valid until the table changes.
        case other(position: Int)
        case undecided
    }

    private struct Entry: BitwiseCopyable {
        /// The position in `decisions`.
        var decision: UInt32
        var wasUsed = true
        /// When the decision was last logged; 0 before the first time.
        var loggedMilliseconds: UInt64 = 0
    }

    private var table = TextTable<Entry>()
    private var hand = 0
    /// The usual decision, and each of the others once. The configuration's size bounds their number: there are at most
    /// three for each expression.
    private var decisions: [Decision]
    private var numbers: [Decision: UInt32]

    init(usual: Decision) {
        decisions = [usual]
        numbers = [usual: 0]
    }

    var count: Int { table.count }

    /// The decision about a name, which is marked as used. Allocates nothing.
    @inline(__always)
    mutating func find(_ name: UnsafeRawBufferPointer) -> Found {
        guard let position = table.position(of: name) else { return .undecided }
        if !table[position].wasUsed { table[position].wasUsed = true }
        return table[position].decision == 0 ? .usual : .other(position: position)
    }

    /// The decision at a position that `find` has returned.
    func decision(at position: Int) -> Decision { decisions[Int(table[position].decision)] }

    /// Records that a decision is logged, unless the last line about this name was written less than `pause` ago.
    /// - Returns: whether it was recorded.
    mutating func noteLog(at position: Int, now: UInt64, pause: UInt64) -> Bool {
        let last = table[position].loggedMilliseconds
        guard last == 0 || now &- last >= pause else { return false }
        table[position].loggedMilliseconds = max(now, 1)
        return true
    }

    /// Adds a decision, and removes that of another name if the table is full.
    mutating func insert(_ name: UnsafeRawBufferPointer, _ decision: Decision) {
        let entry = Entry(decision: number(of: decision))
        if let known = table.position(of: name) {
            table[known] = entry
            return
        }
        if table.count >= DecisionTable.maximumNames { makeRoom() }
        table.insert(name, entry)
    }

    private mutating func number(of decision: Decision) -> UInt32 {
        if let known = numbers[decision] { return known }
        // Fits: the configuration's size bounds the number of decisions.
        let number = UInt32(decisions.count)
        decisions.append(decision)
        numbers[decision] = number
        return number
    }

    private mutating func makeRoom() {
        // Two rounds, since the first may only clear flags.
        for _ in 0..<2 * table.endPosition {
            hand = hand + 1 < table.endPosition ? hand + 1 : 0
            guard table.isUsed(hand) else { continue }
            if table[hand].wasUsed {
                table[hand].wasUsed = false
                continue
            }
            return table.remove(at: hand)
        }
    }
}

// The decisions about names, for the look-up of every request.

internal import Configuration
internal import OCI

/// Decisions by name, up to a number of names. The clock's hand skips a name once if it was used since the last pass.
struct DecisionTable: ~Copyable {
    /// More than the repositories that a cluster pulls from. Clients choose names freely: an entry takes some 100
    /// bytes, 600 at most.
    static let maximumNames = 16_384

    /// What the table has about a name.
    enum Found {
        case allowed
        /// The position is valid until the table changes.
        case denied(position: Int)
        case undecided
    }

    private struct Entry: BitwiseCopyable {
        /// One more than the position in `denials`; 0 if the name is allowed.
        var denial: UInt32
        var wasUsed = true
        /// When the last refusal was logged; 0 before the first.
        var loggedMilliseconds: UInt64 = 0
    }

    private var table = TextTable<Entry>()
    private var hand = 0
    /// The decisions that deny, each once: there are at most three for each expression of the configuration.
    private var denials: [NameDecision] = []
    private var denialNumbers: [NameDecision: UInt32] = [:]

    var count: Int { table.count }

    /// The decision about a name, which is marked as used. Allocates nothing.
    @inline(__always)
    mutating func find(_ name: UnsafeRawBufferPointer) -> Found {
        guard let position = table.position(of: name) else { return .undecided }
        if !table[position].wasUsed { table[position].wasUsed = true }
        return table[position].denial == 0 ? .allowed : .denied(position: position)
    }

    /// The decision at a position that `find` has returned.
    func denial(at position: Int) -> NameDecision { denials[Int(table[position].denial) - 1] }

    /// Records that a refusal is logged, unless the last one of this name was logged less than `pause` ago.
    /// - Returns: whether it was recorded.
    mutating func noteLog(at position: Int, now: UInt64, pause: UInt64) -> Bool {
        let last = table[position].loggedMilliseconds
        guard last == 0 || now &- last >= pause else { return false }
        table[position].loggedMilliseconds = max(now, 1)
        return true
    }

    /// Adds a decision, and removes that of another name if the table is full.
    mutating func insert(_ name: UnsafeRawBufferPointer, _ decision: NameDecision) {
        let entry = Entry(denial: number(of: decision))
        if let known = table.position(of: name) {
            table[known] = entry
            return
        }
        if table.count >= DecisionTable.maximumNames { makeRoom() }
        table.insert(name, entry)
    }

    private mutating func number(of decision: NameDecision) -> UInt32 {
        if decision == .allowed { return 0 }
        if let known = denialNumbers[decision] { return known }
        denials.append(decision)
        // Fits: the configuration's size bounds the number of denials.
        let number = UInt32(denials.count)
        denialNumbers[decision] = number
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

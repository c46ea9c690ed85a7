// Values by text, found without allocating.

internal import BasicContainers
internal import OCI

/// A table by text, such as a name's bytes. An entry keeps its position until it is removed.
struct TextTable<Value: BitwiseCopyable>: ~Copyable {
    struct Entry: BitwiseCopyable {
        /// The text, in memory that this table owns; empty for a free entry.
        var key: UnsafeRawBufferPointer
        var value: Value
    }

    private var entries = UniqueArray<Entry>()
    private var free: [Int] = []
    private var index = HashPositions()
    private let hash = KeyedHash()

    deinit {
        for position in 0..<entries.count { entries[position].key.deallocate() }
    }

    var count: Int { index.count }

    /// One more than the highest position that has been used.
    var endPosition: Int { entries.count }

    /// The position of a text. Allocates nothing.
    @inline(__always)
    func position(of text: UnsafeRawBufferPointer) -> Int? {
        index.first(hash.of(text)) { position in entries[position].key.equals(text) }
    }

    func isUsed(_ position: Int) -> Bool { entries[position].key.baseAddress != nil }

    /// The text of a used position, valid until it is removed.
    func text(at position: Int) -> UnsafeRawBufferPointer { entries[position].key }

    subscript(position: Int) -> Value {
        @inline(__always) get { entries[position].value }
        @inline(__always) set { entries[position].value = newValue }
    }

    /// Adds a text that is not empty and not in the table yet.
    mutating func insert(_ text: UnsafeRawBufferPointer, _ value: Value) {
        let key = UnsafeMutableRawBufferPointer.allocate(byteCount: text.count, alignment: 1)
        key.copyMemory(from: text)
        let entry = Entry(key: UnsafeRawBufferPointer(key), value: value)
        let position = free.popLast() ?? entries.count
        if position == entries.count { entries.append(entry) } else { entries[position] = entry }
        index.insert(hash.of(text), position)
    }

    mutating func remove(at position: Int) {
        index.remove(hash.of(entries[position].key), position)
        entries[position].key.deallocate()
        entries[position].key = .init(start: nil, count: 0)
        free.append(position)
    }
}

// An array that cannot be shared. Swift's own is held while it is read from, which is two atomic instructions each
// time; the tables that every request looks into are read from several times.

/// An array of plain values, in memory of its own.
struct SoleArray<Element: BitwiseCopyable>: ~Copyable {
    private var start: UnsafeMutablePointer<Element>
    private var capacity: Int
    private(set) var count: Int

    init(repeating element: Element, count: Int) {
        start = .allocate(capacity: max(1, count))
        start.initialize(repeating: element, count: count)
        capacity = max(1, count)
        self.count = count
    }

    init() {
        start = .allocate(capacity: 1)
        capacity = 1
        count = 0
    }

    deinit { start.deallocate() }

    /// - Precondition: `index` is in `0..<count`; checked in debug builds.
    subscript(index: Int) -> Element {
        @inline(__always) get {
            assert(index >= 0 && index < count)
            return start[index]
        }
        @inline(__always) set {
            assert(index >= 0 && index < count)
            start[index] = newValue
        }
    }

    mutating func append(_ element: Element) {
        if count == capacity { grow() }
        (start + count).initialize(to: element)
        count += 1
    }

    private mutating func grow() {
        let larger = UnsafeMutablePointer<Element>.allocate(capacity: 2 * capacity)
        larger.moveInitialize(from: start, count: count)
        start.deallocate()
        (start, capacity) = (larger, 2 * capacity)
    }
}

// The readers that wait for more of a growing blob. There may be ten thousand, so the cost of parking, leaving and
// waking does not depend on their number.

/// Readers in the order in which they were parked.
struct ParkedReaders {
    /// The index of a parked reader, valid until the reader is woken or leaves.
    typealias Place = Int

    private struct Node {
        var reader: (any GrowingReader)?
        var ticket: UInt64 = 0
        var previous = ParkedReaders.none
        /// The next node in order; in a free node, the next free node.
        var next = ParkedReaders.none
    }

    private static let none = -1

    private var nodes: [Node] = []
    private var first = ParkedReaders.none
    private var last = ParkedReaders.none
    private var firstFree = ParkedReaders.none
    private(set) var count = 0
    /// The ticket of the next reader to be parked; readers parked earlier have smaller ones.
    private(set) var nextTicket: UInt64 = 0

    mutating func park(_ reader: any GrowingReader) -> Place {
        let node = Node(reader: reader, ticket: nextTicket, previous: last)
        nextTicket += 1
        count += 1
        let place: Place
        if firstFree == ParkedReaders.none {
            place = nodes.count
            nodes.append(node)
        } else {
            place = firstFree
            firstFree = nodes[place].next
            nodes[place] = node
        }
        if last == ParkedReaders.none { first = place } else { nodes[last].next = place }
        last = place
        return place
    }

    /// Removes a reader whose client has left; no effect if it is not parked there any more.
    mutating func remove(_ reader: any GrowingReader, at place: Place) {
        guard nodes.indices.contains(place), nodes[place].reader === reader else { return }
        unlink(place)
    }

    /// Whether a reader with a smaller ticket is parked.
    func hasAny(before ticket: UInt64) -> Bool { first != ParkedReaders.none && nodes[first].ticket < ticket }

    /// Removes the reader that was parked first, if its ticket is smaller.
    mutating func popFirst(before ticket: UInt64) -> (any GrowingReader)? {
        guard hasAny(before: ticket) else { return nil }
        let reader = nodes[first].reader
        unlink(first)
        return reader
    }

    private mutating func unlink(_ place: Place) {
        let node = nodes[place]
        if node.previous == ParkedReaders.none { first = node.next } else { nodes[node.previous].next = node.next }
        if node.next == ParkedReaders.none { last = node.previous } else { nodes[node.next].previous = node.previous }
        nodes[place] = Node(reader: nil, next: firstFree)
        firstFree = place
        count -= 1
    }
}

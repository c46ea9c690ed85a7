// The readers that have caught up with a growing blob. There may be ten thousand, so coming, leaving and being woken
// cost the same however many there are.

/// Readers in the order in which they were parked.
struct ParkedReaders {
    /// Where a parked reader is. It stays good until the reader is woken or leaves.
    typealias Place = Int

    private struct Node {
        var reader: (any GrowingReader)?
        var ticket: UInt64 = 0
        var previous = ParkedReaders.none
        /// The next in order; of a free node the next free one.
        var next = ParkedReaders.none
    }

    private static let none = -1

    private var nodes: [Node] = []
    private var first = ParkedReaders.none
    private var last = ParkedReaders.none
    private var firstFree = ParkedReaders.none
    private(set) var count = 0
    /// The ticket of the next reader to be parked; those parked before have smaller ones.
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

    /// Takes out a reader that has gone; nothing if it is not parked there any more.
    mutating func remove(_ reader: any GrowingReader, at place: Place) {
        guard nodes.indices.contains(place), nodes[place].reader === reader else { return }
        unlink(place)
    }

    /// Whether a reader waits that was parked before the one with this ticket.
    func hasAny(before ticket: UInt64) -> Bool { first != ParkedReaders.none && nodes[first].ticket < ticket }

    /// Takes out the reader that has been parked for longest, if it was parked before the one with this ticket.
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

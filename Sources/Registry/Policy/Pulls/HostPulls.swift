// One host's part of a PullQueue: its waiting pulls, its running pulls, and its limits.

internal import DequeModule

/// The pulls of one host. `PullQueue` knows which of them are still wanted.
struct HostPulls<Key: Hashable> {
    typealias Demand = PullQueue<Key>.Demand

    /// How long a host that answered 429 gets fewer requests: a limit per minute has room again by then.
    static var slowdownMilliseconds: UInt64 { 60_000 }
    /// Minimum time between two reductions for one host: requests for several repositories that were sent together are
    /// also refused together.
    static var slowdownStepMilliseconds: UInt64 { 1_000 }
    /// Client pulls that may run however often a host answers 429: what one client opens by itself. A repository that
    /// is limited all the time must not make the host's other repositories wait for one another.
    static var slowestClientLimit: Int { PullQueue<Key>.maximumPrefetchPerHost }
    /// Stale places are removed once there are this many, and more of them than live ones.
    static var toleratedPlaces: Int { 64 }

    /// A pull's position in a line. It is stale once the pull has left the line.
    struct Place {
        let key: Key
        let ticket: UInt64
    }

    /// The pulls of one demand, in order.
    private struct Line {
        var places: Deque<Place> = []
        /// Places whose pull still waits; the others are stale.
        var waiting = 0
        var running = 0
        /// Whether the host is in the queue's round for this demand.
        var isInRound = false
    }

    /// A reduced limit after a 429.
    private struct Slowdown {
        var clientLimit: Int
        var startMilliseconds: UInt64
        var endMilliseconds: UInt64
    }

    /// Concurrent client pulls.
    var clientLimit: Int
    private var clients = Line()
    private var prefetch = Line()
    private var slowdown: Slowdown?

    init(clientLimit: Int) { self.clientLimit = clientLimit }

    var isIdle: Bool {
        slowdown == nil && clients.waiting == 0 && prefetch.waiting == 0 && clients.running == 0
            && prefetch.running == 0
            && !clients.isInRound && !prefetch.isInRound
    }

    // MARK: Lines

    mutating func line(up key: Key, _ ticket: UInt64, _ demand: Demand, atFront: Bool) {
        change(demand) { line in
            line.waiting += 1
            let place = Place(key: key, ticket: ticket)
            if atFront { line.places.prepend(place) } else { line.places.append(place) }
        }
    }

    /// Records that a waiting pull has left the line; its place becomes stale.
    /// - Returns: whether the stale places must be removed now.
    mutating func leftLine(_ demand: Demand) -> Bool {
        change(demand) { line in
            line.waiting -= 1
            let stale = line.places.count - line.waiting
            return stale >= HostPulls.toleratedPlaces && stale > line.waiting
        }
    }

    mutating func takePlaces(_ demand: Demand) -> Deque<Place> {
        change(demand) { line in
            var places: Deque<Place> = []
            swap(&places, &line.places)
            return places
        }
    }

    mutating func putBack(_ places: Deque<Place>, _ demand: Demand) { change(demand) { $0.places = places } }

    mutating func popFirst(_ demand: Demand) -> Place? { change(demand) { $0.places.popFirst() } }

    /// Records that the pull of the place taken last runs.
    mutating func started(_ demand: Demand) { change(demand) { $0.waiting -= 1 } }

    mutating func count(_ demand: Demand, _ difference: Int) { change(demand) { $0.running += difference } }

    // MARK: Rounds

    /// Adds the host to the round if it has a pull to start; true if it was added.
    mutating func joinRound(_ demand: Demand) -> Bool {
        let hasRoom = hasRoom(demand)
        return change(demand) { line in
            guard !line.isInRound, line.waiting > 0, hasRoom else { return false }
            line.isInRound = true
            return true
        }
    }

    /// Takes the host out of the round for its turn; true if it still has room to start a pull.
    mutating func leaveRound(_ demand: Demand) -> Bool {
        change(demand) { $0.isInRound = false }
        return hasRoom(demand)
    }

    private func hasRoom(_ demand: Demand) -> Bool {
        switch demand {
        case .client: clients.running < slowdown?.clientLimit ?? clientLimit
        case .prefetch: slowdown == nil && prefetch.running < min(clientLimit, PullQueue<Key>.maximumPrefetchPerHost)
        }
    }

    private mutating func change<Result>(_ demand: Demand, _ body: (inout Line) -> Result) -> Result {
        demand == .client ? body(&clients) : body(&prefetch)
    }

    // MARK: Slow hosts

    /// Halves the limit of client pulls and stops prefetching, for a minute.
    /// - Returns: when the slowdown ends.
    mutating func slowDown(now: UInt64) -> UInt64 {
        let end = now + HostPulls.slowdownMilliseconds
        guard let last = slowdown else {
            slowdown = Slowdown(
                clientLimit: halved(clientLimit), startMilliseconds: now, endMilliseconds: end)
            return end
        }
        slowdown?.endMilliseconds = end
        if now >= last.startMilliseconds + HostPulls.slowdownStepMilliseconds {
            let limit = halved(last.clientLimit)
            slowdown?.clientLimit = limit
            slowdown?.startMilliseconds = now
        }
        return end
    }

    private func halved(_ limit: Int) -> Int { min(clientLimit, max(HostPulls.slowestClientLimit, limit / 2)) }

    /// When the slowdown ends; nil when there is none any more.
    mutating func slowdownEnd(now: UInt64) -> UInt64? {
        if let slowdown, slowdown.endMilliseconds > now { return slowdown.endMilliseconds }
        slowdown = nil
        return nil
    }
}

// One host's share of a PullQueue: what waits, how much runs, and how much may run.

internal import DequeModule

/// The pulls of one host. The queue knows which of them are still wanted.
struct HostPulls<Key: Hashable> {
    typealias Demand = PullQueue<Key>.Demand

    /// How long a host that has answered 429 is asked for less: a limit by the minute has room again by then.
    static var slowdownMilliseconds: UInt64 { 60_000 }
    /// A host is not slowed down further before this has passed: requests of several repositories that were sent at the
    /// same time are refused together.
    static var slowdownStepMilliseconds: UInt64 { 1_000 }
    /// Pulls of clients that run however often a host answers 429: what one client opens by itself, so that a
    /// repository that is limited all the time does not make its host's other repositories wait for one another.
    static var slowestClientLimit: Int { PullQueue<Key>.maximumPrefetchPerHost }
    /// Places whose pull has left are taken out when there are this many, and more of them than others.
    static var toleratedPlaces: Int { 64 }

    struct Place {
        let key: Key
        let ticket: UInt64
    }

    private struct Line {
        var places: Deque<Place> = []
        /// Places whose pull still waits.
        var waiting = 0
        var running = 0
        /// Whether the host is in the queue's round of this demand.
        var isInRound = false
    }

    private struct Slowdown {
        var clientLimit: Int
        var startMilliseconds: UInt64
        var endMilliseconds: UInt64
    }

    private var clients = Line()
    private var prefetch = Line()
    private var slowdown: Slowdown?

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

    /// A waiting pull has left its place.
    /// - Returns: whether the places whose pull has left are to be taken out.
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

    /// The pull of the place taken last runs.
    mutating func started(_ demand: Demand) { change(demand) { $0.waiting -= 1 } }

    mutating func count(_ demand: Demand, _ difference: Int) { change(demand) { $0.running += difference } }

    // MARK: Rounds

    /// Takes the host into the round if it has something to start; true if it was not in it.
    mutating func joinRound(_ demand: Demand) -> Bool {
        let hasRoom = hasRoom(demand)
        return change(demand) { line in
            guard !line.isInRound, line.waiting > 0, hasRoom else { return false }
            line.isInRound = true
            return true
        }
    }

    /// It is the host's turn; true if it may start something still.
    mutating func leaveRound(_ demand: Demand) -> Bool {
        change(demand) { $0.isInRound = false }
        return hasRoom(demand)
    }

    private func hasRoom(_ demand: Demand) -> Bool {
        switch demand {
        case .client: clients.running < slowdown?.clientLimit ?? PullQueue<Key>.maximumForClientsPerHost
        case .prefetch: slowdown == nil && prefetch.running < PullQueue<Key>.maximumPrefetchPerHost
        }
    }

    private mutating func change<Result>(_ demand: Demand, _ body: (inout Line) -> Result) -> Result {
        demand == .client ? body(&clients) : body(&prefetch)
    }

    // MARK: Slow hosts

    /// For a minute, halves the pulls that may run for clients, and stops prefetching.
    /// - Returns: when that is over.
    mutating func slowDown(now: UInt64) -> UInt64 {
        let end = now + HostPulls.slowdownMilliseconds
        guard let last = slowdown else {
            slowdown = Slowdown(
                clientLimit: PullQueue<Key>.maximumForClientsPerHost / 2, startMilliseconds: now, endMilliseconds: end)
            return end
        }
        slowdown?.endMilliseconds = end
        if now >= last.startMilliseconds + HostPulls.slowdownStepMilliseconds {
            slowdown?.clientLimit = max(HostPulls.slowestClientLimit, last.clientLimit / 2)
            slowdown?.startMilliseconds = now
        }
        return end
    }

    /// When the slowdown is over; nil when it is, or there is none.
    mutating func slowdownEnd(now: UInt64) -> UInt64? {
        if let slowdown, slowdown.endMilliseconds > now { return slowdown.endMilliseconds }
        slowdown = nil
        return nil
    }
}

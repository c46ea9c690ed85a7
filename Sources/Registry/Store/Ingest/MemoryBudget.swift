// The budget for bytes in memory between upstreams and the disk: buffers of blobs, manifests being fetched, and
// manifests and names that are not on disk yet. A disk slower than the upstreams makes them wait: transfers pause, and
// manifests are requested later.

internal import DequeModule
package import OCI

/// A limit on bytes in memory, with a first-come, first-served queue.
package final class MemoryBudget {
    /// Bytes that a fetch may hold before it asks for more: nearly every manifest is smaller.
    static let firstBytes = 16 * 1024
    /// Fetches that wait for their first bytes: as many as there may be requests at once. A later one would not begin
    /// before its client gives up.
    static let maximumWaitingFetches = 1024

    package let limitBytes: Int
    /// Bytes held now. A transfer that is asked to pause has already delivered up to 16 KiB (libcurl's
    /// CURL_MAX_WRITE_SIZE), which are held beyond the limit.
    package private(set) var heldBytes = 0

    /// The purpose of bytes. A fetch may hold its bytes for as long as its upstream takes, so fetches have limited
    /// shares: content that only waits for the disk never waits for an upstream.
    private enum Use {
        case disk
        /// A fetch's first bytes: all fetches together get a quarter of the limit.
        case first
        /// The further bytes of a fetch, taken at once: all fetches together get half of the limit, one upstream a
        /// quarter.
        case rest(RegistryHost)
    }

    private struct Waiter {
        let number: Int
        let bytes: Int
        let use: Use
        let then: () -> Void
    }

    private let loop: EventLoop
    /// Waiters that need the total to fall.
    private var waiting: Deque<Waiter> = []
    /// Waiters that need a share to fall.
    private var capped: Deque<Waiter> = []
    private var waitingFetches = 0
    private var nextNumber = 0
    private var firstsBytes = 0
    private var restBytes = 0
    private var restBytesByHost: [RegistryHost: Int] = [:]
    private var isServeScheduled = false

    package init(on loop: EventLoop, limitBytes: Int) {
        self.loop = loop
        self.limitBytes = limitBytes
    }

    /// Whether a source of bytes must pause.
    var isFull: Bool { heldBytes >= limitBytes || !waiting.isEmpty }

    /// Whether one more fetch may wait for its first bytes.
    package var hasPlace: Bool { waitingFetches < MemoryBudget.maximumWaitingFetches }

    /// Counts bytes that are in memory already.
    func hold(_ bytes: Int) { heldBytes += bytes }

    /// Stops counting bytes that have been freed.
    func release(_ bytes: Int) {
        heldBytes -= bytes
        scheduleServe()
    }

    /// Calls `then` when more may be held: at once, or after earlier waiters.
    /// - Returns: while it waits, the number for `cancel`.
    func whenRoom(then: @escaping () -> Void) -> Int? { take(0, .disk, then) }

    /// Ends a wait.
    func cancel(_ number: Int) {
        if let place = waiting.firstIndex(where: { $0.number == number }) {
            let waiter = waiting.remove(at: place)
            leaveShare(waiter.bytes, waiter.use)
            noteWaiting(waiter, -1)
            scheduleServe()
        } else if let place = capped.firstIndex(where: { $0.number == number }) {
            noteWaiting(capped.remove(at: place), -1)
        }
    }

    private func take(_ bytes: Int, _ use: Use, _ then: @escaping () -> Void) -> Int? {
        let waiter = Waiter(number: nextNumber, bytes: bytes, use: use, then: then)
        nextNumber &+= 1
        let hasShare = enterShare(bytes, use)
        if hasShare, waiting.isEmpty, fits(bytes) {
            heldBytes += bytes
            then()
            return nil
        }
        if hasShare { waiting.append(waiter) } else { capped.append(waiter) }
        noteWaiting(waiter, 1)
        return waiter.number
    }

    private func noteWaiting(_ waiter: Waiter, _ difference: Int) {
        if case .first = waiter.use { waitingFetches += difference }
    }

    /// A request larger than the limit would wait for ever; it is granted when hardly any other bytes are held.
    private func fits(_ bytes: Int) -> Bool {
        heldBytes < limitBytes && (heldBytes + bytes <= limitBytes || heldBytes <= MemoryBudget.firstBytes)
    }

    // MARK: Shares

    /// Takes bytes from a share; false when too little is left. A single request may always exceed its share.
    private func enterShare(_ bytes: Int, _ use: Use) -> Bool {
        func has(_ held: Int, _ part: Int) -> Bool { held == 0 || held + bytes <= limitBytes / part }
        switch use {
        case .disk: break
        case .first:
            guard has(firstsBytes, 4) else { return false }
            firstsBytes += bytes
        case .rest(let host):
            let ofHost = restBytesByHost[host] ?? 0
            guard has(restBytes, 2), has(ofHost, 4) else { return false }
            restBytes += bytes
            restBytesByHost[host] = ofHost + bytes
        }
        return true
    }

    private func leaveShare(_ bytes: Int, _ use: Use) {
        switch use {
        case .disk: break
        case .first: firstsBytes -= bytes
        case .rest(let host):
            restBytes -= bytes
            let left = (restBytesByHost[host] ?? 0) - bytes
            restBytesByHost[host] = left > 0 ? left : nil
        }
    }

    // MARK: Serving

    /// Deferred, once for all releases of an iteration, since bytes are released in the middle of other work.
    private func scheduleServe() {
        guard !isServeScheduled, !waiting.isEmpty || !capped.isEmpty else { return }
        isServeScheduled = true
        loop.deferred.enqueue { [weak self] in self?.serve() }
    }

    private func serve() {
        isServeScheduled = false
        // Each waiter is tried once; those that stay keep their order.
        for _ in 0..<capped.count {
            guard let waiter = capped.popFirst() else { break }
            if enterShare(waiter.bytes, waiter.use) { waiting.append(waiter) } else { capped.append(waiter) }
        }
        // Waiters added during this loop are not served by it.
        for _ in 0..<waiting.count {
            guard let waiter = waiting.first, fits(waiter.bytes) else { return }
            waiting.removeFirst()
            noteWaiting(waiter, -1)
            heldBytes += waiter.bytes
            waiter.then()
        }
    }
}

// MARK: For fetches

extension MemoryBudget {
    fileprivate func takeFirst(then: @escaping () -> Void) -> Int? { take(MemoryBudget.firstBytes, .first, then) }

    fileprivate func takeRest(_ bytes: Int, _ host: RegistryHost, then: @escaping () -> Void) -> Int? {
        take(bytes, .rest(host), then)
    }

    fileprivate func releaseFirst() {
        leaveShare(MemoryBudget.firstBytes, .first)
        release(MemoryBudget.firstBytes)
    }

    fileprivate func releaseRest(_ bytes: Int, _ host: RegistryHost) {
        leaveShare(bytes, .rest(host))
        release(bytes)
    }
}

/// The bytes of a budget that one fetch holds. They are released by `release`, or with the last reference.
package final class MemoryHold {
    private let budget: MemoryBudget
    private let host: RegistryHost
    private var hasFirst = false
    private var restBytes = 0
    private var ticket: Int?

    package init(of budget: MemoryBudget, for host: RegistryHost) {
        self.budget = budget
        self.host = host
    }

    deinit { release() }

    /// Bytes that the fetch may hold.
    package var bytes: Int { (hasFirst ? MemoryBudget.firstBytes : 0) + restBytes }

    /// Waits for the first bytes. If there is room, `then` runs before the call returns.
    package func begin(then: @escaping () -> Void) {
        let number = budget.takeFirst { [unowned self] in
            ticket = nil
            hasFirst = true
            then()
        }
        // If `then` has run, it may have set `ticket` for a further wait.
        if let number { ticket = number }
    }

    /// Waits once for all bytes beyond the first ones. If there is room, `then` runs before the call returns.
    package func grow(to bytes: Int, then: @escaping () -> Void) {
        let more = bytes - self.bytes
        guard more > 0, restBytes == 0 else { return then() }
        let number = budget.takeRest(more, host) { [unowned self] in
            ticket = nil
            restBytes = more
            then()
        }
        if let number { ticket = number }
    }

    /// Releases the bytes beyond this number.
    package func shrink(to bytes: Int) {
        let spare = min(restBytes, self.bytes - bytes)
        guard spare > 0 else { return }
        restBytes -= spare
        budget.releaseRest(spare, host)
    }

    package func release() {
        if let ticket { budget.cancel(ticket) }
        ticket = nil
        if restBytes > 0 { budget.releaseRest(restBytes, host) }
        restBytes = 0
        if hasFirst { budget.releaseFirst() }
        hasFirst = false
    }
}

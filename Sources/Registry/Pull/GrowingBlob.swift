// A pull is a growing file, and this is the file as its readers see it: how much of it may be read, and whether more
// will come. The first client, one that joins, one that is late and one that wants a range are all the same: a cursor
// that parks here when it has caught up.

package import OCI

/// One that reads a growing blob and has caught up with it.
package protocol GrowingReader: AnyObject {
    /// More may be read, or the end is known; look again.
    func growingBlobAdvanced()
}

/// A blob on its way from an upstream.
package final class GrowingBlob {
    /// What is known of it so far.
    package enum Phase {
        /// The upstream has not answered.
        case asking
        /// Bytes are coming.
        case growing
        /// All is there and its digest is right.
        case complete
        /// Nothing more will come.
        case failed(RegistryError)
    }

    package let key: PullKey
    package private(set) var phase: Phase = .asking
    /// The whole size; nil until the upstream has said, or at the end.
    package private(set) var sizeBytes: Int64?
    /// What to read from; set once the phase is `growing`.
    package private(set) var file: OpenFile?
    /// Readers may read up to here. One byte stays behind it until the digest is known to be right, so that a wrong
    /// body is never a complete one.
    package private(set) var readableBytes: Int64 = 0
    /// Counts the fresh starts: a reader that has been given bytes of an older file cannot go on with a newer one.
    package private(set) var generation = 0

    /// Readers woken in one iteration of the loop: each may send up to `BodyPump.bytesPerTurn`, and all other
    /// connections wait until then.
    static let maximumWokenPerIteration = 64

    private let loop: EventLoop
    private var parked = ParkedReaders()
    /// Readers parked before the one with this ticket are to be woken.
    private var wakeTicket: UInt64 = 0
    private var isWaking = false
    private var waitingForHead: [() -> Void] = []

    init(key: PullKey, loop: EventLoop) {
        self.key = key
        self.loop = loop
    }

    /// Whether all is there and verified.
    package var isComplete: Bool { if case .complete = phase { true } else { false } }

    /// Calls `then`, after this call has returned, when the upstream has answered or the pull has failed. Where many
    /// wait, some are called in later iterations.
    package func whenAnswered(_ then: @escaping () -> Void) {
        if case .asking = phase { waitingForHead.append(then) } else { loop.deferred.enqueue(then) }
    }

    /// Parks a reader until something changes. One call wakes it once.
    /// - Returns: its place, for `unpark`.
    @discardableResult
    package func park(_ reader: any GrowingReader) -> Int { parked.park(reader) }

    /// Forgets a parked reader that has gone.
    package func unpark(_ reader: any GrowingReader, at place: Int) { parked.remove(reader, at: place) }

    // MARK: Told by the pull

    func opened(_ file: OpenFile) {
        self.file = file
    }

    /// The upstream has answered.
    func announce(sizeBytes: Int64?) {
        self.sizeBytes = sizeBytes
        phase = .growing
        tellHeadWaiters()
    }

    /// Bytes are in the file up to `written`.
    func grew(to written: Int64) {
        guard case .growing = phase else { return }
        let limit = min(written, (sizeBytes ?? written) - 1)
        guard limit > readableBytes else { return }
        readableBytes = limit
        wake()
    }

    /// The digest is right: the last byte may go.
    func complete(sizeBytes: Int64) {
        self.sizeBytes = sizeBytes
        readableBytes = sizeBytes
        phase = .complete
        tellHeadWaiters()
        wake()
    }

    func fail(_ error: RegistryError) {
        phase = .failed(error)
        tellHeadWaiters()
        wake()
    }

    /// The file so far was wrong; a new, empty one takes its place.
    func startOver(with file: OpenFile) {
        self.file = file
        generation += 1
        readableBytes = 0
        wake()
    }

    private func tellHeadWaiters() {
        let waiting = waitingForHead
        waitingForHead = []
        loop.deferred.forEach(waiting) { $0() }
    }

    /// Wakes everyone who is parked now, in order, so many in an iteration. Those who park again meanwhile have seen
    /// what there is and wait for the next call.
    private func wake() {
        wakeTicket = parked.nextTicket
        if !isWaking { wakeSome() }
    }

    private func wakeSome() {
        isWaking = true
        var budget = GrowingBlob.maximumWokenPerIteration
        while budget > 0, let reader = parked.popFirst(before: wakeTicket) {
            reader.growingBlobAdvanced()
            budget -= 1
        }
        isWaking = parked.hasAny(before: wakeTicket)
        if isWaking { loop.deferred.enqueue { [self] in wakeSome() } }
    }
}

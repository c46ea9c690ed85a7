// A pull is a growing file, as its readers see it: how much of it may be read, and whether more will come. The first
// client, a client that joins, a late client and a Range request are all the same: a cursor that parks here when it has
// read everything.

package import OCI

/// A reader of a growing blob.
package protocol GrowingReader: AnyObject {
    /// Called when more may be read, or the end is known; the reader then checks the blob again.
    func growingBlobAdvanced()
}

/// A blob that is being pulled from an upstream.
package final class GrowingBlob {
    /// The state of the pull.
    package enum Phase {
        /// The upstream has not answered yet.
        case asking
        /// The upstream has answered, and bytes are arriving.
        case growing
        /// The blob is complete and its digest is verified.
        case complete
        /// The pull has failed; no more bytes will arrive.
        case failed(RegistryError)
    }

    package let key: PullKey
    package private(set) var phase: Phase = .asking
    /// The whole size; nil until the upstream states it or the body ends.
    package private(set) var sizeBytes: Int64?
    /// The file to read from; set before the phase becomes `growing`.
    package private(set) var file: OpenFile?
    /// What to read from instead of a file, where the cache has no room for the blob.
    package private(set) var window: PassingWindow?
    /// Readers may read up to here. One byte is held back until the digest is verified, so that a wrong body is never
    /// complete.
    package private(set) var readableBytes: Int64 = 0
    /// What the file has further on, or is about to have, since it was requested ahead.
    var ahead = AheadSpans()
    /// How far ahead of the pull a range is distant; nil while no requests ahead are made.
    var distanceBytes: Int64?
    /// Called when a reader wants bytes that the file does not have, and may be sent them before they are verified.
    var onDistantRead: ((Range<Int64>) -> Void)?
    /// Counts fresh starts: a reader that was given bytes of an older file cannot continue with a newer one.
    package private(set) var generation = 0

    /// Readers woken in one iteration: each may send up to `BodyPump.bytesPerIteration`, and all other connections wait
    /// meanwhile.
    static let maximumWokenPerIteration = 64

    private let loop: EventLoop
    private var parked = ParkedReaders()
    /// Readers with a smaller ticket are to be woken.
    private var wakeTicket: UInt64 = 0
    private var isWaking = false
    private var waitingForHead: [() -> Void] = []

    init(key: PullKey, loop: EventLoop) {
        self.key = key
        self.loop = loop
    }

    /// Whether the blob is complete and verified.
    package var isComplete: Bool { if case .complete = phase { true } else { false } }

    /// Calls `then`, after this call has returned, when the upstream has answered or the pull has failed. Where many
    /// wait, some are called in later iterations.
    package func whenAnswered(_ then: @escaping () -> Void) {
        if case .asking = phase { waitingForHead.append(then) } else { loop.deferred.enqueue(then) }
    }

    /// Whether a reader that begins at `position` may be sent bytes that were requested ahead.
    func isDistant(_ position: Int64) -> Bool {
        guard let distanceBytes else { return false }
        return position.subtractingSaturated(readableBytes) > distanceBytes
    }

    /// The end of the bytes that can be read from `position` on; not above `position` when there are none yet.
    /// - Parameters:
    ///   - wanted: the end of what the reader wants next.
    ///   - readsAhead: whether it reads a range that may be sent before the digest is verified.
    func readableEnd(from position: Int64, wanted: Int64, readsAhead: Bool) -> Int64 {
        guard readsAhead, position >= readableBytes, case .growing = phase else { return readableBytes }
        if let end = ahead.writtenEnd(at: position) { return end }
        onDistantRead?(position..<max(position, wanted))
        return readableBytes
    }

    /// Parks a reader until something changes; each park allows one wake-up.
    /// - Returns: its place, for `unpark`.
    @discardableResult
    package func park(_ reader: any GrowingReader) -> Int { parked.park(reader) }

    /// Removes a parked reader whose client has left.
    package func unpark(_ reader: any GrowingReader, at place: Int) { parked.remove(reader, at: place) }

    // MARK: Called by the pull

    func opened(_ file: OpenFile) {
        self.file = file
    }

    func opened(_ window: PassingWindow) {
        file = nil
        self.window = window
    }

    /// Records that the upstream has answered.
    func announce(sizeBytes: Int64?) {
        self.sizeBytes = sizeBytes
        phase = .growing
        tellHeadWaiters()
    }

    /// Records that the file holds the bytes up to `written`.
    func grew(to written: Int64) {
        guard case .growing = phase else { return }
        let limit = min(written, (sizeBytes ?? written) - 1)
        guard limit > readableBytes else { return }
        readableBytes = limit
        wake()
    }

    /// Records that the digest is verified: readers may send the last byte.
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

    /// Records that the content so far was wrong; a new file follows.
    func startOver() {
        file = nil
        generation += 1
        readableBytes = 0
        wake()
    }

    private func tellHeadWaiters() {
        let waiting = waitingForHead
        waitingForHead = []
        loop.deferred.forEach(waiting) { $0() }
    }

    /// Wakes all parked readers in order, a limited number per iteration. Readers that park again meanwhile have seen
    /// the current state and wait for the next call.
    func wake() {
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

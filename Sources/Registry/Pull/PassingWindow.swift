// A blob that passes through without being stored: the bytes that have come and that not every reader has taken. They
// are hashed as they pass, and the last one is withheld until the digest is right, as for a blob that is stored.

internal import DequeModule
internal import OCI

/// The bytes between the slowest reader of a passing blob and its upstream.
package final class PassingWindow: PullSink {
    /// Bytes kept for the slowest reader. When the window is full, the upstream transfer pauses. With
    /// `Puller.maximumPassing` this bounds the memory of all passing blobs.
    static let limitBytes: Int64 = 2 * 1024 * 1024
    /// Time that a full window waits before readers that are half a window behind the fastest one are cut off. They can
    /// continue with a transfer of their own.
    static let patienceMilliseconds: UInt64 = 5_000
    /// Without a reader for this long, the transfer ends.
    static let idleMilliseconds: UInt64 = 5_000

    /// Bytes that one piece takes, however small the pieces are in which they come.
    static let pieceBytes = 64 * 1024

    private let digest: Digest
    private let loop: EventLoop
    private let hashing: SerialOffload
    private let hash: IngestHash
    /// Bytes that wait for the job that hashes, and bytes that it has.
    private var unhashed: [UInt8] = []
    private var hashingBytes = 0
    /// In order, without gaps.
    private var pieces: Deque<Piece> = []
    /// The first byte that is still here, or that will be the first one.
    package private(set) var firstByte: Int64
    private(set) var writtenBytes: Int64
    private var readers: [ObjectIdentifier: Int64] = [:]
    /// The position of the slowest reader, and how many are there: with thousands of readers, the minimum is not looked
    /// for each time that one of them advances.
    private var slowestPosition: Int64
    private var slowestCount = 0
    private var isPaused = false
    private var isOver = false
    private var timer: Timer?
    private var isProgressEnqueued = false

    private struct Piece {
        let start: Int64
        var bytes: [UInt8]
        var end: Int64 { start + Int64(bytes.count) }
    }

    var onProgress: (() -> Void)?
    var onDrained: (() -> Void)?
    var onFailure: ((StoreError) -> Void)?
    /// Called once when it has no readers.
    var onAbandoned: (() -> Void)?
    /// Called once, when it has ended and has no readers.
    var onReleased: (() -> Void)?
    /// Called when a reader has been cut off.
    var onCut: (() -> Void)?
    /// Whether others wait for a window, so that a reader that takes nothing must go.
    var isContended: () -> Bool = { false }

    /// - Parameter first: the offset of the first byte that will come.
    init(digest: Digest, first: Int64 = 0, loop: EventLoop, offload: Offload) {
        self.digest = digest
        self.loop = loop
        hashing = SerialOffload(offload)
        hash = IngestHash(digest.algorithm)
        firstByte = first
        writtenBytes = first
        slowestPosition = first
    }

    // MARK: For readers

    /// Begins to read at `position`.
    /// - Returns: false when the window has passed it already.
    func attach(_ reader: AnyObject, at position: Int64) -> Bool {
        guard position >= firstByte else { return false }
        let isFirst = readers.isEmpty
        readers[ObjectIdentifier(reader)] = position
        if isFirst || position < slowestPosition {
            (slowestPosition, slowestCount) = (position, 1)
            drop(before: position)
        } else if position == slowestPosition {
            slowestCount += 1
        }
        // The timer of a window without readers says nothing of this one.
        if !isPaused { stopTimer() }
        return true
    }

    /// The bytes from `position` on, as far as they are in one piece; nil when the window does not have them. Valid
    /// until the next call.
    func bytes(from position: Int64, upTo limit: Int64) -> ArraySlice<UInt8>? {
        guard position >= firstByte, let piece = pieces.first(where: { position < $0.end }) else { return nil }
        let start = Int(position - piece.start)
        return piece.bytes[start..<min(piece.bytes.count, start + Int(limit - position))]
    }

    /// A reader has taken the bytes before `position`.
    func advance(_ reader: AnyObject, to position: Int64) {
        guard let former = readers.updateValue(position, forKey: ObjectIdentifier(reader)) else {
            readers[ObjectIdentifier(reader)] = nil
            return
        }
        moved(from: former, to: position)
    }

    func detach(_ reader: AnyObject) {
        guard let former = readers.removeValue(forKey: ObjectIdentifier(reader)) else { return }
        moved(from: former, to: .max)
        guard readers.isEmpty else { return }
        if isOver { reportRelease() } else { startTimer() }
    }

    private func moved(from former: Int64, to position: Int64) {
        guard former == slowestPosition, position > former else { return }
        slowestCount -= 1
        if slowestCount <= 0 { findSlowest() }
    }

    private func findSlowest() {
        guard let least = readers.values.min() else { return }
        slowestPosition = least
        slowestCount = readers.values.reduce(0) { $0 + ($1 == least ? 1 : 0) }
        drop(before: least)
    }

    private var isFull: Bool {
        // The beginning stays until there is a reader.
        let kept = writtenBytes - (readers.isEmpty ? firstByte : max(firstByte, slowestPosition))
        return kept >= PassingWindow.limitBytes || unhashed.count + hashingBytes >= PassingWindow.limitBytes
    }

    /// Drops what every reader has taken.
    private func drop(before position: Int64) {
        while let piece = pieces.first, piece.end <= position { pieces.removeFirst() }
        firstByte = max(firstByte, min(position, writtenBytes))
        resume()
    }

    private func resume() {
        guard isPaused, !isFull else { return }
        isPaused = false
        stopTimer()
        onDrained?()
    }

    // MARK: Time

    private func stopTimer() {
        timer?.close()
        timer = nil
    }

    private func startTimer() {
        guard timer == nil else { return }
        let timer = Timer(on: loop) { [weak self] in self?.timerFired() }
        timer.start(
            afterMilliseconds: readers.isEmpty ? PassingWindow.idleMilliseconds : PassingWindow.patienceMilliseconds)
        self.timer = timer
    }

    private func timerFired() {
        stopTimer()
        if isOver { return clearIfContended() }
        if readers.isEmpty {
            let report = onAbandoned
            onAbandoned = nil
            report?()
            return
        }
        guard isPaused, isFull else { return }
        // Nothing is cut off unless the fastest reader is half a window ahead: a lone slow client keeps its transfer,
        // unless others wait for a window.
        let half = PassingWindow.limitBytes / 2
        let fastest = readers.values.reduce(0) { max($0, min($1, writtenBytes)) }
        let isHeldUp = fastest - slowestPosition >= half
        guard isHeldUp || isContended() else { return startTimer() }
        readers = readers.filter { isHeldUp ? fastest - min($0.value, fastest) < half : $0.value > slowestPosition }
        if readers.isEmpty { drop(before: writtenBytes) } else { findSlowest() }
        onCut?()
        if readers.isEmpty { startTimer() }
    }

    /// Readers that are slow to take the rest of an ended transfer must go when others wait for a window.
    private func clearIfContended() {
        guard !readers.isEmpty else { return }
        guard isContended() else { return startTimer() }
        readers = [:]
        drop(before: writtenBytes)
        reportRelease()
        onCut?()
    }

    // MARK: PullSink

    func attach(to blob: GrowingBlob) { blob.opened(self) }

    func append(_ bytes: UnsafeRawBufferPointer) -> Bool {
        guard !isOver, !bytes.isEmpty else { return true }
        if let last = pieces.last, last.bytes.count + bytes.count <= PassingWindow.pieceBytes {
            pieces[pieces.count - 1].bytes.append(contentsOf: bytes)
        } else {
            pieces.append(Piece(start: writtenBytes, bytes: Array(bytes)))
        }
        writtenBytes += Int64(bytes.count)
        unhashed.append(contentsOf: bytes)
        hashMore()
        // Readers that want bytes further on need none of these.
        if !readers.isEmpty { drop(before: slowestPosition) }
        enqueueProgress()
        isPaused = isFull
        if isPaused || readers.isEmpty { startTimer() }
        return !isPaused
    }

    /// Hashes what waits, one job at a time.
    private func hashMore() {
        guard hashingBytes == 0, !unhashed.isEmpty else { return }
        let (hash, bytes) = (hash, unhashed)
        unhashed = []
        hashingBytes = bytes.count
        hashing.run {
            bytes.withUnsafeBytes { hash.update($0) }
        } then: { [weak self] (_: Result<Void, any Error>) in
            self?.hashingBytes = 0
            self?.hashMore()
            self?.resume()
        }
    }

    /// Reports progress once an iteration, however many pieces arrive in it.
    private func enqueueProgress() {
        guard !isProgressEnqueued else { return }
        isProgressEnqueued = true
        loop.deferred.enqueue { [weak self] in
            self?.isProgressEnqueued = false
            self?.onProgress?()
        }
    }

    func reserve(totalBytes: Int64?, then: @escaping (StoreError?) -> Void) { loop.deferred.complete(then, nil) }

    func verify(then: @escaping (Result<Bool, StoreError>) -> Void) {
        let (hash, digest, rest) = (hash, digest, unhashed)
        unhashed = []
        hashing.attempt(
            { () throws(StoreError) in
                rest.withUnsafeBytes { hash.update($0) }
                return hash.digest() == digest
            }, then: then)
    }

    func keep(then: @escaping (StoreError?) -> Void) {
        loop.deferred.enqueue { [self] in
            end()
            then(nil)
        }
    }

    /// The readers have had the beginning, and a new one may differ from it.
    func startOver(then: @escaping (Result<any PullSink, StoreError>) -> Void) {
        end()
        loop.deferred.complete(then, .failure(.closed))
    }

    func suspend() { end() }
    func discard() { end() }

    /// Nothing more comes. Readers can take what is here.
    private func end() {
        isOver = true
        stopTimer()
        (onProgress, onDrained, onFailure, onAbandoned) = (nil, nil, nil, nil)
        if readers.isEmpty { reportRelease() } else { startTimer() }
    }

    private func reportRelease() {
        stopTimer()
        guard let report = onReleased else { return }
        onReleased = nil
        report()
    }
}

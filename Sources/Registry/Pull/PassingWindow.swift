// A blob that passes through without being stored: the bytes that have come and that not every reader has taken. They
// are hashed as they pass, and the last one is withheld until the digest is right, as for a blob that is stored.

internal import OCI

/// The bytes between the slowest reader of a passing blob and its upstream.
package final class PassingWindow: PullSink {
    /// Bytes that the fastest reader may be ahead of the slowest one. With `Puller.maximumPassing` this bounds the
    /// memory of all passing blobs.
    static let limitBytes: Int64 = 2 * 1024 * 1024
    /// A reader that holds up others for this long is cut off; it can continue with a transfer of its own.
    static let patienceMilliseconds: UInt64 = 5_000
    /// Without a reader for this long, the transfer ends.
    static let idleMilliseconds: UInt64 = 5_000

    private let digest: Digest
    private let loop: EventLoop
    private let hashing: SerialOffload
    private let hash: IngestHash
    private var unhashedBytes: Int64 = 0
    /// In order, without gaps.
    private var pieces: [(start: Int64, bytes: [UInt8])] = []
    /// The first byte that is still here, or that will be the first one.
    package private(set) var firstByte: Int64
    private(set) var writtenBytes: Int64
    private var readers: [ObjectIdentifier: Int64] = [:]
    private var hasRefused = false
    private var isOver = false
    private var timer: Timer?

    var onProgress: (() -> Void)?
    var onDrained: (() -> Void)?
    var onFailure: ((StoreError) -> Void)?
    /// Called once when nobody reads it any more.
    var onAbandoned: (() -> Void)?
    /// Called once, when it has ended and nobody reads it any more.
    var onReleased: (() -> Void)?
    /// Called when a reader has been cut off.
    var onCut: (() -> Void)?

    /// - Parameter first: the offset of the first byte that will come.
    init(digest: Digest, first: Int64 = 0, loop: EventLoop, offload: Offload) {
        self.digest = digest
        self.loop = loop
        hashing = SerialOffload(offload)
        hash = IngestHash(digest.algorithm)
        firstByte = first
        writtenBytes = first
        startTimer()
    }

    // MARK: For readers

    /// Begins to read at `position`.
    /// - Returns: false when the window has passed it already.
    func attach(_ reader: AnyObject, at position: Int64) -> Bool {
        guard position >= firstByte else { return false }
        readers[ObjectIdentifier(reader)] = position
        return true
    }

    /// The bytes from `position` on, as far as they are in one piece; nil when the window does not have them. Valid
    /// until the next call.
    func bytes(from position: Int64, upTo limit: Int64) -> ArraySlice<UInt8>? {
        guard position >= firstByte, let piece = pieces.first(where: { position < $0.start + Int64($0.bytes.count) })
        else { return nil }
        let start = Int(position - piece.start)
        let end = min(piece.bytes.count, start + Int(limit - position))
        return piece.bytes[start..<end]
    }

    /// A reader has taken the bytes before `position`.
    func advance(_ reader: AnyObject, to position: Int64) {
        guard readers[ObjectIdentifier(reader)] != nil else { return }
        readers[ObjectIdentifier(reader)] = position
        release()
    }

    func detach(_ reader: AnyObject) {
        guard readers.removeValue(forKey: ObjectIdentifier(reader)) != nil else { return }
        release()
        guard readers.isEmpty else { return }
        if isOver { released() } else { startTimer() }
    }

    private var slowest: Int64 { readers.values.min() ?? firstByte }
    private var isFull: Bool {
        writtenBytes - slowest >= PassingWindow.limitBytes || unhashedBytes >= PassingWindow.limitBytes
    }

    /// Drops what every reader has taken. The beginning stays until there is a reader.
    private func release() {
        guard !readers.isEmpty else { return }
        drop(before: slowest)
    }

    private func drop(before position: Int64) {
        while let piece = pieces.first, piece.start + Int64(piece.bytes.count) <= position { pieces.removeFirst() }
        firstByte = max(firstByte, min(position, writtenBytes))
        resume()
    }

    private func resume() {
        guard hasRefused, !isFull else { return }
        hasRefused = false
        timer?.close()
        timer = nil
        onDrained?()
    }

    // MARK: Time

    private func startTimer() {
        guard timer == nil, !isOver else { return }
        let timer = Timer(on: loop) { [weak self] in self?.timeIsUp() }
        timer.start(
            afterMilliseconds: readers.isEmpty ? PassingWindow.idleMilliseconds : PassingWindow.patienceMilliseconds)
        self.timer = timer
    }

    private func timeIsUp() {
        timer?.close()
        timer = nil
        if readers.isEmpty {
            let report = onAbandoned
            onAbandoned = nil
            report?()
            return
        }
        guard hasRefused, isFull else { return }
        // Those who have taken everything wait for the others.
        let fastest = readers.values.max() ?? 0
        guard fastest - slowest >= PassingWindow.limitBytes / 2 else { return startTimer() }
        readers = readers.filter { fastest - $0.value < PassingWindow.limitBytes / 2 }
        release()
        onCut?()
    }

    // MARK: PullSink

    func open(for blob: GrowingBlob) { blob.opened(self) }

    func append(_ bytes: UnsafeRawBufferPointer) -> Bool {
        guard !isOver, !bytes.isEmpty else { return true }
        let piece = Array(bytes)
        pieces.append((writtenBytes, piece))
        writtenBytes += Int64(piece.count)
        unhashedBytes += Int64(piece.count)
        let hash = hash
        hashing.run {
            piece.withUnsafeBytes { hash.update($0) }
        } then: { [weak self] (_: Result<Void, any Error>) in
            self?.unhashedBytes -= Int64(piece.count)
            self?.resume()
        }
        onProgress?()
        hasRefused = isFull
        if hasRefused { startTimer() }
        return !hasRefused
    }

    func reserve(totalBytes: Int64?, then: @escaping (StoreError?) -> Void) { loop.deferred.complete(then, nil) }

    func verify(then: @escaping (Result<Bool, StoreError>) -> Void) {
        let (hash, digest) = (hash, digest)
        hashing.attempt({ () throws(StoreError) in hash.digest() == digest }, then: then)
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
        timer?.close()
        timer = nil
        (onProgress, onDrained, onFailure, onAbandoned) = (nil, nil, nil, nil)
        if readers.isEmpty { released() }
    }

    private func released() {
        guard let report = onReleased else { return }
        onReleased = nil
        loop.deferred.enqueue(report)
    }
}

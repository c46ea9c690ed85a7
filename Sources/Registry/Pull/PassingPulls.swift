// Blobs for which the cache has no room: they pass through to the clients that want them, and are not kept. Clients
// that come together share a transfer, as far as its window allows; others get their own. A closed range is requested
// from the upstream as it is.

package import OCI

/// What is known of the blobs that pass through.
struct PassingPulls {
    /// Running transfers, by their blob.
    var pulls: [ObjectIdentifier: BlobPull] = [:]
    /// The latest transfer of each blob. It can be joined while its window has the first byte.
    var newest: [PullKey: GrowingBlob] = [:]
    /// Windows in use: those of running transfers, and of ended ones that are still read.
    var windowCount = 0
    private var withoutRoom: [PullKey: NoRoom] = [:]

    private struct NoRoom {
        let sizeBytes: Int64?
        let untilMilliseconds: UInt64
        /// The store's `removedImages` and `isEvictionBackedOff` at that time.
        let removedImages: UInt64
        let isEvictionBackedOff: Bool
    }

    /// How long a blob that had no room is not tried again, unless room may be made earlier. An attempt costs a request
    /// to the upstream, whose answer is given up.
    static let noRoomMilliseconds: UInt64 = 10_000
    /// Blobs that are remembered for that.
    static let maximumRemembered = 256

    mutating func noteNoRoom(_ key: PullKey, sizeBytes: Int64?, _ store: Store) {
        let now = store.loop.nowMilliseconds
        if withoutRoom.count >= PassingPulls.maximumRemembered {
            withoutRoom = withoutRoom.filter { $0.value.untilMilliseconds > now }
        }
        guard withoutRoom.count < PassingPulls.maximumRemembered || withoutRoom[key] != nil else { return }
        withoutRoom[key] = NoRoom(
            sizeBytes: sizeBytes, untilMilliseconds: now + PassingPulls.noRoomMilliseconds,
            removedImages: store.removedImages, isEvictionBackedOff: store.isEvictionBackedOff)
    }

    func hasNoRoom(_ key: PullKey, _ store: Store) -> Bool {
        guard let known = withoutRoom[key], known.untilMilliseconds > store.loop.nowMilliseconds else { return false }
        let mayEvictNow = known.isEvictionBackedOff && !store.isEvictionBackedOff
        return known.removedImages == store.removedImages && !mayEvictNow
    }

    /// The size of a blob that had no room.
    func sizeBytes(_ key: PullKey) -> Int64? { withoutRoom[key]?.sizeBytes }
}

extension Puller {
    /// Transfers that pass through at once. Each has a window (`PassingWindow.limitBytes`).
    static let maximumPassing = 32

    /// The pull in `key` that passes through and can still be joined from the beginning.
    func joinablePassing(_ key: PullKey) -> GrowingBlob? {
        guard let blob = passing.newest[key], blob.window?.firstByte == 0 else { return nil }
        return blob
    }

    /// The size of a blob that recently had no room in the cache.
    package func sizeWithoutRoom(_ key: PullKey) -> Int64? {
        hasNoRoom(key) ? passing.sizeBytes(key) : nil
    }

    func hasNoRoom(_ key: PullKey) -> Bool { passing.hasNoRoom(key, context.store) }

    /// Called when the store has no room for a pull's blob or cannot write.
    /// - Returns: whether the pull passes through from now on.
    func passThroughIfPossible(_ pull: BlobPull) -> Bool {
        let key = pull.blob.key
        passing.noteNoRoom(key, sizeBytes: pull.statedSizeBytes, context.store)
        guard case .asking = pull.blob.phase, blobs[key] === pull, !queue.isPrefetch(key), hasFreeWindow else {
            return false
        }
        leaveQueue(pull.blob)
        admit(pull)
        return true
    }

    /// Starts a pull that passes through; nil when there are too many.
    func startPassing(_ digest: Digest, from source: PullSource) -> GrowingBlob? {
        guard hasFreeWindow else { return nil }
        let pull = makePull(digest, from: source)
        admit(pull)
        pull.passThrough(because: nil)
        return pull.blob
    }

    private var hasFreeWindow: Bool { !isClosed && passing.windowCount < Puller.maximumPassing }

    private func admit(_ pull: BlobPull) {
        passing.windowCount += 1
        passing.pulls[ObjectIdentifier(pull.blob)] = pull
        passing.newest[pull.blob.key] = pull.blob
        pull.onPause = { [weak self] in self?.refusePassing($0) }
        pull.isContended = { [weak self] in self.map { !$0.hasFreeWindow } ?? false }
        pull.onWindowReleased = { [weak self] in self?.passing.windowCount -= 1 }
    }

    /// A blob that passes through does not wait for the end of a pause.
    private func refusePassing(_ pull: BlobPull) {
        let error = context.client.rateLimits.error(pull.blob.key.limited)
        context.loop.deferred.enqueue { pull.refuse(error) }
    }

    /// - Returns: whether the blob was one that passes through.
    func passingEnded(_ blob: GrowingBlob) -> Bool {
        guard passing.pulls.removeValue(forKey: ObjectIdentifier(blob)) != nil else { return false }
        if passing.newest[blob.key] === blob { passing.newest[blob.key] = nil }
        return true
    }

    /// Requests a range of a blob that has no room, for one client. The blob fails when the upstream answers otherwise.
    package func passRange(
        _ range: ClosedRange<Int64>, of digest: Digest, sizeBytes: Int64, from source: PullSource
    ) -> GrowingBlob? {
        guard hasFreeWindow else { return nil }
        passing.windowCount += 1
        context.metrics.pulls.passed &+= 1
        let relay = RangeRelay(range, of: digest, sizeBytes: sizeBytes, from: source, context: context)
        relay.window.isContended = { [weak self] in self.map { !$0.hasFreeWindow } ?? false }
        relay.window.onReleased = { [weak self] in self?.passing.windowCount -= 1 }
        return relay.blob
    }
}

/// Passes one range from the upstream to one client.
private final class RangeRelay: UpstreamExchangeHandler {
    let blob: GrowingBlob
    let window: PassingWindow
    private let range: ClosedRange<Int64>
    private let sizeBytes: Int64
    private let host: RegistryHost
    private let client: UpstreamClient
    /// Retains this object until it ends.
    private var exchange: UpstreamExchange?
    /// Whether the answer states its length, so that the exchange ends with the last byte.
    private var hasLength = false

    init(
        _ range: ClosedRange<Int64>, of digest: Digest, sizeBytes: Int64, from source: PullSource, context: PullContext
    ) {
        self.range = range
        self.sizeBytes = sizeBytes
        host = source.host
        client = context.client
        blob = GrowingBlob(key: source.key(digest), loop: context.loop)
        window = PassingWindow(
            digest: digest, first: range.lowerBound, loop: context.loop, offload: context.offload)
        blob.opened(window)
        var request = UpstreamRequest.blob(.get, digest, source)
        request.rangeStart = range.lowerBound
        request.rangeEnd = range.upperBound + 1
        exchange = context.client.start(
            request, to: context.client.upstream(for: source.host), handler: self)
        window.onProgress = { [unowned self] in blob.grew(to: window.writtenBytes) }
        window.onDrained = { [weak self] in self?.exchange?.resume() }
        window.onAbandoned = { [weak self] in self?.end(.unavailable("no client reads it")) }
    }

    private func end(_ error: RegistryError?) {
        guard let exchange else { return }
        self.exchange = nil
        exchange.cancel()
        window.discard()
        if let error { blob.fail(error) } else { blob.complete(sizeBytes: sizeBytes) }
    }

    func exchange(_ exchange: UpstreamExchange, received head: UpstreamHead) {
        guard exchange === self.exchange else { return }
        guard head.status == 206, head.encoding == nil, let stated = head.contentRange,
            stated.first == range.lowerBound, stated.last == range.upperBound, stated.total == sizeBytes
        else {
            return end(
                UpstreamAnswer.error(for: head, kind: .blob, host: host)
                    ?? .unavailable("\(host) does not answer ranges"))
        }
        hasLength = head.contentLength == Int64(range.count)
        blob.announce(sizeBytes: sizeBytes)
    }

    func exchange(_ exchange: UpstreamExchange, received bytes: UnsafeRawBufferPointer) -> Bool {
        guard exchange === self.exchange else { return true }
        let left = range.upperBound + 1 - window.writtenBytes
        let takesMore = window.append(UnsafeRawBufferPointer(rebasing: bytes.prefix(Int(clamping: left))))
        if !hasLength, window.writtenBytes == range.upperBound + 1 { end(nil) }
        return takesMore
    }

    func exchange(_ exchange: UpstreamExchange, ended failure: UpstreamFailure?) {
        guard exchange === self.exchange else { return }
        if let failure {
            let error = failure.registryError(host: host)
            client.log(error, exchange.request, of: host)
            return end(error)
        }
        let isWhole = window.writtenBytes == range.upperBound + 1
        end(isWhole ? nil : .unavailable("the upstream's body is not as long as it said"))
    }
}

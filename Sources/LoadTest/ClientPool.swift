// The pullers: their number, the image each takes next, and the faults. One loop, one thread.

import Registry

final class ClientPool {
    /// A puller gives up a response after this time.
    static let timeoutMilliseconds: UInt64 = 30_000
    /// Number of faults described in text; later ones are only counted.
    static let maximumNotes = 5

    let loop: EventLoop
    let catalog: Catalog
    /// Counts of the current span.
    var tally = Tally()
    private(set) var notes: [String] = []
    private let address: ServerAddress
    private let buffer = UnsafeMutableRawBufferPointer.allocate(
        byteCount: ClientConnection.bufferBytes, alignment: 64)
    private let pruner: Pruner
    private var rotation = Rotation(batchOf: [], prunes: false)
    private var pullers: [Puller] = []
    /// Pullers that leave after their current image.
    private var leavers: [Puller] = []
    /// Pullers that wait for an image.
    private var waiting: [Puller] = []
    /// Pullers whose connection broke; they pause so as not to flood a server that is away.
    private var resting: [Puller] = []
    private var hashEvery = 0
    private var untilHash = 0
    private var whenEmpty: (() -> Void)?
    /// Why the test cannot continue.
    private(set) var failure: String?

    /// - Parameter admin: the address for prune requests.
    init(on loop: EventLoop, catalog: Catalog, address: ServerAddress, admin: ServerAddress) {
        self.loop = loop
        self.catalog = catalog
        self.address = address
        pruner = Pruner(on: loop, ClientConnection(on: loop, to: admin, buffer: buffer), authority: admin.authority)
    }

    deinit { buffer.deallocate() }

    // MARK: For the session

    /// Begins a round: once through the catalog, or repeatedly until `setPullers(0)`.
    /// - Parameters:
    ///   - prunes: whether each batch is pruned after it has been pulled.
    ///   - hashEvery: hashes one of this many images; 0 hashes none.
    func begin(prunes: Bool, once: Bool, hashEvery: Int) {
        rotation = Rotation(batchOf: catalog.images.map(\.batch), prunes: prunes, endsAfterOne: once)
        self.hashEvery = hashEvery
        untilHash = hashEvery
    }

    /// Removes every image of the catalog from the cache.
    func pruneAll(then: @escaping () -> Void) {
        var left = catalog.batches.count
        for pattern in catalog.batches {
            prune(pattern) {
                left -= 1
                if left == 0 { then() }
            }
        }
    }

    /// Sets the number of concurrent pullers. Surplus pullers finish their current image.
    func setPullers(_ count: Int) {
        while pullers.count < count {
            let puller = Puller(self, ClientConnection(on: loop, to: address, buffer: buffer))
            pullers.append(puller)
            puller.next()
        }
        while pullers.count > count {
            let puller = pullers.removeLast()
            leavers.append(puller)
            let isIdle = [waiting, resting].joined().contains { $0 === puller }
            waiting.removeAll { $0 === puller }
            resting.removeAll { $0 === puller }
            puller.stop(isIdle: isIdle)
        }
    }

    /// Calls `then` once when no puller is left.
    func whenAllHaveLeft(_ then: @escaping () -> Void) {
        whenEmpty = then
        loop.deferred.enqueue { [self] in checkEmpty() }
    }

    /// Runs at an interval: ends requests that have timed out, and resumes pullers that have paused.
    func tick() {
        let now = loop.nowMilliseconds
        for puller in pullers + leavers {
            if let since = puller.askedMilliseconds, now - since > ClientPool.timeoutMilliseconds { puller.timeOut() }
        }
        let ready = resting
        resting = []
        for puller in ready { puller.next() }
    }

    // MARK: For pullers

    /// The next image; nil when none is available yet: the pool calls `next` on the puller later.
    func take(_ puller: Puller) -> Int? {
        switch rotation.take() {
        case .image(let image): return image
        case .wait: waiting.append(puller)
        case .end: leave(puller)
        }
        return nil
    }

    /// Whether the next image is to be hashed.
    func hashesNext() -> Bool {
        untilHash -= 1
        guard untilHash == 0 else { return false }
        untilHash = hashEvery
        return true
    }

    /// Records the end of a pull, successful or not.
    func ended(_ image: Int) {
        guard let batch = rotation.ended(image) else { return }
        prune(catalog.batches[batch]) { [self] in
            rotation.pruned(batch)
            let ready = waiting
            waiting = []
            for puller in ready { puller.next() }
        }
    }

    func note(_ fault: Fault, _ path: String, _ reason: String) {
        tally.add(fault)
        if notes.count < ClientPool.maximumNotes { notes.append("\(path): \(reason)") }
    }

    func rest(_ puller: Puller) { resting.append(puller) }

    /// Removes a puller. Deferred, since the puller itself calls this.
    func leave(_ puller: Puller) {
        loop.deferred.enqueue { [self] in
            puller.close()
            pullers.removeAll { $0 === puller }
            leavers.removeAll { $0 === puller }
            checkEmpty()
        }
    }

    private func checkEmpty() {
        guard pullers.isEmpty, leavers.isEmpty, let then = whenEmpty else { return }
        whenEmpty = nil
        then()
    }

    private func prune(_ pattern: String, then: @escaping () -> Void) {
        pruner.prune(pattern) { [self] result in
            switch result {
            case .pruned: return then()
            case .kept(let count): failure = "\(count) images were kept: for --prune, set leaseDuration: 0s"
            case .refused(let reason): failure = "cannot prune: \(reason)"
            }
            loop.stop()
        }
    }
}

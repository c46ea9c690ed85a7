// Everyone who pulls: how many there are, what each takes next, what has gone wrong. One loop, one thread.

import Registry

final class ClientPool {
    /// A puller that has waited so long for an answer gives it up.
    static let timeoutMilliseconds: UInt64 = 30_000
    /// Faults that are reported in words; the rest is counted.
    static let maximumNotes = 5

    let loop: EventLoop
    let catalog: Catalog
    /// Of the span that is under way.
    var tally = Tally()
    private(set) var notes: [String] = []
    private let address: ServerAddress
    private let buffer = UnsafeMutableRawBufferPointer.allocate(
        byteCount: ClientConnection.bufferBytes, alignment: 64)
    private let pruner: Pruner
    private var rotation = Rotation(batchOf: [], prunes: false)
    private var pullers: [Puller] = []
    /// Those that leave when they have finished an image.
    private var leavers: [Puller] = []
    /// Those for whom there is no image yet.
    private var waiting: [Puller] = []
    /// Those whose connection broke: a server that is away must not be hammered.
    private var resting: [Puller] = []
    private var hashEvery = 0
    private var untilHash = 0
    private var whenEmpty: (() -> Void)?
    /// Why it cannot go on.
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

    /// Begins a round: once through the catalog, or round and round until `setPullers(0)`.
    /// - Parameters:
    ///   - prunes: whether each batch is pruned when it has been pulled.
    ///   - hashEvery: each so many images, one is hashed; 0: none.
    func begin(prunes: Bool, once: Bool, hashEvery: Int) {
        rotation = Rotation(batchOf: catalog.images.map(\.batch), prunes: prunes, endsAfterOne: once)
        self.hashEvery = hashEvery
        untilHash = hashEvery
    }

    /// Empties the cache of every image of the catalog.
    func pruneAll(then: @escaping () -> Void) {
        var left = catalog.batches.count
        for pattern in catalog.batches {
            prune(pattern) {
                left -= 1
                if left == 0 { then() }
            }
        }
    }

    /// How many pull at a time. Those too many finish the image they are at.
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

    /// Calls back, once, when nobody pulls any more.
    func whenAllHaveLeft(_ then: @escaping () -> Void) {
        whenEmpty = then
        loop.deferred.enqueue { [self] in checkEmpty() }
    }

    /// From time to time: who has waited too long gives up, and one whose pause is over pulls again.
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

    /// The next image; nil: there is none now, and `next` is called when there is.
    func take(_ puller: Puller) -> Int? {
        switch rotation.take() {
        case .image(let image): return image
        case .wait: waiting.append(puller)
        case .end: leave(puller)
        }
        return nil
    }

    /// Whether the image that is about to be pulled is to be hashed.
    func hashesNext() -> Bool {
        untilHash -= 1
        guard untilHash == 0 else { return false }
        untilHash = hashEvery
        return true
    }

    /// A pull is over, well or not.
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

    /// It pulls no more. Forgotten later: this is called from within its own calls.
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

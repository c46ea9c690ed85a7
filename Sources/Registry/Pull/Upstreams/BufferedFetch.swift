// Small upstream answers that are needed whole: manifests, tag lists, referrers and HEADs. Together they have a limited
// amount of memory (MemoryBudget). When it is used up, a request is sent later, or its answer waits in the connection.

internal import OCI

/// One exchange whose body is collected in memory, up to a limit.
final class BufferedFetch: UpstreamExchangeHandler {
    /// An upstream's 2xx head and its body.
    struct Answer {
        let head: UpstreamHead
        let body: [UInt8]
        /// Accounts for the body's memory for as long as the body lives.
        let hold: MemoryHold
        /// Where it came from.
        let exchange: UpstreamExchange
    }

    /// Limit for the whole fetch. An upstream that sends a byte a minute makes progress, and would occupy one of the
    /// limited requests for days; its client gets a 503 long before.
    static let deadlineMilliseconds: UInt64 = 120_000

    private let request: UpstreamRequest
    private let client: UpstreamClient
    private let limitBytes: Int
    private let host: RegistryHost
    private let hold: MemoryHold
    private let kind: UpstreamRequest.Kind
    private var then: ((Result<Answer, RegistryError>) -> Void)?
    private var exchange: UpstreamExchange?
    private var head: UpstreamHead?
    private var body: [UInt8] = []
    private var deadline: Timer?
    /// Whether the rest of the answer waits for memory.
    private var isPaused = false
    /// Whether the whole answer arrived while it was paused.
    private var hasEnded = false

    /// - Parameters:
    ///   - memory: the budget that the answer's memory is taken from.
    ///   - deadlineMilliseconds: the limit for the whole fetch, waiting for memory included.
    ///   - then: called once, on the loop, and not before this returns.
    init(
        _ request: UpstreamRequest, to host: RegistryHost, client: UpstreamClient, memory: MemoryBudget,
        limitBytes: Int, deadlineMilliseconds: UInt64 = BufferedFetch.deadlineMilliseconds,
        then: @escaping (Result<Answer, RegistryError>) -> Void
    ) {
        self.request = request
        self.client = client
        hold = MemoryHold(of: memory, for: host)
        self.limitBytes = limitBytes
        self.host = host
        kind = request.kind
        self.then = then
        let deadline = Timer(on: client.loop) { [weak self] in
            guard let self else { return }
            let isOurs = exchange == nil || isPaused
            cancel(
                isOurs
                    ? noMemory
                    : UpstreamAnswer.unreachable(
                        host, "has not answered in full within \(deadlineMilliseconds / 1000) s"))
        }
        deadline.start(afterMilliseconds: deadlineMilliseconds)
        deadline.unreference()
        self.deadline = deadline
        guard memory.hasPlace else {
            client.loop.deferred.enqueue { [self] in cancel(noMemory) }
            return
        }
        hold.begin { [unowned self] in start() }
    }

    private var noMemory: RegistryError {
        .unavailable(
            kind == .manifest
                ? "the disk is too slow for all that is being pulled" : "too many lists are being fetched at once")
    }

    private func start() {
        guard then != nil else { return }
        exchange = client.start(request, to: client.upstream(for: host), handler: self)
    }

    func cancel(_ error: RegistryError) { finish(.failure(error)) }

    func exchange(_ exchange: UpstreamExchange, received head: UpstreamHead) {
        if let error = UpstreamAnswer.error(for: head, kind: kind, host: host) { return finish(.failure(error)) }
        if let length = head.decodedLength, length > Int64(limitBytes), exchange.request.method == .get {
            return finish(.failure(tooLarge))
        }
        self.head = head
        // `limitBytes` has been checked above.
        if request.method == .get, let length = head.decodedLength, length > 0 { gather(Int(length)) }
    }

    /// Waits for memory for an answer of this size, if it exceeds what is held already.
    private func gather(_ bytes: Int) {
        guard bytes > hold.bytes else { return body.reserveCapacity(bytes) }
        isPaused = true
        hold.grow(to: bytes) { [unowned self] in
            isPaused = false
            body.reserveCapacity(bytes)
            if hasEnded { finishComplete() } else { exchange?.resume() }
        }
    }

    func exchange(_ exchange: UpstreamExchange, received bytes: UnsafeRawBufferPointer) -> Bool {
        guard then != nil else { return true }
        guard body.count + bytes.count <= limitBytes else {
            finish(.failure(tooLarge))
            return true
        }
        body.append(contentsOf: bytes)
        // An answer without a stated length may need up to the limit.
        if !isPaused, body.count > hold.bytes { gather(limitBytes) }
        return !isPaused
    }

    func exchange(_ exchange: UpstreamExchange, ended failure: UpstreamFailure?) {
        if let failure { return finish(.failure(failure.registryError(host: host))) }
        guard !isPaused else { return hasEnded = true }
        finishComplete()
    }

    private func finishComplete() {
        guard let head, let exchange else {
            return finish(.failure(UpstreamAnswer.unreachable(host, "gave no answer")))
        }
        hold.shrink(to: body.count)
        finish(.success(Answer(head: head, body: body, hold: hold, exchange: exchange)))
    }

    private var tooLarge: RegistryError {
        RegistryError(
            status: 502, code: .sizeInvalid,
            message: "the upstream's answer is larger than \(limitBytes) bytes, the most that is accepted")
    }

    private func finish(_ result: Result<Answer, RegistryError>) {
        guard let then else { return }
        self.then = nil
        deadline?.close()
        deadline = nil
        exchange?.cancel()
        exchange = nil
        body = []
        if case .failure(let error) = result {
            hold.release()
            client.log(error, request, of: host)
        }
        then(result)
    }
}

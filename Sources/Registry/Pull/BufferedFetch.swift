// Upstream answers that are small and needed whole before anything can be said: manifests, tag lists, referrers, HEADs.

/// One exchange whose body is gathered in memory, up to a limit.
final class BufferedFetch: UpstreamExchangeHandler {
    /// What the upstream answered: a 2xx head and its body.
    struct Answer {
        let head: UpstreamHead
        let body: [UInt8]
    }

    /// For all of it: an upstream that sends a byte a minute makes progress, and would hold one of the few places for
    /// questions for days. Who waits for it has long been told 503.
    static let deadlineMilliseconds: UInt64 = 120_000

    private let limitBytes: Int
    private let host: RegistryHost
    private let kind: UpstreamRequest.Kind
    private var then: ((Result<Answer, RegistryError>) -> Void)?
    private var exchange: UpstreamExchange?
    private var head: UpstreamHead?
    private var body: [UInt8] = []
    private var deadline: Timer?

    /// - Parameter then: called once, on the loop.
    init(
        _ request: UpstreamRequest, to host: RegistryHost, client: UpstreamClient, limitBytes: Int,
        deadlineMilliseconds: UInt64 = BufferedFetch.deadlineMilliseconds,
        then: @escaping (Result<Answer, RegistryError>) -> Void
    ) {
        self.limitBytes = limitBytes
        self.host = host
        kind = request.kind
        self.then = then
        exchange = client.start(request, to: client.upstream(for: host), handler: self)
        let deadline = Timer(on: client.loop) { [weak self] in
            self?.cancel(.unavailable("\(host) has not answered in full within \(deadlineMilliseconds / 1000) s"))
        }
        deadline.start(afterMilliseconds: deadlineMilliseconds)
        deadline.unreference()
        self.deadline = deadline
    }

    func cancel(_ error: RegistryError) { finish(.failure(error)) }

    func exchange(_ exchange: UpstreamExchange, received head: UpstreamHead) {
        if let error = UpstreamAnswer.error(for: head, kind: kind, host: host) { return finish(.failure(error)) }
        if let length = head.contentLength, length > Int64(limitBytes), exchange.request.method == .get {
            return finish(.failure(tooLarge))
        }
        self.head = head
    }

    func exchange(_ exchange: UpstreamExchange, received bytes: UnsafeRawBufferPointer) -> Bool {
        guard then != nil else { return true }
        guard body.count + bytes.count <= limitBytes else {
            finish(.failure(tooLarge))
            return true
        }
        body.append(contentsOf: bytes)
        return true
    }

    func exchange(_ exchange: UpstreamExchange, ended failure: UpstreamFailure?) {
        if let failure { return finish(.failure(failure.registryError(host: host))) }
        guard let head else { return finish(.failure(.unavailable("the upstream \(host) gave no answer"))) }
        finish(.success(Answer(head: head, body: body)))
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
        then(result)
    }
}

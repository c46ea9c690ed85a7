// Requests to AWS for credentials: small, without redirects, and bounded in time and size.

internal import OCI

/// What the providers of AWS credentials share.
package struct AWSServices {
    /// Runs a program without a shell, writes the input to it and gets its output. The result comes later, on the loop.
    package typealias ProgramRunner = (
        _ arguments: [String], _ input: [UInt8], _ then: @escaping (Result<[UInt8], CredentialFailure>) -> Void
    ) -> Void

    let loop: EventLoop
    let offload: Offload
    let environment: (String) -> String?
    let userAgent: String
    let complete: (inout TransferRequest) -> Void
    let wallSeconds: () -> Int64
    let runProgram: ProgramRunner
    let start: (TransferRequest, any TransferHandler) -> Transfer

    /// - Parameters:
    ///   - environment: the value of an environment variable.
    ///   - wallSeconds: the time in seconds since 1970.
    ///   - complete: sets the proxy and the authorities of a request.
    ///   - start: starts a transfer, as `Transfer.init` does.
    package init(
        loop: EventLoop, offload: Offload, environment: @escaping (String) -> String?, userAgent: String,
        complete: @escaping (inout TransferRequest) -> Void, wallSeconds: @escaping () -> Int64,
        runProgram: @escaping ProgramRunner,
        start: @escaping (TransferRequest, any TransferHandler) -> Transfer
    ) {
        self.loop = loop
        self.offload = offload
        self.environment = environment
        self.userAgent = userAgent
        self.complete = complete
        self.wallSeconds = wallSeconds
        self.runProgram = runProgram
        self.start = start
    }
}

/// The running requests of one provider.
final class AWSRequests {
    /// The time for one request. Both limits together bound it, with `pauseMilliseconds` between the attempts.
    struct Limits {
        let attemptMilliseconds: UInt64
        let attempts: Int

        /// The instance metadata service is on the machine's own link, and does not answer at all where there is none
        /// or where the hop limit does not reach a container. Together about 3 s.
        static let metadataToken = Limits(attemptMilliseconds: 1000, attempts: 3)
        /// Services on this machine or its link. Together 5 s.
        static let metadata = Limits(attemptMilliseconds: 2400, attempts: 2)
        /// Regional endpoints. Together 15 s.
        static let endpoint = Limits(attemptMilliseconds: 7400, attempts: 2)
    }

    static let pauseMilliseconds: UInt64 = 200

    struct Answer {
        let status: Int
        let body: [UInt8]
    }

    let services: AWSServices
    private var running: [ObjectIdentifier: AWSRequest] = [:]
    private(set) var isClosed = false

    init(_ services: AWSServices) { self.services = services }

    /// Sends a request. `then` is called once, from a deferred action or a timer, unless `close` comes first. Any
    /// status is an answer.
    func send(
        _ request: TransferRequest, _ limits: Limits, then: @escaping (Result<Answer, CredentialFailure>) -> Void
    ) {
        guard !isClosed else { return }
        let sent = AWSRequest(request, limits, services)
        running[ObjectIdentifier(sent)] = sent
        sent.onEnd = { [weak self, weak sent] result in
            if let sent { self?.running[ObjectIdentifier(sent)] = nil }
            then(result)
        }
        sent.send()
    }

    /// A request to a host that this machine's environment or configuration names, or that is fixed in the code; then
    /// every address of exactly this host is admitted.
    /// - Parameter isDirect: whether it uses no proxy. Metadata services are asked directly: a proxy would be given the
    ///   credentials of its own machine, or those of this one.
    func request(_ url: UpstreamURL, isNamed: Bool, isDirect: Bool = false, _ limits: Limits) -> TransferRequest {
        let addresses = AddressGuard(hostIsConfigured: isNamed)
        var request = TransferRequest(
            url: url, addresses: addresses, noProgressMilliseconds: limits.attemptMilliseconds)
        request.userAgent = services.userAgent
        request.isConfigured = true
        if !isDirect { services.complete(&request) }
        return request
    }

    func close() {
        isClosed = true
        for request in running.values { request.cancel() }
        running.removeAll()
    }
}

/// One request, with further attempts when there was no answer, or one that says that another attempt may succeed.
private final class AWSRequest: TransferHandler {
    var onEnd: ((Result<AWSRequests.Answer, CredentialFailure>) -> Void)?
    private let request: TransferRequest
    private let limits: AWSRequests.Limits
    private let services: AWSServices
    private var transfer: Transfer?
    private var head: UpstreamHead?
    private var body: [UInt8] = []
    private var attempts = 0
    private var deadline: Timer?
    private var pause: Timer?

    init(_ request: TransferRequest, _ limits: AWSRequests.Limits, _ services: AWSServices) {
        self.request = request
        self.limits = limits
        self.services = services
        deadline = Timer(on: services.loop) { [weak self] in self?.isLate() }
        pause = Timer(on: services.loop) { [weak self] in self?.send() }
    }

    func send() {
        attempts += 1
        head = nil
        body = []
        deadline?.start(afterMilliseconds: limits.attemptMilliseconds)
        transfer = services.start(request, self)
    }

    func cancel() {
        onEnd = nil
        transfer?.cancel()
        transfer = nil
        deadline?.close()
        pause?.close()
    }

    func transfer(_ transfer: Transfer, received head: UpstreamHead) { self.head = head }

    func transfer(_ transfer: Transfer, received bytes: UnsafeRawBufferPointer) -> Bool {
        body.append(contentsOf: bytes)
        if body.count > AWSAnswers.maximumBytes {
            transfer.cancel()
            services.loop.deferred.enqueue { [self] in fail("its answer is too long") }
        }
        return true
    }

    func transfer(_ transfer: Transfer, ended failure: TransferFailure?) {
        if let failure { return failure.isRetryable ? retry(failure.reason) : fail(failure.reason) }
        guard let head else { return fail("it gave no answer") }
        if head.status == 429 || head.status >= 500, attempts < limits.attempts { return retry("it is overloaded") }
        finish(.success(.init(status: head.status, body: body)))
    }

    private func isLate() {
        transfer?.cancel()
        retry("it did not answer within \(limits.attemptMilliseconds) ms")
    }

    private func retry(_ reason: String) {
        guard attempts < limits.attempts else { return fail(reason) }
        deadline?.stop()
        pause?.start(afterMilliseconds: AWSRequests.pauseMilliseconds)
    }

    private func fail(_ reason: String) { finish(.failure(CredentialFailure("\(request.url.origin): \(reason)"))) }

    private func finish(_ result: Result<AWSRequests.Answer, CredentialFailure>) {
        guard let onEnd else { return }
        cancel()
        onEnd(result)
    }
}

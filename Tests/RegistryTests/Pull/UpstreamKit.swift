// A client and a fake upstream on one loop, and a handler that records what an exchange reports.

import Logging
import TestSupport
import Testing

@testable import Configuration
@testable import OCI
@testable import Registry

/// Keeps what an exchange says.
final class ExchangeRecord: UpstreamExchangeHandler {
    private(set) var head: UpstreamHead?
    private(set) var body: [UInt8] = []
    private(set) var failure: UpstreamFailure?
    private(set) var isEnded = false
    /// How often something came that must come once, or after the end.
    private(set) var faults: [String] = []
    var onHead: (UpstreamExchange) -> Void = { _ in }
    /// Whether to go on; asked with each piece.
    var onBytes: (UpstreamExchange, Int) -> Bool = { _, _ in true }
    var onEnd: () -> Void = {}

    func exchange(_ exchange: UpstreamExchange, received head: UpstreamHead) {
        if self.head != nil || isEnded { faults.append("a second or late head") }
        self.head = head
        onHead(exchange)
    }

    func exchange(_ exchange: UpstreamExchange, received bytes: UnsafeRawBufferPointer) -> Bool {
        if head == nil || isEnded { faults.append("bytes out of turn") }
        body.append(contentsOf: bytes)
        return onBytes(exchange, bytes.count)
    }

    func exchange(_ exchange: UpstreamExchange, ended failure: UpstreamFailure?) {
        if isEnded { faults.append("a second end") }
        self.failure = failure
        isEnded = true
        onEnd()
    }

    /// The kind of `failure`, without its text.
    enum FailureKind { case unreachable, broken, timedOut, other }

    var failureKind: FailureKind? {
        switch failure {
        case nil: nil
        case .unreachable: .unreachable
        case .broken: .broken
        case .timedOut: .timedOut
        default: .other
        }
    }

    var refusal: RegistryError? {
        switch failure {
        case .refused(let error): error
        case .addressRefused: failure?.registryError(host: UpstreamKit.host)
        default: nil
        }
    }
}

/// Everything a test of the client needs.
final class UpstreamKit {
    let run: LoopRun
    let fake: FakeUpstream
    let client: UpstreamClient
    static let host = RegistryHost("registry.test")!  // a valid host
    /// The path of a request where the test names none.
    static let path = "/v2/a/blobs/x"
    static let auth = RegistryAuth(user: "me", password: Secret("s3cret"))

    /// - Parameter configure: changes to the entry for `registry.test`, and further entries.
    init(
        noProgressMilliseconds: UInt64 = 20_000, limits: ConnectLimits = ConnectLimits(),
        settings: UpstreamSettings = UpstreamSettings(),
        configure: (FakeUpstream, inout RegistryConfig, inout [RegistryConfig]) -> Void = { _, _, _ in }
    ) throws {
        run = try LoopRun()
        fake = FakeUpstream(on: run.loop)
        var config = fake.config()
        var more: [RegistryConfig] = []
        configure(fake, &config, &more)
        client = UpstreamClient(
            loop: run.loop, registries: [config] + more, noProgressMilliseconds: noProgressMilliseconds,
            userAgent: "test/1", logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }, metrics: Metrics(),
            limits: limits, settings: settings)
        run.atClose { [fake] in fake.close() }
        run.atClose { [client] in client.close() }
    }

    /// Starts a request to `registry.test`, or to another host.
    func start(
        _ path: String = UpstreamKit.path, method: UpstreamRequest.Method = .get, kind: UpstreamRequest.Kind = .blob,
        repository: String = "a", host: RegistryHost = UpstreamKit.host,
        change: (inout UpstreamRequest) -> Void = { _ in }, record: ExchangeRecord = ExchangeRecord()
    ) -> (record: ExchangeRecord, exchange: UpstreamExchange) {
        var request = UpstreamRequest(
            method: method, path: path, repository: RepositoryName(repository)!, kind: kind)  // a valid name
        change(&request)
        return (record, client.start(request, to: client.upstream(for: host), handler: record))
    }

    /// Asks and waits for the end.
    func ask(
        _ path: String = UpstreamKit.path, method: UpstreamRequest.Method = .get, kind: UpstreamRequest.Kind = .blob,
        repository: String = "a", host: RegistryHost = UpstreamKit.host,
        change: (inout UpstreamRequest) -> Void = { _ in }
    ) -> ExchangeRecord {
        let record = ExchangeRecord()
        record.onEnd = { [run] in run.finish() }
        _ = start(
            path, method: method, kind: kind, repository: repository, host: host, change: change, record: record)
        run.run()
        return record
    }
    /// Asks for all of these at once, and waits for the end of the last.
    func askAll(_ paths: [String]) -> [ExchangeRecord] {
        var left = paths.count
        let records = paths.map { path in
            let record = ExchangeRecord()
            record.onEnd = { [run] in
                left -= 1
                if left == 0 { run.finish() }
            }
            return start(path, record: record).record
        }
        run.run()
        return records
    }

    /// Makes the upstream require `Bearer <token>` for everything but `/token`, which gives a new token each time.
    func requireTokens() {
        var token = "none yet"
        var count = 0
        fake.answer = { [unowned fake] request in
            if request.path == "/token" {
                count += 1
                token = "t\(count)"
                return .token(token)
            }
            guard request.header("authorization") == "Bearer \(token)" else {
                return .challenge(realm: "\(fake.url)/token", scope: "repository:a:pull")
            }
            return .ok(Array("content".utf8))
        }
    }
}

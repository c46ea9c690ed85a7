// The whole server in one process and on one loop: a fake upstream, everything of ours between two sockets, and
// clients. App/Running.swift is the same wiring with signals and a command line around it.

import Foundation
import Logging
import TestSupport
import Testing

@testable import BuiltinImage
@testable import Configuration
@testable import OCI
@testable import Registry

final class MirrorKit {
    /// What a test may want otherwise.
    struct Options {
        var noProgressMilliseconds: UInt64 = 20_000
        /// Long: on a busy machine a scrape is not to be answered before the pool has read and compressed.
        var readingDeadlineMilliseconds: UInt64 = 60_000
        var connectLimits = ConnectLimits()
        /// Short: what is tested is that a broken transfer is resumed, not when.
        var firstBackOffMilliseconds: UInt64 = 1
        var policy = API.Policy(airGapped: false, defaultHost: MirrorKit.host)
        var prefetchLayers = PrefetchLayers.never
        var prefetchReferrers = false
        var aheadLimits: AheadLimits? = AheadLimits()
        /// Off: most tests of failures ask again, and look at what the upstream was asked.
        var negativeCache = NegativeCacheSettings.off
        var quotaReserve: Int?
        var auth: RegistryAuth?
        var dockerConfig: String?
        var environment: [String: String] = [:]
        var imagePath: String?
        var limits = StoreLimits()
        /// Whether the built-in image is served.
        var hasBuiltin = false
        /// Further registries; the argument is the port of the server under test.
        var registries: (UInt16) -> [RegistryConfig] = { _ in [] }
        /// Further upstreams, on the kit's loop.
        var upstreams: (EventLoop) -> [FakeUpstream] = { _ in [] }
    }

    static let host = RegistryHost("registry.test")!  // a valid host

    let run: LoopRun
    let fake: FakeUpstream
    let directory: TemporaryDirectory
    let log = LogRecorder()
    let offload: Offload
    let store: Store
    let metrics: Metrics
    let client: UpstreamClient
    let puller: Puller
    let api: API
    let server: Server
    let port: UInt16
    private var clients: [TestClient] = []
    /// What `Options.upstreams` made.
    let upstreams: [FakeUpstream]
    private let readingDeadlineMilliseconds: UInt64
    private var metricsServer: (server: Server, port: UInt16)?
    private lazy var probes = ReadinessProbes(on: run.loop, store: store, pulls: true)

    init(_ change: (inout Options) -> Void = { _ in }) throws {
        var options = Options()
        // Long: on a busy machine a tag is not to be served as stale before its upstream has answered.
        options.policy.revalidationDeadlineMilliseconds = 60_000
        change(&options)
        readingDeadlineMilliseconds = options.readingDeadlineMilliseconds
        run = try LoopRun()
        let loop = run.loop
        fake = FakeUpstream(on: loop)
        upstreams = options.upstreams(loop)
        directory = try TemporaryDirectory()
        offload = Offload(on: loop)
        let logger = log.logger
        store = try Store.open(
            imagePath: options.imagePath ?? directory.path, loop: loop, offload: offload, logger: logger,
            limits: options.limits)
        // The port is known before there is anything to answer with: an upstream may be this very server.
        var handler: Server.Handler = { _, _, _ in }
        let metrics = Metrics(configured: [Self.host])
        self.metrics = metrics
        store.onHostKnown = { metrics.admit($0) }
        server = Server(
            on: loop, offload: offload, logger: logger, descriptorLimit: 8192, metrics: metrics
        ) { handler($0, $1, $2) }
        port = try server.listen(host: "127.0.0.1", port: 0).port
        var credentials = CredentialSettings(offload: offload) { [environment = options.environment] in
            environment[$0]
        }
        credentials.dockerConfig = options.dockerConfig
        var own = fake.config(auth: options.auth)
        own.quotaReserve = options.quotaReserve
        client = UpstreamClient(
            loop: loop,
            registries: [own] + options.registries(port)
                + upstreams.flatMap { Self.registries($0) },
            noProgressMilliseconds: options.noProgressMilliseconds, userAgent: "test/1", logger: logger,
            metrics: metrics, limits: options.connectLimits, credentials: credentials)
        var context = PullContext(
            loop: loop, offload: offload, store: store, client: client, logger: logger, metrics: metrics,
            settings: PullSettings(
                prefetchLayers: options.prefetchLayers, prefetchReferrers: options.prefetchReferrers,
                aheadLimits: options.aheadLimits, negativeCache: options.negativeCache))
        context.firstBackOffMilliseconds = options.firstBackOffMilliseconds
        puller = Puller(context: context)
        let api = API(
            loop: loop, offload: offload, store: store, puller: puller, policy: options.policy,
            builtin: options.hasBuiltin ? Builtin(HelloWorldImage()) : nil,
            logger: logger, metrics: metrics)
        self.api = api
        handler = { api.handle($0, $1, $2) }
        store.startRecovery()
    }

    /// Registries that have no endpoint but their own names: the upstream's address, and this machine's name.
    private static func registries(_ upstream: FakeUpstream) -> [RegistryConfig] {
        [upstream.authority, "localhost:\(upstream.port)"].map { name in
            var config = RegistryConfig(name: RegistryHost(name)!)  // a valid host
            config.scheme = .http
            return config
        }
    }

    /// Ends everything, in the order a server does; what is left open fails the test.
    func close(_ location: SourceLocation = #_sourceLocation) {
        for client in clients { client.leave() }
        var isStoreClosed = false
        var isDrained = false
        server.drain { isDrained = true }
        server.closeAll()
        metricsServer?.server.drain {}
        metricsServer?.server.closeAll()
        puller.close()
        client.close()
        for upstream in [fake] + upstreams { upstream.close() }
        store.close { isStoreClosed = true }
        wait(until: { isDrained && isStoreClosed }, location)
        run.close(location)
    }

    /// Runs the loop until something is so.
    func wait(until condition: @escaping () -> Bool, _ location: SourceLocation = #_sourceLocation) {
        run.wait(until: condition, location)
    }

    /// Runs the loop until what `start` was given has been called.
    func wait(
        for start: (@escaping () -> Void) -> Void, _ location: SourceLocation = #_sourceLocation
    ) {
        var isDone = false
        start { isDone = true }
        wait(until: { isDone }, location)
    }

    // MARK: Clients

    /// Starts a client with its first requests.
    @discardableResult
    func start(
        _ requests: TestClient.Request..., manner: TestClient.ClientBehavior = .init(), port: UInt16? = nil
    ) -> TestClient {
        let client = TestClient(on: run.loop, port: port ?? self.port, manner: manner, number: clients.count)
        clients.append(client)
        for request in requests { client.send(request) }
        return client
    }

    /// Asks and waits for the answer.
    @discardableResult
    func ask(
        _ request: TestClient.Request, manner: TestClient.ClientBehavior = .init(),
        _ location: SourceLocation = #_sourceLocation
    ) -> TestClient {
        let client = start(request, manner: manner)
        wait(for: [client], location)
        return client
    }

    func get(_ target: String, range: String? = nil, _ headers: [(String, String)] = []) -> TestClient.Response {
        ask(.get(target, range: range, headers)).response
    }

    func head(_ target: String, _ headers: [(String, String)] = []) -> TestClient.Response {
        ask(.head(target, headers)).response
    }

    func wait(for clients: [TestClient], _ location: SourceLocation = #_sourceLocation) {
        wait(until: { clients.allSatisfy(\.isDone) }, location)
    }

    /// Until no pull runs and the disk has what it should.
    func settle(_ location: SourceLocation = #_sourceLocation) {
        wait(until: { [puller, offload] in puller.blobsInFlight == 0 && offload.inFlight == 0 }, location)
    }

    // MARK: Metrics

    /// The port of a metrics listener, which is opened when it is first asked for.
    func metricsPort() throws -> UInt16 {
        if let metricsServer { return metricsServer.port }
        let endpoint = MetricsEndpoint(
            loop: run.loop, offload: offload, metrics: metrics,
            sources: .init(
                store: store, puller: puller, client: client, server: server, probes: probes, droppedLogLines: { 7 }),
            build: [("version", "1"), ("swift", "2"), ("libuv", "3"), ("libcurl", "4"), ("openssl", "5")],
            page: .init(html: Array("<p>page</p>".utf8), fields: [("X-Test", "page")]),
            readingDeadlineMilliseconds: readingDeadlineMilliseconds)
        let server = Server(on: run.loop, offload: offload, logger: log.logger, descriptorLimit: 128) {
            endpoint.handle($0, $1, $2)
        }
        let port = try server.listen(host: "127.0.0.1", port: 0).port
        metricsServer = (server, port)
        return port
    }

    func scrape(_ location: SourceLocation = #_sourceLocation) throws -> Scrape {
        let client = start(.get("/metrics"), port: try metricsPort())
        wait(for: [client], location)
        return Scrape(client.response.text)
    }

    /// How many 429s `registry.test` has given.
    func rateLimitedCount() throws -> Double? {
        try scrape()["ociregistry_upstream_rate_limited_total{ns=\"registry.test\"}"]
    }

    // MARK: What must hold at the end

    /// Digests of files under `blobs/` whose content is not what their name says, and how many files there are.
    func inspectBlobs() -> (wrong: [String], count: Int) {
        var wrong: [String] = []
        var count = 0
        let walk = FileManager.default.enumerator(atPath: store.layout.blobs)
        while let path = walk?.nextObject() as? String {
            let full = "\(store.layout.blobs)/\(path)"
            guard (try? Disk.status(at: full))?.isRegular == true else { continue }
            count += 1
            let name = path.split(separator: "/")
            let bytes = (FileManager.default.contents(atPath: full)).map { Array($0) } ?? []
            let algorithm: Digest.Algorithm = name[0] == "sha512" ? .sha512 : .sha256
            if digestOf(bytes, algorithm).hex != String(name[name.count - 1]) { wrong.append(path) }
        }
        return (wrong, count)
    }
}

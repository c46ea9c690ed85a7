// A real server with a real Prometheus that scrapes it, beside itself and a node_exporter, and scripted upstreams on
// the test's own loop: what there is to see in the dashboards, without a browser.

import Foundation
import TestSupport
import Testing

@testable import Registry

final class ObservedServer {
    /// Upstreams by what is the matter with them. Each is a registry host with `.test` behind it.
    enum Upstream: String, CaseIterable {
        case good, slow, failing, limited, tokens, badtokens

        var host: String { "\(rawValue).test" }
    }

    /// Configured like the others, and nobody listens there.
    static let goneHost = "gone.test"
    static let failoverHost = "failover.test"
    /// The good upstream under a name that has a reserve of its pulls.
    static let quotaHost = "quota.test"
    /// More than the tests store, and less than the largest blob that an upstream claims to have.
    private static let maxBytes = "1TB"
    /// Often, so that the test need not wait long; the rules are evaluated as often.
    private static let interval = "500ms"

    private static let settings = """
        pullTimeout: 600000
        scrub: {interval: 30d, bytesPerSecond: 100KB}
        deny: [/denied/]
        tagPolicies:
        - {match: ':latest$', ttl: 0s}
        - {match: '/team/waiting:', cooldown: 3d}

        """

    let run: LoopRun
    let files: TemporaryDirectory
    let server: OciRegistryProcess
    let port: UInt16
    let metricsPort: UInt16
    let prometheus: PrometheusClient
    private let fakes: [Upstream: FakeUpstream]
    private let prometheusProcess: ChildProcess
    private let nodeExporter: ChildProcess
    private var clients: [TestClient] = []

    /// - Parameter prepare: what is in the cache before the server starts.
    init(prepare: (Layout) throws -> Void) throws {
        run = try LoopRun()
        files = try TemporaryDirectory()
        let loop = run.loop
        fakes = Dictionary(uniqueKeysWithValues: Upstream.allCases.map { ($0, FakeUpstream(on: loop)) })
        var upstreams = Dictionary(uniqueKeysWithValues: fakes.map { ($0.host, $1.authority) })
        upstreams[Self.goneHost] = "127.0.0.1:\(LoopbackPort.free())"
        let images = try files.directory("images")
        // Two endpoints, the first of which is gone.
        let failover = """
            - name: \(Self.failoverHost)
              endpoints: ["http://127.0.0.1:\(LoopbackPort.free())", "http://\(upstreams[Upstream.good.host] ?? "")"]
            - name: \(Self.quotaHost)
              endpoint: "http://\(upstreams[Upstream.good.host] ?? "")"
              quota: {reserve: 50}

            """
        try prepare(Layout(imagePath: images))
        server = try OciRegistryProcess(
            // The token services that are asked answer the same whatever the password is.
            upstreams: upstreams, upstreamSettings: "auth: {user: me, password: wrong}", registries: failover,
            imagePath: images,
            arguments: [
                "--metrics", "0", "--hello-world", "--max-bytes", Self.maxBytes,
                "--min-free-bytes", "1MB",
            ], settings: Self.settings)
        port = try Self.port(in: server.address)
        let mark = "metrics: http://"
        let line = try server.process.line(containing: mark, in: server.process.errors)
        metricsPort = try Self.port(in: String(line.components(after: mark).prefix { $0 != "/" }))

        let (prometheusPort, nodePort) = (LoopbackPort.free(), LoopbackPort.free())
        nodeExporter = try ChildProcess([
            "prometheus-node-exporter", "--web.listen-address=127.0.0.1:\(nodePort)",
        ])
        _ = try nodeExporter.line(containing: "Listening on", in: nodeExporter.errors)
        prometheusProcess = try Self.startPrometheus(
            port: prometheusPort, target: metricsPort, others: ["prometheus": prometheusPort, "node": nodePort],
            in: files)
        prometheus = try PrometheusClient(port: prometheusPort, run: run)
    }

    subscript(_ upstream: Upstream) -> FakeUpstream {
        // Made for every case.
        fakes[upstream]!
    }

    func close() throws {
        for client in clients { client.leave() }
        for fake in fakes.values { fake.close() }
        #expect(try server.stop() == 0, "\(server.process.errors.text)")
        prometheusProcess.stop()
        nodeExporter.stop()
        run.close()
    }

    private static func port(in address: String) throws -> UInt16 {
        try #require(address.split(separator: ":").last.flatMap { UInt16($0) }, "\(address) has no port")
    }

    /// More lines for the job that scrapes the server, separated by semicolons: scripts/soak monitoring sets them.
    private static let jobLines = (ProcessInfo.processInfo.environment["SCRAPE_OPTIONS"] ?? "")
        .split(separator: ";").map { "  \($0)\n" }.joined()

    /// With the configuration that users are given, but for the target, how often, and the other jobs.
    private static func startPrometheus(
        port: UInt16, target: UInt16, others: [String: UInt16], in files: TemporaryDirectory
    ) throws -> ChildProcess {
        let jobs = others.map { name, port in
            "- job_name: \(name)\n  static_configs:\n  - targets: [\"127.0.0.1:\(port)\"]\n"
        }
        let configuration =
            try SourceTree.text("observability/prometheus/prometheus.yml")
            .replacingOccurrences(of: "localhost:2112", with: "127.0.0.1:\(target)")
            .replacingOccurrences(of: "5s", with: interval)
            .replacingOccurrences(of: "job_name: ociregistry\n", with: "job_name: ociregistry\n\(jobLines)")
            + jobs.joined()
        try files.write(try SourceTree.text("observability/prometheus/rules.yml"), to: "rules.yml")
        let path = try files.write(configuration, to: "prometheus.yml")
        let child = try ChildProcess([
            "prometheus", "--config.file=\(path)", "--storage.tsdb.path=\(files.file("prometheus"))",
            "--web.listen-address=127.0.0.1:\(port)",
        ])
        _ = try child.line(containing: "Server is ready to receive web requests", in: child.errors)
        return child
    }

    // MARK: Asking the server

    @discardableResult
    func start(_ request: TestClient.Request, manner: TestClient.ClientBehavior = .init()) -> TestClient {
        let client = TestClient(on: run.loop, port: port, manner: manner, number: clients.count)
        clients.append(client)
        client.send(request)
        return client
    }

    /// Asks, and waits for the answer or the connection's end.
    @discardableResult
    func ask(_ request: TestClient.Request) -> TestClient.Response {
        let client = start(request)
        wait { client.isDone }
        return client.response
    }

    @discardableResult
    func get(_ upstream: Upstream, _ target: String) -> TestClient.Response {
        ask(.get("/v2/\(upstream.host)/\(target)"))
    }

    /// Sends what is no HTTP, and waits to be hung up on.
    func sendGarbage() {
        let client = TestClient(on: run.loop, port: port, manner: .init(), number: clients.count)
        clients.append(client)
        client.sendRaw([1, 2, 3, 13, 10, 13, 10])
        wait { client.end != nil }
    }

    func wait(until condition: @escaping () -> Bool, _ location: SourceLocation = #_sourceLocation) {
        run.wait(until: condition, location)
    }

    // MARK: Asking Prometheus

    /// Asks until the answer has a value above 0.
    func waitToSee(_ query: String, _ location: SourceLocation = #_sourceLocation) throws {
        let deadline = Date(timeIntervalSinceNow: ChildProcess.patienceSeconds)
        while try !prometheus.now(query).contains(where: { $0.values.contains { $0 > 0 } }) {
            guard Date() < deadline else {
                Issue.record("nothing to see of \(query)", sourceLocation: location)
                return
            }
            run.run(milliseconds: 50)
        }
    }

    /// Until all three targets have been scraped, with everything that has happened so far, and the rules have been
    /// evaluated over it.
    func waitForScrapes() throws {
        try waitToSee("count(up == 1) == 3")
        let now = Date().timeIntervalSince1970
        try waitToSee("timestamp(up{job=\"ociregistry\"}) > \(now) + 1")
        try waitToSee("timestamp(instance:ociregistry_http_responses:rate5m) > \(now) + 2")
    }

    /// `/metrics` as it is now.
    func exposition() -> TestClient.Response {
        let client = TestClient(on: run.loop, port: metricsPort, manner: .init(), number: clients.count)
        clients.append(client)
        client.send(.get("/metrics"))
        wait { client.isDone }
        return client.response
    }
}

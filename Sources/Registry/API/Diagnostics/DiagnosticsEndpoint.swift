// `/v2/_ociregistry/`, an extension in the sense of the distribution specification ("Extensions": names with an
// underscore): what `doctor` asks a mirror of which it knows only the address. Clients get the states of the store and
// of the registries that the configuration names, and no credential.

internal import OCI

/// Answers `/v2/_ociregistry/report` and `/v2/_ociregistry/canary/ID`.
package final class DiagnosticsEndpoint {
    package static let reportPath = "/v2/_ociregistry/report"
    package static let canaryPath = "/v2/_ociregistry/canary/"
    private static let prefix: StaticString = "/v2/_ociregistry/"
    private static let report: StaticString = "report"
    private static let canary: StaticString = "canary/"

    /// How long a report is given again before the upstreams are asked anew: any client may ask.
    static let freshMilliseconds: UInt64 = 15_000
    /// How long a client waits. The probes of the disk and of the upstreams have shorter limits.
    static let deadlineMilliseconds: UInt64 = 60_000
    /// Clients that wait for one report.
    static let maximumWaiting = 64

    private let loop: EventLoop
    private let store: Store
    private let probes: ReadinessProbes
    private let upstreams: UpstreamProbes
    private let features: PoolProbe<Result<DiskFeatures, StoreError>>
    private let version: String
    private var waiting: [PendingResponse] = []
    private var isRunning = false
    private var latest: (checks: [DiagnosticReport.Check], milliseconds: UInt64)?

    package init(
        loop: EventLoop, store: Store, client: UpstreamClient, probes: ReadinessProbes, version: String
    ) {
        self.loop = loop
        self.store = store
        self.probes = probes
        self.version = version
        upstreams = UpstreamProbes(client)
        features = PoolProbe(on: loop, deadlineMilliseconds: probes.deadlineMilliseconds) {
            store.findFeatures(then: $0)
        }
    }

    static func isMeant(_ path: UnsafeRawBufferPointer) -> Bool {
        let count = prefix.utf8CodeUnitCount
        return path.count > count && UnsafeRawBufferPointer(rebasing: path[..<count]).equals(prefix)
    }

    func handle(
        _ connection: Connection, _ head: RequestHead, _ path: UnsafeRawBufferPointer, _ canaries: Canaries
    ) {
        guard head.method == .get || head.method == .head else {
            return connection.respond(
                RegistryError(status: 405, code: .unsupported, message: "GET or HEAD only"),
                extra: [("Allow", "GET, HEAD")])
        }
        let rest = UnsafeRawBufferPointer(rebasing: path[DiagnosticsEndpoint.prefix.utf8CodeUnitCount...])
        if rest.equals(DiagnosticsEndpoint.report) { return answerReport(connection) }
        let count = DiagnosticsEndpoint.canary.utf8CodeUnitCount
        guard rest.count > count,
            UnsafeRawBufferPointer(rebasing: rest[..<count]).equals(DiagnosticsEndpoint.canary)
        else {
            return connection.respond(RegistryError(status: 404, code: .unsupported, message: "no such endpoint"))
        }
        let id = UnsafeRawBufferPointer(rebasing: rest[count...])
        guard CanaryName.isID(id) else {
            return connection.respond(
                RegistryError(
                    status: 400, code: .nameInvalid,
                    message: "the id of a canary is \(CanaryName.idBytes) hexadecimal digits in lower case"))
        }
        send(connection, NDJSONLine.encode(canaries.arrivals(of: String(decoding: id, as: UTF8.self))))
    }

    private func send(_ connection: Connection, _ body: [UInt8]) {
        connection.respond(
            status: 200, fields: ResponseFields.json(length: body.count, extra: [("Cache-Control", "no-store")]),
            body: body)
    }

    // MARK: The report

    private func answerReport(_ connection: Connection) {
        if let latest, loop.nowMilliseconds &- latest.milliseconds < DiagnosticsEndpoint.freshMilliseconds {
            return send(connection, report(latest.checks))
        }
        guard waiting.count < DiagnosticsEndpoint.maximumWaiting else {
            return connection.respond(.unavailable("too many clients wait for a report", retryAfterSeconds: 5))
        }
        waiting.append(
            PendingResponse(
                connection, deadlineMilliseconds: DiagnosticsEndpoint.deadlineMilliseconds, waitsForUpstream: false
            ) {
                $0.respond(.unavailable("the checks have not ended in time"))
            })
        guard !isRunning else { return }
        isRunning = true
        check { [self] checks in
            isRunning = false
            latest = (checks, loop.nowMilliseconds)
            let all = waiting
            waiting = []
            let body = report(checks)
            for pending in all { pending.answer { send($0, body) } }
        }
    }

    private func report(_ checks: [DiagnosticReport.Check]) -> [UInt8] {
        NDJSONLine.encode(
            DiagnosticReport(version: version, unixMilliseconds: EventLoop.unixMilliseconds, checks: checks))
    }

    private func check(then: @escaping ([DiagnosticReport.Check]) -> Void) {
        var (storeChecks, upstreamChecks): ([DiagnosticReport.Check], [DiagnosticReport.Check]) = ([], [])
        var left = 2
        let end = {
            left -= 1
            if left == 0 { then(storeChecks + upstreamChecks) }
        }
        checkStore {
            storeChecks = $0
            end()
        }
        guard probes.pulls else {
            upstreamChecks = [.init(name: "upstream", .ok, "air-gapped: no registry is asked")]
            return end()
        }
        upstreams.run {
            upstreamChecks = $0
            end()
        }
    }

    private func checkStore(then: @escaping ([DiagnosticReport.Check]) -> Void) {
        var readiness = Readiness(isRecovered: store.isRecovered, asksForPulls: true)
        readiness.deadlineMilliseconds = probes.deadlineMilliseconds
        probes.reading.ask { [self] reading in
            readiness.reading = reading
            // A pool that hangs gets no further job.
            guard case .answered = reading else { return then(StoreChecks.of(readiness, nil)) }
            probes.askPulling { [self] pulling in
                readiness.pulling = pulling
                guard readiness.isReady else { return then(StoreChecks.of(readiness, nil)) }
                features.ask { then(StoreChecks.of(readiness, $0)) }
            }
        }
    }
}

/// What a report says of the store.
private enum StoreChecks {
    static func of(
        _ readiness: Readiness, _ found: PoolProbe<Result<DiskFeatures, StoreError>>.Outcome?
    ) -> [DiagnosticReport.Check] {
        guard readiness.isReady else {
            return readiness.failures.map { text in
                DiagnosticReport.Check(name: "store", .failed, text, remedy: remedy(text))
            }
        }
        let features: DiskFeatures
        switch found {
        case nil, .late: return [.init(name: "store", .failed, "no answer from the disk", remedy: remedy("no answer"))]
        case .answered(.failure(let error), _):
            return [.init(name: "store", .failed, "cannot be written: \(error)", remedy: remedy(""))]
        case .answered(.success(let answer), _): features = answer
        }
        var checks = [DiagnosticReport.Check(name: "store", .ok, "can be read and written")]
        if !features.reserves {
            checks.append(
                .init(
                    name: "store", .warning, "its file system has no fallocate: a full disk is noticed late",
                    remedy: "keep some space free (minFreeBytes), or use ext4, xfs, btrfs or tmpfs"))
        }
        if !features.sendsFiles {
            checks.append(
                .init(
                    name: "store", .warning, "its file system has no sendfile: sending blobs takes more processor time",
                    remedy: "use a local file system"))
        }
        return checks
    }

    private static func remedy(_ text: String) -> String {
        if text.contains("no room") { return "free space, or let the cache evict images (maxBytes, minFreeBytes)" }
        if text.contains("no answer") { return "the disk hangs: see the log of the kernel" }
        return "see the log of the server; the directory of the cache must be its user's"
    }
}

// The health listener's answers. `/livez` says that the loop turns, `/readyz` that a pull could be served: the thread
// pool answers in time, and the disk takes what is written. `/health` is the reference's, and says as much as it did:
// that somebody listens.

package import Logging

/// What is known when somebody asks whether the server is ready.
struct Readiness {
    /// A pool that has not answered for so long serves nobody: no client waits as long for a file.
    static let deadlineMilliseconds: UInt64 = 2_000

    var isStopping = false
    var isRecovered = true
    /// Nil: not asked.
    var disk: PoolProbe<Result<DiskReport, StoreError>>.Outcome?
    var deadlineMilliseconds = Readiness.deadlineMilliseconds

    var isReady: Bool { failures.isEmpty }

    /// A line for each check that fails.
    var failures: [String] { checks.filter { !$0.isGood }.map(\.text) }

    /// The body of the answer. Recovery is told while it runs and asked of nobody: what is in the cache is found
    /// meanwhile.
    func text(verbose: Bool) -> String {
        var lines = verbose ? checks.map { $0.isGood ? "[+] \($0.text)" : "[-] \($0.text)" } : failures
        if verbose || (isReady && !isRecovered) { lines.append("recovery: \(isRecovered ? "done" : "running")") }
        if isReady { lines.insert("ok", at: 0) }
        return lines.joined(separator: "\n") + "\n"
    }

    private var checks: [(isGood: Bool, text: String)] {
        var checks = [(!isStopping, isStopping ? "stopping" : "running")]
        switch disk {
        case nil: break
        case .late: checks.append((false, "pool: no answer within \(deadlineMilliseconds) ms"))
        case .answered(let result, let milliseconds):
            checks.append((true, "pool: answered in \(milliseconds) ms"))
            checks.append(Readiness.check(result))
        }
        return checks
    }

    private static func check(_ result: Result<DiskReport, StoreError>) -> (Bool, String) {
        switch result {
        case .success(let disk) where disk.isFull:
            (false, "store: no room: \(disk.freeBytes) bytes free, \(disk.wantedBytes) wanted")
        case .success(let disk): (true, "store: \(disk.freeBytes) bytes free")
        case .failure(let error) where error.isNoSpace: (false, "store: no room: \(error)")
        case .failure(let error): (false, "store: \(error)")
        }
    }
}

/// Answers the requests of the health listener.
package final class HealthEndpoint {
    /// Of the descriptor limit's reserve: probes come one at a time, and a flood of them must not take what pulls need.
    package static let descriptorLimit = 128

    private let store: Store
    private let offload: Offload
    private let startMilliseconds = EventLoop.unixMilliseconds
    private let deadlineMilliseconds: UInt64
    private let probe: PoolProbe<Result<DiskReport, StoreError>>
    /// The server is ending: no longer ready, but alive until the end.
    package var isStopping = false

    /// - Parameter writes: whether being able to write is part of being ready.
    package convenience init(on loop: EventLoop, store: Store, offload: Offload, writes: Bool) {
        self.init(
            on: loop, store: store, offload: offload, writes: writes,
            deadlineMilliseconds: Readiness.deadlineMilliseconds)
    }

    init(on loop: EventLoop, store: Store, offload: Offload, writes: Bool, deadlineMilliseconds: UInt64) {
        self.store = store
        self.offload = offload
        self.deadlineMilliseconds = deadlineMilliseconds
        probe = PoolProbe(on: loop, deadlineMilliseconds: deadlineMilliseconds) { then in
            store.lookAtDisk(writes: writes, then: then)
        }
    }

    /// A logger for the listener's own requests: kept out of the log unless everything is wanted, since something asks
    /// every few seconds.
    package static func logger(_ logger: Logger) -> Logger {
        var logger = logger
        if logger.logLevel == .info { logger.logLevel = .notice }
        return logger
    }

    /// Answers one request, now or when the pool has answered.
    package func handle(_ connection: Connection, _ head: RequestHead, _ bytes: UnsafeRawBufferPointer) {
        let path = head.path.in(bytes)
        let isHealth = path.equals("/health")
        let isLive = path.equals("/livez")
        guard isHealth || isLive || path.equals("/readyz") else { return answer(connection, 404, "no such endpoint\n") }
        guard head.method == .get || head.method == .head else {
            return answer(connection, 405, "GET or HEAD only\n", extra: [("Allow", "GET, HEAD")])
        }
        if isHealth {
            return connection.respond(status: 200, fields: ResponseFields.plain(contentType: nil, length: 0))
        }
        let query = QueryItems(head.query.in(bytes))
        let isVerbose = if case .absent = query.item(named: "verbose") { false } else { true }
        if isLive { answer(connection, 200, livenessText(verbose: isVerbose)) } else { ready(connection, isVerbose) }
    }

    private func livenessText(verbose: Bool) -> String {
        guard verbose else { return "ok\n" }
        let seconds = max(0, EventLoop.unixMilliseconds - startMilliseconds) / 1000
        return """
            ok
            up for \(seconds) s
            pool: \(offload.inFlight) jobs under way
            recovery: \(store.isRecovered ? "done" : "running")
            \(isStopping ? "stopping" : "running")

            """
    }

    private func ready(_ connection: Connection, _ isVerbose: Bool) {
        // Nothing more need be known, and a store that is closing takes no more jobs.
        guard !isStopping else { return answer(connection, readiness(nil), isVerbose) }
        probe.ask { [self] outcome in answer(connection, readiness(outcome), isVerbose) }
    }

    private func readiness(_ outcome: PoolProbe<Result<DiskReport, StoreError>>.Outcome?) -> Readiness {
        Readiness(
            isStopping: isStopping, isRecovered: store.isRecovered, disk: outcome,
            deadlineMilliseconds: deadlineMilliseconds)
    }

    private func answer(_ connection: Connection, _ readiness: Readiness, _ isVerbose: Bool) {
        answer(connection, readiness.isReady ? 200 : 503, readiness.text(verbose: isVerbose))
    }

    private func answer(_ connection: Connection, _ status: Int, _ text: String, extra: [(String, String)] = []) {
        let body = Array(text.utf8)
        let fields = ResponseFields.plain(
            contentType: "text/plain; charset=utf-8", length: body.count, extra: extra + [("Cache-Control", "no-store")]
        )
        connection.respond(status: status, fields: fields, body: body)
    }
}

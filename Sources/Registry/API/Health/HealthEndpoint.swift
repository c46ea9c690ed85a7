// The health listener's responses. `/livez` reports that the loop runs, `/readyz` that cached content can be served,
// and `/readyz?pull` that new content could be stored as well (`Readiness`). `/health` is the reference's and reports,
// as there, only that the listener answers.

package import Logging
internal import OCI

/// Answers the requests of the health listener.
package final class HealthEndpoint {
    /// Descriptors taken from the reserve: probes arrive one at a time, and a flood of them must not take those of
    /// pulls.
    package static let descriptorLimit = 128

    private let store: Store
    private let offload: Offload
    private let probes: ReadinessProbes
    private let startMilliseconds = EventLoop.unixMilliseconds
    /// Whether the server is stopping: it is no longer ready, but live until it exits.
    package var isStopping = false

    package init(store: Store, offload: Offload, probes: ReadinessProbes) {
        self.store = store
        self.offload = offload
        self.probes = probes
    }

    /// A logger for the listener's own requests, which probes send every few seconds: it logs them at debug level only.
    package static func logger(_ logger: Logger) -> Logger {
        var logger = logger
        if logger.logLevel == .info { logger.logLevel = .notice }
        return logger
    }

    /// Answers one request, now or after the pool's result.
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
        func isAsked(_ name: StaticString) -> Bool {
            if case .absent = query.item(named: name) { false } else { true }
        }
        let isVerbose = isAsked("verbose")
        if isLive { return answer(connection, 200, livenessText(verbose: isVerbose)) }
        answerReadiness(connection, pulls: isAsked("pull"), isVerbose)
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

    private func answerReadiness(_ connection: Connection, pulls: Bool, _ isVerbose: Bool) {
        // A stopping server needs no check, and a store that is closing accepts no more jobs.
        guard !isStopping else { return answer(connection, readiness(pulls: pulls), isVerbose) }
        var readiness = readiness(pulls: pulls)
        // The checks run concurrently: a disk that hangs costs the client one deadline, not two.
        var left = 1
        let answerWhenKnown: () -> Void = { [self] in
            left -= 1
            if left == 0 { answer(connection, readiness, isVerbose) }
        }
        if pulls || isVerbose {
            left += 1
            probes.askPulling { outcome in
                readiness.pulling = outcome
                answerWhenKnown()
            }
        }
        probes.reading.ask { outcome in
            readiness.reading = outcome
            answerWhenKnown()
        }
    }

    private func readiness(pulls: Bool) -> Readiness {
        Readiness(
            isStopping: isStopping, isRecovered: store.isRecovered, asksForPulls: pulls,
            deadlineMilliseconds: probes.deadlineMilliseconds)
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

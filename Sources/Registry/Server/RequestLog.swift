// The log line of a request. Created only when requests are logged.

internal import Logging
internal import OCI

/// One request, from its head to its last byte.
struct RequestLog {
    var status = 0
    var verdict = Verdict.none
    /// How long the response waited for an upstream; nil when there was no upstream request.
    var upstreamMilliseconds: UInt64?
    private let id: String
    private let method: String
    private let target: String
    private let startMilliseconds: UInt64
    /// Read at the beginning: a connection that was reset has no peer any more.
    private let client: String

    init(
        _ head: RequestHead, _ bytes: UnsafeRawBufferPointer, id: String, startMilliseconds: UInt64, client: String
    ) {
        self.id = id
        self.client = client
        method = String(decoding: head.methodName.in(bytes), as: UTF8.self)
        target = String(decoding: head.target.in(bytes), as: UTF8.self)
        self.startMilliseconds = startMilliseconds
    }

    /// Writes one line: method, path, status, bytes, time, client, cache verdict, id, and the time spent on an
    /// upstream.
    /// - Parameter isCut: whether the response was not sent in full.
    func write(to logger: Logger, bodyBytes: Int, nowMilliseconds: UInt64, isCut: Bool) {
        var metadata: Logger.Metadata = [
            "status": .stringConvertible(status), "bytes": .stringConvertible(bodyBytes),
            "ms": .stringConvertible(nowMilliseconds &- startMilliseconds), "id": "\(id)",
            "client": "\(client)", "cache": "\(verdict == .none ? "-" : verdict.label)",
        ]
        if isCut { metadata["cut"] = "true" }
        if let upstreamMilliseconds { metadata["upstream_ms"] = .stringConvertible(upstreamMilliseconds) }
        logger.info("\(method) \(target)", metadata: metadata)
    }
}

extension Connection {
    /// - Parameter isBroken: whether the body could not be completed.
    func requestEnded(bodyBytes: Int, isBroken: Bool = false) {
        if let metrics = server.metrics {
            measure.end(metrics, bodyBytes: bodyBytes, isBroken: isBroken, now: loop.readClock())
        }
        if logged != nil { writeLog(bodyBytes: bodyBytes, isCut: isBroken) }
    }

    func writeLog(bodyBytes: Int, isCut: Bool) {
        guard let logged else { return }
        self.logged = nil
        logged.write(to: server.logger, bodyBytes: bodyBytes, nowMilliseconds: loop.nowMilliseconds, isCut: isCut)
    }

    /// Records that the response now starting has waited for an upstream.
    package func waitedForUpstream(milliseconds: UInt64) { logged?.upstreamMilliseconds = milliseconds }

    /// Logs an error response outside any request.
    func logRefusal(_ error: RegistryError) {
        server.logger.info(
            "refused",
            metadata: [
                "client": "\(peerName)", "reason": "\(error.message)", "id": "\(requestID)",
                "status": .stringConvertible(error.status),
            ])
    }
}

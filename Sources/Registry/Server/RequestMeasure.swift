// Measures the current request of a connection for the metrics: its start, its endpoint and its outcome.

/// The measurements of a connection's current request.
struct RequestMeasure {
    private var endpoint = Endpoint.other
    private var verdict = Verdict.error
    private var status: UInt16 = 0
    private var isRunning = false
    /// Whether a failure counts as an API error, as in the reference.
    private var countsFailures = false
    /// When the first byte of the current head arrived, or was about to be read.
    private var headNanoseconds: UInt64 = 0
    private var startNanoseconds: UInt64 = 0
    /// 0 until the first byte of the response has been sent.
    private var firstByteNanoseconds: UInt64 = 0

    mutating func headBegins(now: UInt64) { headNanoseconds = now }

    mutating func begin(_ metrics: Metrics) {
        startNanoseconds = headNanoseconds
        firstByteNanoseconds = 0
        endpoint = .other
        countsFailures = false
        isRunning = true
        metrics.requests.inFlight += 1
    }

    /// Sets the endpoint of the request.
    mutating func isAbout(_ endpoint: Endpoint) {
        self.endpoint = endpoint
        countsFailures = endpoint == .manifest || endpoint == .blob
    }

    /// The request names no upstream: the reference does not count that as an API error.
    mutating func namesNoUpstream() { countsFailures = false }

    mutating func answers(_ status: Int, _ verdict: Verdict) {
        self.status = UInt16(truncatingIfNeeded: status)
        self.verdict = status >= 400 ? .error : verdict
    }

    mutating func firstByte(now: UInt64) { firstByteNanoseconds = now }

    /// - Parameter isBroken: the status was sent, but the body could not be completed.
    @inline(__always)
    mutating func end(_ metrics: Metrics, bodyBytes: Int, isBroken: Bool, now: UInt64) {
        guard isRunning else { return }
        isRunning = false
        let first = firstByteNanoseconds == 0 ? now : firstByteNanoseconds
        metrics.requests.inFlight -= 1
        metrics.requests.answered(
            AnsweredRequest(
                endpoint: endpoint, verdict: isBroken ? .error : verdict, status: Int(status),
                firstByteNanoseconds: first &- startNanoseconds, durationNanoseconds: now &- startNanoseconds,
                bodyBytes: bodyBytes))
        if countsFailures, isBroken || status >= 400 { metrics.requests.apiErrors &+= 1 }
    }

    /// The connection has closed; the response can no longer be completed.
    mutating func abandon(_ metrics: Metrics) {
        guard isRunning else { return }
        isRunning = false
        metrics.requests.inFlight -= 1
        metrics.requests.aborted &+= 1
    }
}

// The request that a connection is answering, as the metrics see it: when it began, what it is about, how it ends.

/// One request after another, of one connection.
struct RequestMeasure {
    private var endpoint = Endpoint.other
    private var verdict = Verdict.error
    private var status: UInt16 = 0
    private var isRunning = false
    /// Whether a failure is one of the API's calls, as the reference counts them.
    private var countsFailures = false
    /// When the first byte of the head that is being read came, or was about to be read.
    private var headNanoseconds: UInt64 = 0
    private var startNanoseconds: UInt64 = 0
    /// 0 until the first byte of the answer has gone.
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

    /// What the request turned out to be about.
    mutating func isAbout(_ endpoint: Endpoint) {
        self.endpoint = endpoint
        countsFailures = endpoint == .manifest || endpoint == .blob
    }

    /// It names no upstream: the reference does not call that an error of the API.
    mutating func namesNoUpstream() { countsFailures = false }

    mutating func answers(_ status: Int, _ verdict: Verdict) {
        self.status = UInt16(truncatingIfNeeded: status)
        self.verdict = status >= 400 ? .error : verdict
    }

    mutating func firstByte(now: UInt64) { firstByteNanoseconds = now }

    /// - Parameter isBroken: the status was given, but the body could not be had whole.
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

    /// The connection has closed; what it was answering will never be whole.
    mutating func abandon(_ metrics: Metrics) {
        guard isRunning else { return }
        isRunning = false
        metrics.requests.inFlight -= 1
        metrics.requests.aborted &+= 1
    }
}

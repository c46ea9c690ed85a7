// Counts of the requests that clients send.

/// An answered request.
package struct AnsweredRequest: Sendable {
    package var endpoint: Endpoint
    package var verdict: Verdict
    package var status: Int
    /// Times from the first byte read of the head to the first and the last byte handed to the socket.
    package var firstByteNanoseconds: UInt64
    package var durationNanoseconds: UInt64
    package var bodyBytes: Int

    package init(
        endpoint: Endpoint, verdict: Verdict, status: Int, firstByteNanoseconds: UInt64, durationNanoseconds: UInt64,
        bodyBytes: Int
    ) {
        self.endpoint = endpoint
        self.verdict = verdict
        self.status = status
        self.firstByteNanoseconds = firstByteNanoseconds
        self.durationNanoseconds = durationNanoseconds
        self.bodyBytes = bodyBytes
    }
}

package struct RequestCounts: Sendable {
    // Counted as in the reference.
    package var manifestPulls: UInt64 = 0
    package var blobPulls: UInt64 = 0
    package var endpointHits: UInt64 = 0
    package var apiErrors: UInt64 = 0

    package private(set) var durations = HistogramTable(.requests, rows: rowCount)
    package private(set) var firstBytes = HistogramTable(.requests, rows: rowCount)
    private var responses = Array(repeating: UInt64(0), count: Endpoint.allCases.count * StatusClass.allCases.count)
    private var bytes = Array(repeating: UInt64(0), count: Verdict.allCases.count)
    package var inFlight = 0
    /// Clients that left before their response was complete.
    package var aborted: UInt64 = 0
    package var malformed: UInt64 = 0
    /// Requests for cached content without a proof.
    package var withoutProof: [ProofResult: UInt64] = [:]
    private var denied = Array(repeating: UInt64(0), count: DenyingRule.allCases.count)
    package var connectionsAccepted: UInt64 = 0
    package var connectionsRefused: UInt64 = 0

    /// The possible pairs; each has its series from the start.
    package static let pairs: [(endpoint: Endpoint, verdict: Verdict)] =
        [(.base, .none)]
        + [.hit, .joined, .miss, .stale, .error].map { (.manifest, $0) }
        + [.hit, .joined, .miss, .error].map { (.blob, $0) }
        + [.hit, .miss, .stale, .error].map { (.tags, $0) } + [.hit, .miss, .stale, .error].map { (.referrers, $0) }
        + [(.other, .error)]

    private static let rowCount = Endpoint.allCases.count * Verdict.allCases.count

    static func row(_ endpoint: Endpoint, _ verdict: Verdict) -> Int {
        Int(endpoint.rawValue) * Verdict.allCases.count + Int(verdict.rawValue)
    }

    /// Counts a response whose last byte has been handed over. No allocation.
    package mutating func answered(_ request: AnsweredRequest) {
        let row = RequestCounts.row(request.endpoint, request.verdict)
        let bucket = durations.bucket(of: request.durationNanoseconds)
        durations.observe(request.durationNanoseconds, bucket: bucket, row: row)
        // A response sent in one write has one time.
        let isOneWrite = request.firstByteNanoseconds == request.durationNanoseconds
        firstBytes.observe(
            request.firstByteNanoseconds,
            bucket: isOneWrite ? bucket : firstBytes.bucket(of: request.firstByteNanoseconds), row: row)
        let status = Int(StatusClass(request.status).rawValue)
        responses[Int(request.endpoint.rawValue) * StatusClass.allCases.count + status] &+= 1
        bytes[Int(request.verdict.rawValue)] &+= UInt64(clamping: request.bodyBytes)
    }

    /// Responses of one endpoint and status class.
    package func responses(_ endpoint: Endpoint, _ status: StatusClass) -> UInt64 {
        responses[Int(endpoint.rawValue) * StatusClass.allCases.count + Int(status.rawValue)]
    }

    /// Counts a request that a rule on names denied.
    package mutating func denied(by rule: DenyingRule) { denied[Int(rule.rawValue)] &+= 1 }

    /// Requests that a rule on names denied.
    package func deniedCount(by rule: DenyingRule) -> UInt64 { denied[Int(rule.rawValue)] }

    /// Body bytes sent with one verdict.
    package func responseBytes(_ verdict: Verdict) -> UInt64 { bytes[Int(verdict.rawValue)] }

    /// Responses of one endpoint and verdict.
    package func answers(_ endpoint: Endpoint, _ verdict: Verdict) -> UInt64 {
        durations.count(row: RequestCounts.row(endpoint, verdict))
    }
}

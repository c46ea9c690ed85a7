// The server's counters: plain integers, changed on the loop thread where the event happens. Catalog has their names
// and meanings; values that are only read for a scrape (sizes, memory) are in Readings.

package import OCI

/// The counts of one upstream (label `ns`).
package struct NamespaceCounts: Sendable {
    /// Labels of responses to upstream requests: the status classes, and last the requests without a response.
    package static let answerLabels = StatusClass.allCases.map(\.label) + ["error"]

    package var cachedPulls: UInt64 = 0
    package var upstreamPulls: UInt64 = 0
    package var answers: [UInt64] = Array(repeating: 0, count: answerLabels.count)
    package var receivedBytes: UInt64 = 0
    package var tokensGranted: UInt64 = 0
    package var tokensRefused: UInt64 = 0
    package var rateLimited: UInt64 = 0
    package var credentialsRefused: UInt64 = 0
    package var endpointsFailed: UInt64 = 0
    /// Pulls not made to save its quota, by `PullKind`.
    package var quotaSaved: [UInt64] = Array(repeating: 0, count: PullKind.allCases.count)
    /// The last limit that it stated; nil before the first.
    package var rateLimit: StatedRateLimit?
}

/// A limit of requests as a registry states it in its responses (Docker Hub's `ratelimit-limit: 100;w=21600`).
package struct StatedRateLimit: Sendable, Equatable {
    package var limit: Int?
    package var remaining: Int?
    /// The period, in seconds.
    package var windowSeconds: Int?

    package init(limit: Int?, remaining: Int?, windowSeconds: Int? = nil) {
        self.limit = limit
        self.remaining = remaining
        self.windowSeconds = windowSeconds
    }
}

/// The outcome of loading the configuration, at the start or by a reload.
package struct ConfigLoads: Sendable {
    /// Whether the last load succeeded.
    package var hasLastLoadSucceeded = false
    /// When the configuration in use was loaded, in seconds since 1970.
    package var lastSuccessSeconds: Int64 = 0

    package init() {}
}

/// Counters of one server.
package final class Metrics {
    package var requests = RequestCounts()
    package var pulls = PullCounts()
    package var configLoads = ConfigLoads()
    package var tags = TagCounts()
    package var lists = ListCounts()

    package private(set) var namespaces: Namespaces
    /// Indexed by namespace number.
    package private(set) var byNamespace: [NamespaceCounts]
    package private(set) var upstreamDurations: HistogramTable
    package private(set) var upstreamFirstBytes: HistogramTable

    /// - Parameter configured: hosts that have a label value from the start.
    package init(configured: [RegistryHost] = []) {
        namespaces = Namespaces(configured: configured)
        let count = namespaces.labels.count
        byNamespace = Array(repeating: NamespaceCounts(), count: count)
        upstreamDurations = HistogramTable(.upstreams, rows: count)
        upstreamFirstBytes = HistogramTable(.upstreams, rows: count)
    }

    /// The index of the host's counters; nil if the host is counted under `other`.
    package func number(of host: RegistryHost) -> Int? { namespaces.number(of: host) }

    /// Gives a host its own number, after a good response or because the cache contains something of it.
    /// - Returns: its number from now on.
    @discardableResult
    package func admit(_ host: RegistryHost) -> Int {
        let (number, isNew) = namespaces.admit(host)
        if isNew {
            byNamespace.append(NamespaceCounts())
            upstreamDurations.addRow()
            upstreamFirstBytes.addRow()
        }
        return number
    }

    // MARK: Manifest pulls, as the reference counts them

    /// A manifest pull answered from the cache.
    package func countCachedPull(_ namespace: Int) { byNamespace[namespace].cachedPulls &+= 1 }

    /// Counts a manifest pull that makes an upstream request. For a host without a number it is counted at its end,
    /// when the host may have one.
    package func upstreamPullBegan(_ host: RegistryHost) -> UpstreamPullTally {
        guard let number = number(of: host) else { return UpstreamPullTally(host: host, isCounted: false) }
        byNamespace[number].upstreamPulls &+= 1
        return UpstreamPullTally(host: host, isCounted: true)
    }

    /// Counts a pull that was not counted at its start.
    package func upstreamPullEnded(_ tally: UpstreamPullTally) {
        if !tally.isCounted { byNamespace[number(of: tally.host) ?? Namespaces.other].upstreamPulls &+= 1 }
    }

    // MARK: Requests to upstreams

    /// Counts a finished upstream request.
    package func upstreamAnswered(_ host: RegistryHost, _ request: UpstreamRequestMeasure) {
        let number = number(of: host) ?? Namespaces.other
        byNamespace[number].answers[request.status.map { Int(StatusClass($0).rawValue) } ?? 4] &+= 1
        byNamespace[number].receivedBytes &+= request.receivedBytes
        upstreamDurations.observe(request.durationNanoseconds, row: number)
        if let first = request.firstByteNanoseconds { upstreamFirstBytes.observe(first, row: number) }
    }

    /// Counts a 429 from an upstream or its token service.
    package func rateLimited(_ host: RegistryHost) {
        byNamespace[number(of: host) ?? Namespaces.other].rateLimited &+= 1
    }

    /// Records a stated limit. The hosts under `other` would overwrite one another's.
    package func rateLimitStated(_ host: RegistryHost, _ rateLimit: StatedRateLimit) {
        if let number = number(of: host) { byNamespace[number].rateLimit = rateLimit }
    }

    /// Counts a refusal of the configured credentials by an upstream or its token service.
    package func credentialsRefused(_ host: RegistryHost) {
        byNamespace[number(of: host) ?? Namespaces.other].credentialsRefused &+= 1
    }

    /// Counts a request that an upstream's endpoint did not answer usably, and that went to its next one.
    package func endpointFailed(_ host: RegistryHost) {
        byNamespace[number(of: host) ?? Namespaces.other].endpointsFailed &+= 1
    }

    /// Counts a pull that was not made, to save the upstream's quota.
    package func quotaSaved(_ host: RegistryHost, _ kind: PullKind) {
        byNamespace[number(of: host) ?? Namespaces.other].quotaSaved[Int(kind.rawValue)] &+= 1
    }

    /// Counts a token request, granted or not.
    package func tokenAnswered(_ host: RegistryHost, granted: Bool) {
        if granted {
            byNamespace[admit(host)].tokensGranted &+= 1
        } else {
            byNamespace[number(of: host) ?? Namespaces.other].tokensRefused &+= 1
        }
    }
}

/// A started upstream manifest pull.
package struct UpstreamPullTally: Sendable {
    fileprivate let host: RegistryHost
    fileprivate let isCounted: Bool
}

/// One upstream request, from its start to its last byte.
package struct UpstreamRequestMeasure: Sendable {
    /// Nil when no response arrived.
    package var status: Int?
    package var receivedBytes: UInt64 = 0
    package var firstByteNanoseconds: UInt64?
    package var durationNanoseconds: UInt64 = 0

    package init() {}
}

/// Pulls, counted at their end.
package struct PullCounts: Sendable {
    package var succeeded: [UInt64] = Array(repeating: 0, count: PullKind.allCases.count)
    package var failed: [UInt64] = Array(repeating: 0, count: PullKind.allCases.count)
    package var resumed: UInt64 = 0
    package var verificationFailures: [UInt64] = Array(repeating: 0, count: PullKind.allCases.count)
    /// Requests that joined another request's pull.
    package var coalesced: [UInt64] = Array(repeating: 0, count: PullKind.allCases.count)

    /// Requests answered from memory with an upstream's 404 or 403.
    package private(set) var notFoundHits: UInt64 = 0
    package private(set) var deniedHits: UInt64 = 0

    /// Blobs and ranges of blobs that passed through, since the cache had no room.
    package var passed: UInt64 = 0
    /// Requests for ranges ahead of a pull that have ended.
    package var aheadSucceeded: UInt64 = 0
    package var aheadFailed: UInt64 = 0
    package var aheadBytes: UInt64 = 0

    package mutating func aheadEnded(receivedBytes: Int64, succeeded isSuccess: Bool) {
        if isSuccess { aheadSucceeded &+= 1 } else { aheadFailed &+= 1 }
        aheadBytes &+= UInt64(clamping: receivedBytes)
    }

    package mutating func ended(_ kind: PullKind, succeeded isSuccess: Bool) {
        if isSuccess { succeeded[Int(kind.rawValue)] &+= 1 } else { failed[Int(kind.rawValue)] &+= 1 }
    }

    /// - Parameter status: the client's, 404 or 403.
    package mutating func negativeHit(status: Int) {
        if status == 404 { notFoundHits &+= 1 } else { deniedHits &+= 1 }
    }

    package mutating func verificationFailed(_ kind: PullKind) { verificationFailures[Int(kind.rawValue)] &+= 1 }

    package mutating func joined(_ kind: PullKind) { coalesced[Int(kind.rawValue)] &+= 1 }
}

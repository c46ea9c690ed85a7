// What the server counts as it works: plain integers, changed on the loop's thread where the thing happens.
// The names and meanings are in Catalog; what is only looked at when somebody asks (sizes, memory) is in Readings.

package import OCI

/// What is counted for each value of `ns`.
package struct NamespaceCounts: Sendable {
    /// Answers to upstream requests: a class of statuses each, and last those that never came.
    package static let answerLabels = StatusClass.allCases.map(\.label) + ["error"]

    package var cachedPulls: UInt64 = 0
    package var upstreamPulls: UInt64 = 0
    package var answers: [UInt64] = Array(repeating: 0, count: answerLabels.count)
    package var receivedBytes: UInt64 = 0
    package var tokensGranted: UInt64 = 0
    package var tokensRefused: UInt64 = 0
    package var rateLimited: UInt64 = 0
    package var credentialsRefused: UInt64 = 0
}

/// Counters of one server.
package final class Metrics {
    package var requests = RequestCounts()
    package var pulls = PullCounts()

    package private(set) var namespaces: Namespaces
    /// By the namespace's number.
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

    /// The host's number, if it has one of its own.
    package func number(of host: RegistryHost) -> Int? { namespaces.number(of: host) }

    /// The host has answered well, or the cache holds something by its name.
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

    /// A manifest pull that asks the upstream. One of a host without a number is counted when it `ended`, since then
    /// the host may have one.
    package func upstreamPullBegan(_ host: RegistryHost) -> UpstreamPullTally {
        guard let number = number(of: host) else { return UpstreamPullTally(host: host, isCounted: false) }
        byNamespace[number].upstreamPulls &+= 1
        return UpstreamPullTally(host: host, isCounted: true)
    }

    package func upstreamPullEnded(_ tally: UpstreamPullTally) {
        if !tally.isCounted { byNamespace[number(of: tally.host) ?? Namespaces.other].upstreamPulls &+= 1 }
    }

    // MARK: Requests to upstreams

    /// An upstream request has ended.
    package func upstreamAnswered(_ host: RegistryHost, _ request: UpstreamRequestMeasure) {
        let number = number(of: host) ?? Namespaces.other
        byNamespace[number].answers[request.status.map { Int(StatusClass($0).rawValue) } ?? 4] &+= 1
        byNamespace[number].receivedBytes &+= request.receivedBytes
        upstreamDurations.observe(request.durationNanoseconds, row: number)
        if let first = request.firstByteNanoseconds { upstreamFirstBytes.observe(first, row: number) }
    }

    /// An upstream, or its token service, has answered 429.
    package func rateLimited(_ host: RegistryHost) {
        byNamespace[number(of: host) ?? Namespaces.other].rateLimited &+= 1
    }

    /// An upstream, or its token service, has refused the configured credentials.
    package func credentialsRefused(_ host: RegistryHost) {
        byNamespace[number(of: host) ?? Namespaces.other].credentialsRefused &+= 1
    }

    /// A token service has answered, or not.
    package func tokenAnswered(_ host: RegistryHost, granted: Bool) {
        if granted {
            byNamespace[admit(host)].tokensGranted &+= 1
        } else {
            byNamespace[number(of: host) ?? Namespaces.other].tokensRefused &+= 1
        }
    }
}

/// An upstream manifest pull that has begun.
package struct UpstreamPullTally: Sendable {
    fileprivate let host: RegistryHost
    fileprivate let isCounted: Bool
}

/// One upstream request, from its start to its last byte.
package struct UpstreamRequestMeasure: Sendable {
    /// Nil when no answer came.
    package var status: Int?
    package var receivedBytes: UInt64 = 0
    package var firstByteNanoseconds: UInt64?
    package var durationNanoseconds: UInt64 = 0

    package init() {}
}

/// Pulls, counted where they end.
package struct PullCounts: Sendable {
    package var succeeded: [UInt64] = Array(repeating: 0, count: PullKind.allCases.count)
    package var failed: [UInt64] = Array(repeating: 0, count: PullKind.allCases.count)
    package var resumed: UInt64 = 0
    package var verificationFailures: [UInt64] = Array(repeating: 0, count: PullKind.allCases.count)
    /// Requests that joined another's pull.
    package var coalesced: [UInt64] = Array(repeating: 0, count: PullKind.allCases.count)

    package mutating func ended(_ kind: PullKind, succeeded isSuccess: Bool) {
        if isSuccess { succeeded[Int(kind.rawValue)] &+= 1 } else { failed[Int(kind.rawValue)] &+= 1 }
    }

    package mutating func verificationFailed(_ kind: PullKind) { verificationFailures[Int(kind.rawValue)] &+= 1 }

    package mutating func joined(_ kind: PullKind) { coalesced[Int(kind.rawValue)] &+= 1 }
}

// The pulls that registries say are left of their limits (Docker Hub's `ratelimit-remaining: 76;w=21600`), so that the
// last ones are kept for what clients need.

package import OCI

/// What upstreams last stated. A pure value; times are the loop's milliseconds.
package struct StatedQuotas: Sendable {
    /// Upstreams remembered, the one that ends first is dropped: an entry's pattern may match any number.
    static let maximumUpstreams = 256
    /// For how long a number counts that came without a period. Most limits are by the hour or shorter.
    static let defaultWindowSeconds = 3600
    /// A longer period than a day is a wrong header, and must not keep tags stale for days.
    static let maximumWindowSeconds = 86_400

    private struct Statement {
        let remaining: Int
        let endMilliseconds: UInt64
        /// The address that has stated it: an upstream may have others, without a limit.
        let endpoint: String
    }

    private var statements: [RegistryHost: Statement] = [:]

    package init() {}

    package var count: Int { statements.count }

    /// Records an answer to a manifest request.
    /// - Parameters:
    ///   - limit: what the answer stated; nil when it stated nothing, which ends what its endpoint stated before.
    ///   - endpoint: the address that answered.
    package mutating func answered(_ host: RegistryHost, _ limit: StatedRateLimit?, by endpoint: String, now: UInt64) {
        guard let limit, let remaining = limit.remaining else {
            if statements[host]?.endpoint == endpoint { statements[host] = nil }
            return
        }
        if statements[host] == nil, statements.count >= StatedQuotas.maximumUpstreams { makeRoom(now: now) }
        let seconds = min(limit.windowSeconds ?? StatedQuotas.defaultWindowSeconds, StatedQuotas.maximumWindowSeconds)
        statements[host] = Statement(
            remaining: remaining, endMilliseconds: now.addingSaturated(UInt64(clamping: seconds) * 1000),
            endpoint: endpoint)
    }

    /// The pulls that an upstream has left; nil when it has stated nothing within its period.
    package func remaining(_ host: RegistryHost, now: UInt64) -> Int? {
        statements[host].flatMap { now < $0.endMilliseconds ? $0.remaining : nil }
    }

    /// Forgets everything: other credentials have other limits.
    package mutating func clear() { statements = [:] }

    private mutating func makeRoom(now: UInt64) {
        statements = statements.filter { now < $0.value.endMilliseconds }
        guard statements.count >= StatedQuotas.maximumUpstreams else { return }
        if let first = statements.min(by: { $0.value.endMilliseconds < $1.value.endMilliseconds }) {
            statements[first.key] = nil
        }
    }
}

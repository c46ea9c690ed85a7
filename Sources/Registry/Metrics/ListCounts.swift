// Counts of lists of tags and referrers.

/// Lists by their endpoints, `tags` and `referrers`.
package struct ListCounts: Sendable {
    /// A list's endpoint, and why it was served offline.
    private struct Offline: Hashable {
        let endpoint: Endpoint
        let reason: OfflineReason
    }

    private struct Revalidation: Hashable {
        let endpoint: Endpoint
        let result: ListRevalidation
    }

    package static let endpoints: [Endpoint] = [.tags, .referrers]

    private var offline: [Offline: UInt64] = [:]
    private var revalidations: [Revalidation: UInt64] = [:]

    package init() {}

    /// Counts a list that was served although its upstream did not confirm it.
    package mutating func servedOffline(_ endpoint: Endpoint, _ reason: OfflineReason) {
        offline[Offline(endpoint: endpoint, reason: reason), default: 0] &+= 1
    }

    package func offlineCount(_ endpoint: Endpoint, _ reason: OfflineReason) -> UInt64 {
        offline[Offline(endpoint: endpoint, reason: reason), default: 0]
    }

    /// Counts the end of a request for a whole list.
    package mutating func revalidated(_ endpoint: Endpoint, _ result: ListRevalidation) {
        revalidations[Revalidation(endpoint: endpoint, result: result), default: 0] &+= 1
    }

    package func revalidationCount(_ endpoint: Endpoint, _ result: ListRevalidation) -> UInt64 {
        revalidations[Revalidation(endpoint: endpoint, result: result), default: 0]
    }
}

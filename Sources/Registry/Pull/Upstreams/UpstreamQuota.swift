// What the answers of upstreams say of their limits, and the pulls that are saved because of it.

internal import Configuration
internal import Logging
package import OCI

extension UpstreamServices {
    /// Admits the upstream to the metrics after a good answer, and records the limit that it states itself: where it
    /// redirects to may have others.
    func recordAnswer(_ head: UpstreamHead, of exchange: UpstreamExchange, isWanted: Bool) {
        let endpoint = exchange.endpoint
        if isWanted { metrics.admit(endpoint.host) }
        guard head.url.origin == endpoint.base.origin else { return }
        let limit = head.rateLimit
        if let limit { metrics.rateLimitStated(endpoint.host, limit) }
        guard let reserve = exchange.upstream.config?.quotaReserve,
            limit != nil || (isWanted && exchange.request.kind == .manifest)
        else { return }
        let (host, now) = (endpoint.host, loop.nowMilliseconds)
        let hadEnough = quotas.remaining(host, now: now).map { $0 >= reserve } ?? true
        quotas.answered(host, limit, by: endpoint.label, now: now)
        guard hadEnough, let remaining = quotas.remaining(host, now: now), remaining < reserve else { return }
        // Accounts behind one address may state different numbers in turn.
        guard quotaLogLines.hasRoom(now: now) else { return }
        quotaLogLines.take()
        logger.warning(
            "the upstream has few pulls left: cached tags are served as they are, and nothing is prefetched",
            metadata: ["host": "\(host)", "left": "\(remaining)", "reserve": "\(reserve)", "reason": "quota"])
    }
}

extension UpstreamClient {
    /// The pulls that an upstream with a `quota` has stated as left; nil where it has stated none.
    func remainingPulls(of host: RegistryHost) -> Int? { services.quotas.remaining(host, now: loop.nowMilliseconds) }

    /// Whether an upstream has stated that fewer pulls are left than its `quota.reserve`.
    package func mustSaveQuota(_ host: RegistryHost) -> Bool {
        guard let reserve = upstream(for: host).config?.quotaReserve else { return false }
        return services.quotas.remaining(host, now: loop.nowMilliseconds).map { $0 < reserve } ?? false
    }
}

// `maxConnections`: exchanges take a slot of their upstream, or wait for one.

internal import Configuration
internal import OCI

extension UpstreamServices {
    private func maximumConnections(_ upstream: Upstream) -> Int? {
        settings.maximumConnections(of: upstream.config?.connections)
    }

    func hasSlot(for upstream: Upstream) -> Bool {
        slots.hasRoom(at: upstream.host, limit: maximumConnections(upstream))
    }

    /// Takes a slot for the exchange, or queues it; then it begins again later.
    func takeSlot(_ exchange: UpstreamExchange) -> Bool {
        slots.enter(
            ObjectIdentifier(exchange), of: exchange.upstream.host, isLong: !exchange.request.isUnqueued,
            limit: maximumConnections(exchange.upstream))
    }

    func leaveSlot(_ exchange: UpstreamExchange) {
        let limit = maximumConnections(exchange.upstream)
        let next = slots.leave(ObjectIdentifier(exchange), of: exchange.upstream.host, limit: limit)
        if let next { begin(next) }
    }

    /// Starts the requests that changed limits let start.
    func startWaiting(limit: (RegistryHost) -> Int?) {
        for next in slots.startable(limit: limit) { begin(next) }
    }

    private func begin(_ waiting: ObjectIdentifier) {
        // It waits, so it has not ended and is retained here.
        loop.deferred.enqueue { [self] in exchanges[waiting]?.begin() }
    }
}

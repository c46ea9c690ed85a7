// What an exchange does when an endpoint fails or refuses the credentials: it asks the next endpoint, or gets other
// credentials and asks again.

internal import Logging
internal import OCI

extension UpstreamExchange {
    var canRenew: Bool { endpoint.source.isRenewable && !hasRenewed }

    /// Asks the next endpoint. The machine of this one is over.
    func tryNextEndpoint(reason: String) {
        guard let next = remaining.popFirst() else { return end(.unreachable(reason)) }
        services.logger.warning(
            "an endpoint of the upstream failed; the next one is asked",
            metadata: [
                "host": "\(upstream.host)", "endpoint": "\(endpoint.label)", "next": "\(next.label)",
                "repository": "\(request.repository)", "reason": "\(reason)",
            ])
        services.metrics.endpointFailed(upstream.host)
        endpoint.endTrial(self, isDecided: false, services.loop.deferred)
        endpoint = next
        hasRenewed = false
        askEndpoint()
    }

    /// Gets other credentials than the refused ones, and starts again; without others the exchange fails.
    func renewCredentials(otherwise failure: UpstreamFailure) {
        hasRenewed = true
        endpoint.endTrial(self, isDecided: true, services.loop.deferred)
        endpoint.source.renew(usedCredentials) { [weak self] isChanged in
            guard let self, handler != nil else { return }
            if isChanged { return askEndpoint() }
            if let status = refusedStatus { credentialsAnswered(status) }
            fail(failure)
        }
    }

    /// Whether a status may mean that the credentials are no longer valid. ECR says of an expired token that it is
    /// forbidden; a fresh one is not asked for again because of that.
    func mayHaveExpired(_ status: Int) -> Bool {
        status == 401 || (status == 403 && endpoint.source.isOld)
    }

    func credentialsAnswered(_ status: Int) {
        services.credentials.answered(
            endpoint, usedCredentials, status, for: request.repository, askedMilliseconds: askedMilliseconds)
        let saysNothing = status == 408 || status == 429 || status >= 500
        endpoint.endTrial(self, isDecided: !saysNothing, services.loop.deferred)
    }

    /// Ends the exchange, unless another endpoint can be asked.
    func fail(_ failure: UpstreamFailure) {
        switch failure {
        case .refused(let error) where error.status < 500: break
        case .addressRefused: break
        default: noteFailure()
        }
        if endpoint === upstream.endpoints.last { lastFailure = failure }
        if !remaining.isEmpty { return tryNextEndpoint(reason: failure.reason) }
        if case .rateLimited(let seconds) = failure {
            return wasLimited(retryAfterSeconds: seconds) ? begin() : endLimited()
        }
        end(explained(failure))
    }

    /// Without credentials that could be had, a denial says nothing of the image.
    func explained(_ failure: UpstreamFailure) -> UpstreamFailure {
        guard case .refused(let error) = failure, error.status == 403, endpoint.source.current == nil,
            let missing = endpoint.source.failure
        else { return failure }
        return .refused(UpstreamAnswer.noCredentials(upstream.host, missing))
    }

    /// Records a failure of the endpoint, such as content that is not what its digest says.
    func noteFailure() {
        guard upstream.endpoints.count > 1 else { return }
        endpoint.failed(askedMilliseconds: askedMilliseconds, now: services.loop.nowMilliseconds)
    }

    /// Why an answer is not taken while there are other endpoints; nil for one that is.
    func reasonToTryNext(_ status: Int) -> String? {
        guard !remaining.isEmpty else { return nil }
        switch status {
        case 404, 410:
            return endpoint.is404Final || endpoint === upstream.endpoints.last ? nil : "it answered \(status)"
        case 401, 403, 408, 429, 451, 500...: return "it answered \(status)"
        default: return nil
        }
    }

    func denial(_ head: UpstreamHead, _ hint: String?) -> UpstreamFailure {
        .refused(UpstreamAnswer.denied(upstream.host, status: head.status, hint: hint))
    }
}

// What an exchange does with the heads and bytes of its transfers.

internal import Logging
internal import OCI

extension UpstreamExchange: TransferHandler {
    package func transfer(_ transfer: Transfer, received head: UpstreamHead) {
        let challenge = BearerChallenge.parse(head.fields.values("www-authenticate"))
        let location = head.fields.first("location")
        let answer = ExchangeMachine.Answer(
            status: head.status, challenge: challenge, realm: challenge.flatMap { UpstreamURL($0.realm) },
            hasLocation: location != nil, location: location.flatMap { head.url.resolving($0) })
        let isRenewing = sendsCredentials && canRenew && mayHaveExpired(head.status)
        if sendsCredentials, !isRenewing { credentialsAnswered(head.status) }
        if endpoint.notePing(head.url, answer, now: services.loop.nowMilliseconds) { sendsCredentials = false }
        var action = isRenewing ? renewal(head.status) : machine?.handle(.answer(answer)) ?? .deliver(deniedHint: nil)
        if case .deliver(let hint) = action {
            if let reason = reasonToTryNext(head.status) {
                if [408, 429].contains(head.status) || head.status >= 500 { noteFailure() }
                if endpoint === upstream.endpoints.last {
                    lastFailure = .unreachable("\(endpoint.label) answered \(head.status)")
                }
                action = .tryNextEndpoint(reason: reason)
            } else if [404, 410].contains(head.status), !endpoint.is404Final, let lastFailure {
                action = .fail(lastFailure)
            } else if head.status == 429, wasLimited(retryAfterSeconds: head.retryAfter) {
                action = .waitForPause
            } else if [401, 403].contains(head.status), case .refused(let error) = explained(denial(head, hint)),
                error.status != 403
            {
                action = .fail(.refused(error))
            } else {
                return deliver(head, hint: hint)
            }
        }
        phase = .draining(then: action)
        let isTooLong = head.contentLength ?? 0 > Int64(UpstreamExchange.maximumDrainedBytes)
        if head.isCloseDelimited || head.refusedSize != nil || isTooLong { abandonBody() }
    }

    private func renewal(_ status: Int) -> ExchangeMachine.Action {
        refusedStatus = status
        let refused =
            status == 401
            ? UpstreamAnswer.credentialsRefused(by: upstream.host)
            : UpstreamAnswer.denied(upstream.host, status: status, hint: nil, upstreamStatus: status)
        return .renewCredentials(otherwise: .refused(refused))
    }

    package func transfer(_ transfer: Transfer, received bytes: UnsafeRawBufferPointer) -> Bool {
        if case .delivering = phase {
            measure.receivedBytes &+= UInt64(bytes.count)
            return handler?.exchange(self, received: bytes) ?? false
        }
        drainedBytes += bytes.count
        if drainedBytes > UpstreamExchange.maximumDrainedBytes { abandonBody() }
        return true
    }

    package func transfer(_ transfer: Transfer, ended failure: TransferFailure?) {
        switch phase {
        case .asking:
            guard let failure else { return end(.broken("it gave no answer")) }
            services.logger.debug(
                "upstream request failed", metadata: ["host": "\(upstream.host)", "reason": "\(failure.reason)"])
            handle(.failed(failure))
        case .draining(let action): perform(action)
        case .swallowing: end(nil)
        case .delivering:
            if failure == nil { endpoint.succeeded() } else { noteFailure() }
            end(failure.map { UpstreamFailure($0) })
        }
    }

    private func deliver(_ received: UpstreamHead, hint: String?) {
        var head = received
        head.deniedHint = hint
        switch head.status {
        case 429: head.retryAfterSeconds = services.rateLimits.error(limited).retryAfterSeconds
        case 408, 500...: head.retryAfterSeconds = received.retryAfter
        // Neither refused credentials nor an error shows that the repository is no longer limited.
        case 401, 403: break
        default: services.rateLimits.answered(limited, askedMilliseconds: askedMilliseconds)
        }
        let isWanted = head.status == 200 || head.status == 206
        services.recordAnswer(received, of: self, isWanted: isWanted)
        measure.status = head.status
        measure.firstByteNanoseconds = startNanoseconds.map { EventLoop.nowNanoseconds &- $0 }
        phase = isWanted ? .delivering : .swallowing
        handler?.exchange(self, received: head)
    }

    /// Gives up the connection, because the rest of the body is not worth reading.
    private func abandonBody() {
        transfer?.cancel()
        services.loop.deferred.enqueue { [self] in
            if case .draining(let action) = phase { perform(action) } else { end(nil) }
        }
    }
}

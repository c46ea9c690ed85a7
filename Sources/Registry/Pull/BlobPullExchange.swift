// The upstream requests of a blob pull, and the events that are made of the answers.

internal import Logging
internal import OCI

extension BlobPull {
    func request(from offset: Int64) {
        bytesToSkip = 0
        let stop = received == offset ? ahead?.nextSpanStart(from: offset) : nil
        if stop == offset {
            return context.loop.deferred.enqueue { [weak self] in self?.handle(.reachedSpan(position: offset)) }
        }
        requestedEnd = offset > 0 ? stop : nil
        if !isAfterSpan, offset > 0 || received > 0 {
            context.metrics.pulls.resumed &+= 1
            context.logger.info("resuming blob pull", metadata: metadata(["offset": .stringConvertible(offset)]))
        }
        var request = UpstreamRequest.blob(.get, blob.key.digest, source)
        request.rangeStart = offset > 0 ? offset : nil
        request.rangeEnd = requestedEnd
        exchange = context.client.start(request, to: context.client.upstream(for: source.host), handler: self)
    }
}

extension BlobPull: UpstreamExchangeHandler {
    func exchange(_ exchange: UpstreamExchange, received head: UpstreamHead) {
        guard exchange === self.exchange else { return }
        if let error = UpstreamAnswer.refusedSize(in: head, host: source.host) { return fail(.refused(error)) }
        latestExchange = exchange
        if [200, 206, 416].contains(head.status) {
            waitingSinceMilliseconds = nil
            encoding = head.encoding
            // Each further request would bring the whole content again.
            if head.status == 200, received > 0 { ahead?.close() }
            if head.status == 200 { requestedEnd = nil }
            return handle(.answered(head.pullAnswer(requestedEnd)))
        }
        let error =
            UpstreamAnswer.error(for: head, kind: .blob, host: source.host)
            ?? .unavailable("\(source.host) answered \(head.status)")
        fail(head.status >= 500 ? .broke(error, received: received) : refusal(error))
    }

    /// The event for a refusal: after a 429 the pull may wait.
    private func refusal(_ error: RegistryError) -> PullMachine.Event {
        guard error.status == 429 else { return .refused(error) }
        let since = waitingSinceMilliseconds ?? context.loop.nowMilliseconds
        return .rateLimited(error, canWait: context.client.rateLimits.canWait(source.limited, since: since))
    }

    /// Ends the exchange without waiting for the answer's body, which is not used.
    private func fail(_ event: PullMachine.Event) {
        dropExchange()
        handle(event)
    }

    func exchange(_ exchange: UpstreamExchange, received bytes: UnsafeRawBufferPointer) -> Bool {
        guard exchange === self.exchange, let sink else { return true }
        var fresh = bytes
        if bytesToSkip > 0 {
            let skipped = Int(min(bytesToSkip, Int64(bytes.count)))
            bytesToSkip -= Int64(skipped)
            fresh = UnsafeRawBufferPointer(rebasing: bytes[skipped...])
        }
        guard !fresh.isEmpty else { return true }
        let stop = ahead?.nextSpanStart(from: received)
        let comesTooMuch = stop.map { $0 - received < Int64(fresh.count) } ?? false
        if let stop, comesTooMuch {
            fresh = UnsafeRawBufferPointer(rebasing: fresh.prefix(Int(stop - received)))
        }
        received += Int64(fresh.count)
        ahead?.advance(to: received)
        if let size = machine.size, received > size {
            // Only bodies without a stated length can exceed the size; an endless one would fill the disk.
            fail(.broke(.unavailable("\(source.host) sent more than the stated \(size) bytes"), received: received))
            return true
        }
        let takesMore = fresh.isEmpty || sink.append(fresh)
        // A request that ends here by itself is left to complete, so that its connection can be reused.
        if received == stop, requestedEnd != stop || comesTooMuch { fail(.reachedSpan(position: received)) }
        return takesMore
    }

    func exchange(_ exchange: UpstreamExchange, ended failure: UpstreamFailure?) {
        guard exchange === self.exchange else { return }
        self.exchange = nil
        if case .refused(let error) = failure, error.status < 500 {
            // Refused by this server or by a token service: an immediate retry would not help.
            handle(refusal(error))
        } else if let failure, case .addressRefused = failure {
            handle(.refused(failure.registryError(host: source.host)))
        } else if let failure {
            handle(.broke(failure.registryError(host: source.host), received: received))
        } else if received == requestedEnd, received != machine.size {
            handle(.reachedSpan(position: received))
        } else if bytesToSkip > 0 {
            handle(.broke(.unavailable("the upstream's body is shorter than before"), received: received))
        } else {
            handle(.bodyEnded(total: received))
        }
    }
}

extension UpstreamHead {
    /// The parts of the head that a pull needs.
    fileprivate func pullAnswer(_ requestedEnd: Int64?) -> PullMachine.Answer {
        PullMachine.Answer(
            status: status, contentLength: contentLength, rangeFirst: contentRange?.first,
            rangeTotal: contentRange?.total ?? unsatisfiedTotal, requestedEnd: requestedEnd)
    }

    /// The size in a 416's `Content-Range: bytes */N` (RFC 9110 §14.4).
    private var unsatisfiedTotal: Int64? {
        guard let text = fields.first("content-range"), text.hasPrefix("bytes */"),
            case .bytes(let total) = ContentSize.read(text.dropFirst("bytes */".count))
        else { return nil }
        return total
    }
}

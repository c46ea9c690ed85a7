// Responses whose body a pump sends: files, growing blobs and lines. When the pump finds damage before the head is
// sent, another response is sent instead.

package import OCI

extension Connection {
    /// Sends another response when the first one failed. Called once, while nothing has been sent.
    package typealias Retry = (Connection) -> Void

    /// Answers with fields and, unless the request is a HEAD, part of a file or of a growing blob.
    package func respond(status: Int, fields: [UInt8], content: BodyPump.Content, verdict: Verdict) {
        respond(status: status, fields: fields, content: content, verdict: verdict) {
            { $0.respond(.unavailable("the content cannot be read now")) }
        }
    }

    /// Answers with several ranges of the content.
    package func respond(
        _ parts: MultipartRanges, digest: Digest, of content: BodyPump.Content, verdict: Verdict,
        orElse retry: () -> Retry = { { $0.respond(.unavailable("the content cannot be read now")) } }
    ) {
        respond(
            status: 206, fields: ResponseFields.multipart(parts, digest: digest), content: content, parts: parts,
            verdict: verdict, orElse: retry)
    }

    /// - Parameters:
    ///   - parts: the ranges of the content to send; nil for all of it.
    ///   - retry: creates the other response for damaged content of which nothing has been sent. It is called before
    ///     this returns, and only when it may be needed.
    package func respond(
        status: Int, fields: [UInt8], content: BodyPump.Content, parts: MultipartRanges? = nil, verdict: Verdict,
        orElse retry: () -> Retry
    ) {
        guard !isHead, !isClosing else { return respond(status: status, fields: fields, verdict: verdict) }
        let extraField = extraField
        let pump = start(content, parts, head: startAnswer(status, verdict) + fields)
        // Most responses have been sent or queued by now; otherwise the pool is reading, or the content is damaged.
        guard self.pump === pump, pump.hasSentNothing else { return }
        measure.firstByte(now: 0)
        let answer = retry()
        pump.retry = { connection in
            // Without this the first response's additions would appear twice.
            connection.extraField = extraField
            answer(connection)
        }
        if pump.isBroken { pumpEnded(pump, isComplete: false) }
    }

    /// Answers with a whole file: in one write when it is small and in memory, otherwise like `respond(content:)`.
    package func respond(file: OpenFile, fields: [UInt8], verdict: Verdict, orElse retry: () -> Retry) {
        let size = Int(file.sizeBytes)
        let scratch = server.scratch
        guard !isHead, size <= scratch.count,
            PageCache.read(file.descriptor, into: scratch, size, at: 0) == size
        else {
            return respond(
                status: 200, fields: fields, content: .file(file, 0..<file.sizeBytes), verdict: verdict, orElse: retry)
        }
        guard !isClosing else { return }
        finishSmall(startAnswer(200, verdict), fields, UnsafeRawBufferPointer(rebasing: scratch[..<size]))
    }

    @discardableResult
    func start(
        _ content: BodyPump.Content, _ parts: MultipartRanges? = nil, head: [UInt8] = [], counting bytes: Int = 0
    ) -> BodyPump {
        waitingSinceMilliseconds = loop.nowMilliseconds
        if server.metrics != nil { measure.firstByte(now: loop.readClock()) }
        let pump = BodyPump(content, head: head, parts: parts, alreadyCounted: Int64(bytes), connection: self)
        self.pump = pump
        pump.run()
        return pump
    }

    /// The pump has handed over its last byte, or cannot continue.
    func pumpEnded(_ pump: BodyPump, isComplete: Bool) {
        guard self.pump === pump else { return }
        if !isComplete, pump.hasSentNothing {
            guard let retry = pump.retry else { return pump.isBroken = true }
            self.pump = nil
            return retry(self)
        }
        self.pump = nil
        if isComplete { return endAnswer(bodyBytes: Int(pump.bodyBytes)) }
        // The body is incomplete: an orderly close after too few bytes shows that to the client.
        requestEnded(bodyBytes: Int(pump.bodyBytes), isBroken: true)
        finishOutput()
    }
}

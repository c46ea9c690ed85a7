// One client connection: the runner of a ServerConnectionMachine. Received bytes go to the machine, the handler answers
// each request, and the next request is parsed when the response is complete. Most requests are answered before the
// read callback returns and without an allocation.

internal import Logging

package final class Connection: TCPStream {
    /// Retained until `closed`, as the server retains this: an unowned reference would cost two atomic instructions per
    /// use.
    package let server: Server
    /// Position in the server's list.
    var index = -1
    var isRefused = false

    private(set) var machine = ServerConnectionMachine()
    /// Bytes that no step has consumed: part of a head, or pipelined requests after the current one.
    private var kept: [UInt8] = []
    private var isProcessing = false
    private var inputEnded = false
    private(set) var isLingering = false
    private var lingeredBytes = 0
    /// Start of the current wait (for a head, a request, the client's reading).
    var waitingSinceMilliseconds: UInt64
    var pump: BodyPump?

    // State of the current response, and of its log line.
    /// Whether the request is a HEAD: no body follows the fields.
    package private(set) var isHead = false
    private var isHTTP10 = false
    var logged: RequestLog?
    var identity = RequestID()
    var measure = RequestMeasure()
    /// A field line of this response only, with its line end; usually empty.
    package var extraField: [UInt8] = []

    init(server: Server, descriptor: Int32) throws(LoopError) {
        self.server = server
        waitingSinceMilliseconds = server.loop.nowMilliseconds
        try super.init(on: server.loop, descriptor: descriptor)
    }

    // MARK: Requests

    override func received(_ bytes: UnsafeRawBufferPointer) {
        if isLingering { return discard(bytes.count) }
        if machine.isAnswering {
            // Pipelined requests are kept until the current one is answered; reading stops until then.
            if kept.isEmpty, server.metrics != nil { measure.headBegins(now: loop.recentNanoseconds) }
            kept.append(contentsOf: bytes)
            return stopReading()
        }
        if kept.isEmpty {
            // The wait for a head begins with its first byte.
            waitingSinceMilliseconds = loop.nowMilliseconds
            if server.metrics != nil { measure.headBegins(now: loop.recentNanoseconds) }
            let consumed = process(bytes)
            if consumed < bytes.count { kept = Array(bytes[consumed...]) }
        } else {
            kept.append(contentsOf: bytes)
            processKept()
        }
    }

    private func processKept() {
        let bytes = kept
        kept = []
        let consumed = bytes.withUnsafeBytes { process($0) }
        // No read happens during this call, so `kept` had no new bytes.
        kept = consumed == 0 ? bytes : Array(bytes[consumed...])
    }

    /// Handles requests at the front of `bytes` until one is not answered at once or more bytes are needed.
    /// - Returns: the number of consumed bytes.
    private func process(_ bytes: UnsafeRawBufferPointer) -> Int {
        isProcessing = true
        defer { isProcessing = false }
        var consumed = 0
        while !machine.isAnswering, !isClosing, !isLingering {
            let rest = UnsafeRawBufferPointer(rebasing: bytes[consumed...])
            switch machine.next(rest, &server.fieldsMemory) {
            case .needMore: return consumed
            case .skip(let count): consumed += count
            case .end:
                finishOutput()
                return bytes.count
            case .refuse(let failure):
                refuse(failure)
                return bytes.count
            case .request(let head, let length):
                consumed += length
                begin(head, rest)
                server.handler(self, head, rest)
                identity.settle(isWaiting: machine.isAnswering)
            }
        }
        return consumed
    }

    private func begin(_ head: RequestHead, _ bytes: UnsafeRawBufferPointer) {
        isHead = head.method == .head
        isHTTP10 = head.minorVersion == 0
        if !extraField.isEmpty { extraField = [] }
        if let metrics = server.metrics { measure.begin(metrics) }
        identity = RequestID(given: head.requestID?.in(bytes))
        if server.logsRequests {
            logged = RequestLog(head, bytes, id: requestID, startMilliseconds: loop.nowMilliseconds, client: peerName)
        }
    }

    override func reachedEnd(failed: Bool) {
        guard !failed else { return close() }
        inputEnded = true
        if isLingering { return closeWhenDrained() }
        machine.inputEnded()
        pump?.inputEnded()
        guard !machine.isAnswering else { return }
        // The kept bytes belong to a request that can no longer be completed.
        finishOutput()
    }

    // MARK: Answers

    /// Answers with a prepared response: its fields and, unless the request is a HEAD, its body.
    package func respond(status: Int, _ answer: ReadyAnswer, verdict: Verdict) {
        guard !isClosing else { return }
        let prefix = startPrefix(status, verdict)
        let second = isHead ? answer.fields : answer.wire
        let first = prefix.count &+ extraField.count
        let result: WriteResult
        if let whole = answer.led(by: prefix, extraField, withBody: !isHead) {
            result = tryWrite(whole)
        } else {
            result = extraField.withUnsafeBytes { tryWrite(prefix, $0, second) }
        }
        switch result {
        case .failed: close()
        case .took(first &+ second.count): endAnswer(bodyBytes: second.count &- answer.fieldsCount)
        case .took(let count): respondLater(prefix, answer, took: count)
        case .full: respondLater(prefix, answer, took: 0)
        }
    }

    /// Queues the part of a prepared response that the socket did not accept. The prefix is copied, since it may change
    /// before it is sent.
    private func respondLater(_ prefix: UnsafeRawBufferPointer, _ answer: ReadyAnswer, took count: Int) {
        let head = Array(prefix) + extraField
        guard count >= head.count || queue(Array(head[count...])) else { return close() }
        let sent = max(0, count - head.count)
        let rest = UnsafeRawBufferPointer(rebasing: (isHead ? answer.fields : answer.wire)[sent...])
        start(.memory(rest, owner: answer), counting: sent - answer.fieldsCount)
    }

    /// Answers with fields and a body of a few kilobytes.
    package func respond(status: Int, fields: [UInt8], body: [UInt8] = [], verdict: Verdict = .none) {
        guard !isClosing else { return }
        let prefix = startAnswer(status, verdict)
        if isHead { return finishSmall(prefix, fields, .init(start: nil, count: 0)) }
        body.withUnsafeBytes { finishSmall(prefix, fields, $0) }
    }

    func finishSmall(_ prefix: [UInt8], _ fields: [UInt8], _ body: UnsafeRawBufferPointer) {
        let result = prefix.withUnsafeBytes { first in fields.withUnsafeBytes { tryWrite(first, $0, body) } }
        switch result {
        case .failed: close()
        case .took(prefix.count + fields.count + body.count): endAnswer(bodyBytes: body.count)
        case .took(let count): finishSmallLater(prefix + fields + body, took: count, body.count)
        case .full: finishSmallLater(prefix + fields + body, took: 0, body.count)
        }
    }

    private func finishSmallLater(_ answer: [UInt8], took count: Int, _ bodyBytes: Int) {
        guard queue(Array(answer[count...])) else { return close() }
        start(.nothing, counting: bodyBytes)
    }

    /// The first piece of the head.
    func startAnswer(_ status: Int, _ verdict: Verdict) -> [UInt8] {
        Array(startPrefix(status, verdict)) + extraField
    }

    /// The first piece of the head without `extraField`, which follows it: joining them would cost an allocation. Valid
    /// until the next call.
    private func startPrefix(_ status: Int, _ verdict: Verdict) -> UnsafeRawBufferPointer {
        if logged != nil {
            logged?.status = status
            logged?.verdict = verdict
        }
        measure.answers(status, verdict)
        let closes = machine.mustClose || server.isDraining
        if status >= 400 { extraField += requestIDField }
        if isHTTP10, !closes { extraField += Connection.keepAliveField }
        return server.prefix(status: status, close: closes)
    }

    /// Field for an HTTP/1.0 client (RFC 9112 §9.3): without it, some clients wait for the connection's end.
    private static let keepAliveField = Array("Connection: keep-alive\r\n".utf8)

    func endAnswer(bodyBytes: Int) {
        requestEnded(bodyBytes: bodyBytes)
        machine.responseFinished()
        waitingSinceMilliseconds = loop.nowMilliseconds
        if machine.mustClose || server.isDraining { return finishOutput() }
        // Inside `process` its loop continues; otherwise this is the end of a response that had to wait.
        guard !isProcessing else { return }
        if !kept.isEmpty { processKept() }
        guard !machine.isAnswering, !isLingering, !isClosing else { return }
        if inputEnded { finishOutput() } else { startReading() }
    }

    // MARK: Time and the end

    /// Sends FIN, then reads and discards for a bounded time: closing with unread input would reset the connection, and
    /// the client could lose the response.
    func finishOutput() {
        guard !isLingering, !isClosing else { return }
        isLingering = true
        kept = []
        waitingSinceMilliseconds = loop.nowMilliseconds
        shutdown()
        if inputEnded { return closeWhenDrained() }
        startReading()
    }

    private func closeWhenDrained() {
        if !isBlocked { close() }
    }

    private func discard(_ count: Int) {
        lingeredBytes += count
        if lingeredBytes > Connection.lingerBytes { close() }
    }

    override func drained() {
        waitingSinceMilliseconds = loop.nowMilliseconds
        if isLingering, inputEnded { return close() }
        pump?.run()
    }

    /// The client has read something.
    func progressed() { waitingSinceMilliseconds = loop.nowMilliseconds }

    /// Closes a connection between requests when the server stops. One that has waited for a moment only, such as a new
    /// one, may have a request on its way: `checkDeadlines` closes it later.
    func closeIfIdle() {
        guard !machine.isAnswering, !isLingering else { return }
        let waited = loop.nowMilliseconds &- waitingSinceMilliseconds
        if machine.isIdle, waited >= Connection.drainIdleMilliseconds { finishOutput() }
    }

    override func closed() {
        pump?.abandon()
        if let metrics = server.metrics { measure.abandon(metrics) }
        // The count is negative when the connection closed within the fields of a prepared response.
        writeLog(bodyBytes: max(0, Int(pump?.bodyBytes ?? 0)), isCut: true)
        pump = nil
        server.removed(self)
    }
}

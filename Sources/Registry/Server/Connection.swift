// One client connection: the runner of a ServerConnectionMachine. Bytes come in, the machine says what they are, the
// handler answers, and the next request is looked at when the answer is out. Most requests are answered before the read
// callback returns; nothing is allocated for them.

internal import Logging

package final class Connection: TCPStream {
    /// Held, and it holds this until `closed`: an unowned reference would cost two atomic instructions a use.
    package let server: Server
    /// Position in the server's list.
    var index = -1
    var isRefused = false

    private(set) var machine = ServerConnectionMachine()
    /// Bytes that no step has consumed: part of a head, or pipelined requests behind one that is being answered.
    private var kept: [UInt8] = []
    private var isProcessing = false
    private var inputEnded = false
    private(set) var isLingering = false
    private var lingeredBytes = 0
    /// Since when the current wait (for a head, a request, the reader) lasts.
    var waitingSinceMilliseconds: UInt64
    var pump: BodyPump?

    // What the answer being given needs, and what the log says of it.
    /// Whether the request is a HEAD: no body follows the fields.
    package private(set) var isHead = false
    private var isHTTP10 = false
    var logged: RequestLog?
    var identity = RequestID()
    var measure = RequestMeasure()
    /// A field line of this answer only, with its line end; empty for most.
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
            // Pipelined: kept until its turn, and nothing further is read until then.
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
        // Nothing is read while this runs, so nothing was kept meanwhile.
        kept = consumed == 0 ? bytes : Array(bytes[consumed...])
    }

    /// Takes requests off the front of `bytes` until one is not answered at once or more is needed.
    /// - Returns: how many bytes were consumed.
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
            logged = RequestLog(head, bytes, id: requestID, startMilliseconds: loop.nowMilliseconds)
        }
    }

    override func reachedEnd(failed: Bool) {
        guard !failed else { return close() }
        inputEnded = true
        if isLingering { return closeWhenDrained() }
        machine.inputEnded()
        pump?.inputEnded()
        guard !machine.isAnswering else { return }
        // What was kept is part of a request that will never be whole.
        finishOutput()
    }

    // MARK: Answers

    /// Answers with what is ready: its fields and, unless the request is a HEAD, its body.
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

    /// What the socket did not take of an answer from memory. What stands before the answer may change by then, and is
    /// copied.
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

    /// The same without `extraField`, which belongs behind it: put together, they would be an allocation. Valid until
    /// the call that asks for the next.
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

    /// What a client of HTTP/1.0 has to be sent (RFC 9112 §9.3): without it, some take the connection's end for the
    /// answer's.
    private static let keepAliveField = Array("Connection: keep-alive\r\n".utf8)

    func endAnswer(bodyBytes: Int) {
        requestEnded(bodyBytes: bodyBytes)
        machine.responseFinished()
        waitingSinceMilliseconds = loop.nowMilliseconds
        if machine.mustClose || server.isDraining { return finishOutput() }
        // Inside `process` the loop there continues; otherwise an answer that was waited for has ended.
        guard !isProcessing else { return }
        if !kept.isEmpty { processKept() }
        guard !machine.isAnswering, !isLingering, !isClosing else { return }
        if inputEnded { finishOutput() } else { startReading() }
    }

    // MARK: Time and the end

    /// Sends FIN, then reads and throws away for a bounded while: a close with unread input would reset the connection
    /// and could take the answer with it.
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

    /// The reader took something.
    func progressed() { waitingSinceMilliseconds = loop.nowMilliseconds }

    /// When the server ends: what is between requests goes at once.
    func closeIfIdle() {
        if !machine.isAnswering, !isLingering { finishOutput() }
    }

    override func closed() {
        pump?.abandon()
        if let metrics = server.metrics { measure.abandon(metrics) }
        // Less than none where it was cut within the fields of a ready answer.
        writeLog(bodyBytes: max(0, Int(pump?.bodyBytes ?? 0)))
        pump = nil
        server.removed(self)
    }
}

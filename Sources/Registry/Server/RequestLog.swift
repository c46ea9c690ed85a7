// What the log says of a request. Made only when requests are logged.

internal import Logging

/// One request, from its head to its last byte.
struct RequestLog {
    var status = 0
    var verdict = Verdict.none
    private let method: String
    private let target: String
    private let startMilliseconds: UInt64

    init(_ head: RequestHead, _ bytes: UnsafeRawBufferPointer, startMilliseconds: UInt64) {
        method = String(decoding: head.methodName.in(bytes), as: UTF8.self)
        target = String(decoding: head.target.in(bytes), as: UTF8.self)
        self.startMilliseconds = startMilliseconds
    }

    /// One line: verb, path, status, bytes, time, client, cache verdict.
    func write(to logger: Logger, bodyBytes: Int, nowMilliseconds: UInt64, client: String) {
        logger.info(
            "\(method) \(target)",
            metadata: [
                "status": "\(status)", "bytes": "\(bodyBytes)", "ms": "\(nowMilliseconds &- startMilliseconds)",
                "client": "\(client)", "cache": "\(verdict == .none ? "-" : verdict.label)",
            ])
    }
}

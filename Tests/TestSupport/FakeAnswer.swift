// The response of a fake upstream to one request, faults included.

internal import Foundation
internal import OCI

/// A response to one request. Make it with a static function and modify it with the others:
/// `.blob(bytes, for: request).cut(after: 60_000)`.
package struct FakeAnswer {
    /// How the end of the body is marked.
    package enum Framing {
        /// `Content-Length`: the body's own length, or a claimed one.
        case length(Int?)
        case chunked
        /// No length: the body ends with the connection.
        case close
    }

    /// The fault after a number of body bytes.
    package enum Fault {
        /// FIN.
        case cut
        /// RST.
        case reset
        /// Silence; the connection stays open.
        case stall
    }

    package var status = 200
    package var reason = "Status"
    package var headers: [(String, String)] = []
    package var body: [UInt8] = []
    package var framing = Framing.length(nil)
    package var fault: (fault: Fault, afterBytes: Int)?
    /// Delay before the first byte.
    package var delayMilliseconds: UInt64 = 0
    /// Sends the body in pieces of this many bytes, with a pause between them.
    package var pace: (bytes: Int, everyMilliseconds: UInt64)?
    /// Sent verbatim instead of everything above, then FIN.
    package var raw: [UInt8]?
    /// `Connection: close`, and FIN after the body.
    package var closes = false

    package init(
        status: Int = 200, headers: [(String, String)] = [], body: [UInt8] = [],
        fault: (fault: Fault, afterBytes: Int)? = nil, raw: [UInt8]? = nil, closes: Bool = false
    ) {
        self.status = status
        self.headers = headers
        self.body = body
        self.fault = fault
        self.raw = raw
        self.closes = closes
    }

    // MARK: Making a response

    /// A 429 without `Retry-After`.
    package static var limited: FakeAnswer { json("{\"errors\":[{\"code\":\"TOOMANYREQUESTS\"}]}", status: 429) }

    package static func status(_ status: Int, _ headers: [(String, String)] = [], body: String = "") -> FakeAnswer {
        FakeAnswer(status: status, headers: headers, body: Array(body.utf8))
    }

    package static func ok(_ body: [UInt8], type: String = "application/octet-stream") -> FakeAnswer {
        FakeAnswer(headers: [("Content-Type", type)], body: body)
    }

    package static func json(_ text: String, status: Int = 200) -> FakeAnswer {
        FakeAnswer(status: status, headers: [("Content-Type", "application/json")], body: Array(text.utf8))
    }

    /// A blob as registries serve it: `Range: bytes=N-` gets a 206, or a 416 if N is after the end.
    package static func blob(_ bytes: [UInt8], for request: FakeRequest) -> FakeAnswer {
        guard let start = request.rangeStart else { return ok(bytes) }
        guard start < bytes.count else { return status(416, [("Content-Range", "bytes */\(bytes.count)")]) }
        let last = min(request.rangeLast ?? bytes.count - 1, bytes.count - 1)
        guard start <= last else { return ok(bytes) }
        var answer = ok(Array(bytes[start...last]))
        answer.status = 206
        answer.headers.append(("Content-Range", "bytes \(start)-\(last)/\(bytes.count)"))
        return answer
    }

    package static func manifest(_ bytes: [UInt8], type: String, digest: String?) -> FakeAnswer {
        var answer = ok(bytes, type: type)
        if let digest { answer.headers.append(("Docker-Content-Digest", digest)) }
        return answer
    }

    package static func redirect(to location: String, status: Int = 307) -> FakeAnswer {
        FakeAnswer.status(status, [("Location", location)], body: "elsewhere")
    }

    /// A 401 that asks for a token.
    package static func challenge(realm: String, service: String = "fake", scope: String? = nil) -> FakeAnswer {
        let scope = scope.map { ",scope=\"\($0)\"" } ?? ""
        return status(
            401, [("WWW-Authenticate", "Bearer realm=\"\(realm)\",service=\"\(service)\"\(scope)")],
            body: "{\"errors\":[{\"code\":\"UNAUTHORIZED\"}]}")
    }

    package static func token(_ token: String, expiresIn: Int = 300) -> FakeAnswer {
        json("{\"token\":\"\(token)\",\"expires_in\":\(expiresIn)}")
    }

    /// The request is read and never answered.
    package static let silent = FakeAnswer(raw: nil, closes: false).stalled
    /// The request is read and the connection reset.
    package static let reset = FakeAnswer(fault: (.reset, -1))
    /// The request is read and the connection closed.
    package static let hangUp = FakeAnswer(fault: (.cut, -1))

    package static func raw(_ text: String) -> FakeAnswer { FakeAnswer(raw: Array(text.utf8)) }

    private var stalled: FakeAnswer {
        var copy = self
        copy.fault = (.stall, -1)
        return copy
    }

    // MARK: Modifying a response

    /// Sends FIN after this many body bytes; the stated length is larger.
    package func cut(after bytes: Int) -> FakeAnswer { with { $0.fault = (.cut, bytes) } }
    package func reset(after bytes: Int) -> FakeAnswer { with { $0.fault = (.reset, bytes) } }
    package func stall(after bytes: Int) -> FakeAnswer { with { $0.fault = (.stall, bytes) } }
    package func claiming(length: Int) -> FakeAnswer { with { $0.framing = .length(length) } }
    package func chunked() -> FakeAnswer { with { $0.framing = .chunked } }
    package func closeDelimited() -> FakeAnswer { with { $0.framing = .close } }
    package func closing() -> FakeAnswer { with { $0.closes = true } }
    package func delayed(milliseconds: UInt64) -> FakeAnswer { with { $0.delayMilliseconds = milliseconds } }
    package func dripping(_ bytes: Int, everyMilliseconds: UInt64) -> FakeAnswer {
        with { $0.pace = (bytes, everyMilliseconds) }
    }
    package func paced(bytesPerSecond: Int) -> FakeAnswer {
        dripping(max(1, bytesPerSecond / 100), everyMilliseconds: 10)
    }
    package func adding(_ name: String, _ value: String) -> FakeAnswer { with { $0.headers.append((name, value)) } }
    /// Changes one body byte.
    package func corrupted(at index: Int) -> FakeAnswer { with { $0.body[index] ^= 0x55 } }

    private func with(_ change: (inout FakeAnswer) -> Void) -> FakeAnswer {
        var copy = self
        change(&copy)
        return copy
    }

    // MARK: On the wire

    /// The bytes of the head and of the body.
    package func wire(isHead: Bool) -> (head: [UInt8], body: [UInt8]) {
        if let raw { return (raw, []) }
        var lines = ["HTTP/1.1 \(status) \(reason)"]
        lines += headers.map { "\($0.0): \($0.1)" }
        var sent = body
        switch framing {
        case .length(let claimed): lines.append("Content-Length: \(claimed ?? body.count)")
        case .close: lines.append("Connection: close")
        case .chunked:
            lines.append("Transfer-Encoding: chunked")
            sent = FakeAnswer.chunks(body)
        }
        if closes { lines.append("Connection: close") }
        return (Array((lines.joined(separator: "\r\n") + "\r\n\r\n").utf8), isHead ? [] : sent)
    }

    package var endsConnection: Bool {
        if case .close = framing { return true }
        return closes || raw != nil
    }

    /// Chunks of an odd size, and a trailer, which is allowed and has no meaning.
    private static func chunks(_ body: [UInt8]) -> [UInt8] {
        var result: [UInt8] = []
        var rest = body[...]
        while !rest.isEmpty {
            let piece = rest.prefix(4093)
            result += Array((String(piece.count, radix: 16) + "\r\n").utf8) + piece + Array("\r\n".utf8)
            rest = rest.dropFirst(piece.count)
        }
        return result + Array("0\r\nX-Trailer: yes\r\n\r\n".utf8)
    }
}

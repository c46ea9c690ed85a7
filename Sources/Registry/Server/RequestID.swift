// The id of a request in the log and in error responses, so that a user can quote it. A client (or a proxy before this
// server) may have sent one; otherwise it is created when it is needed. A hit that is not logged needs none, and has no
// cost from it.

/// The id of the request being answered.
struct RequestID {
    /// Longest id taken from a client: a UUID has 36, a trace with its span about 55.
    static let maximumBytes = 64

    /// The client's id. Points into the bytes of the request, which become invalid after `settle`.
    private var given: UnsafeRawBufferPointer?
    private var text: String?

    /// - Parameter given: the client's `X-Request-Id`, not yet checked.
    init(given: UnsafeRawBufferPointer? = nil) { self.given = given }

    /// The client's id if it is valid, otherwise a new one from `source`; the same on every later call.
    mutating func value(_ source: inout RequestIDSource) -> String {
        if let text { return text }
        let text = given.flatMap { RequestID.sane($0) } ?? source.next()
        self.text = text
        return text
    }

    /// The request's bytes become invalid: copies the client's id if it is still needed.
    @inline(__always)
    mutating func settle(isWaiting: Bool) {
        guard let given else { return }
        if isWaiting, text == nil { text = RequestID.sane(given) }
        self.given = nil
    }

    /// Visible ASCII that needs no escape in a log line or a header; nil for anything else.
    private static func sane(_ bytes: UnsafeRawBufferPointer) -> String? {
        guard (1...maximumBytes).contains(bytes.count),
            bytes.allSatisfy({ $0 > 0x20 && $0 < 0x7F && $0 != 0x22 && $0 != 0x5C })
        else { return nil }
        return String(decoding: bytes, as: UTF8.self)
    }
}

/// Creates ids for requests without one: a random prefix, so that the ids of several servers differ, and a count.
struct RequestIDSource {
    private let prefix: String
    private var count: UInt64 = 0

    init(prefix: UInt64 = UInt64.random(in: .min ... .max)) {
        let digits = String(prefix, radix: 16)
        self.prefix = String(repeating: "0", count: 16 - digits.utf8.count) + digits + "-"
    }

    /// `9f86d081884c7d65-1a`
    mutating func next() -> String {
        count &+= 1
        return prefix + String(count, radix: 16)
    }
}

extension Connection {
    /// The id of the current request.
    package var requestID: String { identity.value(&server.requestIDs) }

    /// The field line of an error response.
    var requestIDField: [UInt8] { Array("X-Request-Id: \(requestID)\r\n".utf8) }
}

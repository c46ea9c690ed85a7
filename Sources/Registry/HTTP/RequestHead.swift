// A parsed request head, as a value without heap memory: numbers and offsets into the parsed bytes that the router and
// the connection need on every request. `Headers` finds all other fields in `fields`. The offsets are valid while the
// caller keeps those bytes in place.

/// A range of the parsed bytes, by offset from their beginning. A head is at most 32 KiB, so 16 bits suffice.
package struct Slice: Equatable, Sendable {
    package var start: UInt16
    package var end: UInt16

    package static let empty = Slice(start: 0, end: 0)

    package init(start: UInt16, end: UInt16) {
        self.start = start
        self.end = end
    }

    /// `start` and `end` are offsets within a head, hence at most `RequestParser.maximumHeadBytes`.
    @inline(__always)
    init(_ start: Int, _ end: Int) {
        self.start = UInt16(truncatingIfNeeded: start)
        self.end = UInt16(truncatingIfNeeded: end)
    }

    package var isEmpty: Bool { start == end }
    package var count: Int { Int(end) - Int(start) }

    /// The bytes of this range, where `bytes` begins with the parsed head.
    @inline(__always)
    package func `in`(_ bytes: UnsafeRawBufferPointer) -> UnsafeRawBufferPointer {
        bytes.part(Int(start), Int(end))
    }
}

package struct RequestHead: Equatable, Sendable {
    package enum Method: UInt8, Sendable {
        case get, head, post, put, patch, delete, options
        /// Any other token; see `RequestHead.methodName`.
        case other
    }

    /// How the request's body is delimited (RFC 9112 §6.3).
    package enum Body: Equatable, Sendable {
        /// None, or a `Content-Length` of zero.
        case none
        /// This many bytes, at least one.
        case length(UInt64)
        case chunked
    }

    package var method = Method.other
    package var methodName = Slice.empty
    /// 0 or 1: HTTP/1.0 or HTTP/1.1.
    package var minorVersion: UInt8 = 1
    /// The request target as it was sent.
    package var target = Slice.empty
    /// The path, still percent-encoded. Begins with `/`; `*` only in OPTIONS; empty for an absolute target without a
    /// path.
    package var path = Slice.empty
    /// The part after the first `?`; empty if there is none.
    package var query = Slice.empty
    /// `host[:port]`: of an absolute target, otherwise of the Host field; empty only in HTTP/1.0.
    package var host = Slice.empty
    /// Whether the client will use the connection again (RFC 9112 §9.3).
    package var keepAlive = true
    package var body = Body.none
    /// `Expect: 100-continue` was sent (never true in HTTP/1.0, RFC 9110 §10.1.1).
    package var expectContinue = false
    /// `Range`; nil too when it or `If-Range` is repeated: sending the whole is always correct.
    package var range: Slice?
    package var ifRange: Slice?
    /// `If-None-Match`; the first of several lines. Ignoring the others can miss a 304, but never gives a wrong one.
    package var ifNoneMatch: Slice?
    /// `X-Registry`.
    package var registryHeader: Slice?
    /// `X-Request-Id`; the first of several lines.
    package var requestID: Slice?
    package var hasVia = false
    /// `Cache-Control: no-cache` was sent: a cached answer has to be confirmed first (RFC 9111 §5.2.1.4).
    package var refusesCached = false
    /// All field lines with their line ends, without the empty line after them; for `Headers`.
    package var fields = Slice.empty
    /// Size of the head in bytes, with the final empty line and any accepted empty line before it.
    package var length = 0

    package init() {}
}

// A parsed request head, as a value with no heap behind it: what the router and the connection need on every request,
// as numbers and as offsets into the bytes that were parsed. Fields of no use to the hot path are found later, in
// `fields`, by `Headers`. The offsets are good for as long as the caller keeps those bytes where they are.

/// A stretch of the parsed bytes, by offset from their beginning. A head is at most 16 KiB, so 16 bits do.
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

    /// The bytes meant, where `bytes` begins with what was parsed.
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
        /// Of so many bytes, at least one.
        case length(UInt64)
        case chunked
    }

    package var method = Method.other
    package var methodName = Slice.empty
    /// 0 or 1: HTTP/1.0 or HTTP/1.1.
    package var minorVersion: UInt8 = 1
    /// The request target as it was sent.
    package var target = Slice.empty
    /// The path, percent-encoding untouched. Begins with `/`; `*` only in OPTIONS; empty for an absolute target that
    /// has none.
    package var path = Slice.empty
    /// What follows the first `?`, without it; empty if there is none.
    package var query = Slice.empty
    /// `host[:port]`: of an absolute target, else of the Host field; empty only in HTTP/1.0.
    package var host = Slice.empty
    /// Whether the peer means to use the connection again (RFC 9112 §9.3).
    package var keepAlive = true
    package var body = Body.none
    /// `Expect: 100-continue` was sent (never true in HTTP/1.0, RFC 9110 §10.1.1).
    package var expectContinue = false
    /// `Range`; nil too when it, or `If-Range`, was sent more than once: the whole answer is always right.
    package var range: Slice?
    package var ifRange: Slice?
    /// `If-None-Match`; of several lines the first. Not looking at the others can cost a 304, never make a wrong one.
    package var ifNoneMatch: Slice?
    /// `X-Registry`.
    package var registryHeader: Slice?
    /// `X-Request-Id`; of several lines the first.
    package var requestID: Slice?
    package var hasVia = false
    /// All field lines with their line ends, without the empty line after them; for `Headers`.
    package var fields = Slice.empty
    /// Size of the head in bytes, with the empty line that ends it and any that was tolerated before it.
    package var length = 0

    package init() {}
}

// The framing of a chunked response body (RFC 9112 §7.1): `<size in hex>CRLF`, the bytes, CRLF; a chunk of size zero at
// the end. An incomplete body is ended by closing the connection instead.

package enum ChunkFraming {
    /// The line before a chunk of `byteCount` bytes (> 0: zero would end the body).
    package static func head(byteCount: Int) -> [UInt8] {
        precondition(byteCount > 0, "a chunk of size zero ends the body")
        return Array(String(byteCount, radix: 16).utf8) + tail
    }

    /// The bytes after a chunk.
    package static let tail: [UInt8] = [0x0D, 0x0A]

    /// The last chunk and the end of the body, without trailers.
    package static let last: [UInt8] = [0x30, 0x0D, 0x0A, 0x0D, 0x0A]
}

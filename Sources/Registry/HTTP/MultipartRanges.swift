// The body of a response to a request for several ranges (multipart/byteranges, RFC 9110 §14.6): the ranges in the
// order of the request, each after a header of its own. Only the headers are made here; the bytes of the ranges are
// sent from the file.

internal import OCI

/// The parts of one multipart/byteranges response.
package struct MultipartRanges: Sendable {
    /// First to last byte of each part.
    package let ranges: [ClosedRange<Int64>]
    private let sizeBytes: Int64
    private let partType: String
    private let boundary: String

    /// - Parameters:
    ///   - ranges: at least one, each within the representation.
    ///   - sizeBytes: size of the whole representation.
    ///   - partType: media type of the representation.
    package init(_ ranges: [ClosedRange<Int64>], sizeBytes: Int64, partType: String) {
        self.ranges = ranges
        self.sizeBytes = sizeBytes
        self.partType = partType
        // Random, so that no content can contain the delimiter on purpose (RFC 2046 §5.1.1).
        boundary = (0..<2).map { _ in String(UInt64.random(in: .min ... .max), radix: 16) }.joined()
    }

    /// The value of the response's Content-Type.
    package var contentType: String { "multipart/byteranges; boundary=\(boundary)" }

    /// Length of the whole body.
    package var lengthBytes: Int64 {
        // The headers differ in the digits of two numbers. Making all of them only to count them would take a
        // millisecond.
        let others = header(of: 0).count - digits(ranges[0]) + 2
        return ranges.indices.saturatedSum { index in
            Int64(others - (index == 0 ? 2 : 0) + digits(ranges[index]))
                .addingSaturated(ranges[index].upperBound.subtractingSaturated(ranges[index].lowerBound))
                .addingSaturated(1)
        }.addingSaturated(Int64(closingDelimiter.count))
    }

    private func digits(_ range: ClosedRange<Int64>) -> Int { digits(range.lowerBound) + digits(range.upperBound) }

    private func digits(_ number: Int64) -> Int {
        var (rest, count) = (number / 10, 1)
        while rest > 0 {
            rest /= 10
            count += 1
        }
        return count
    }

    /// The end of the run of bytes that begins at part `index`: following parts are included while the gap before each
    /// is at most `gapBytes`.
    func mergedEnd(from index: Int, gapBytes: Int64) -> Int64? {
        guard ranges.indices.contains(index) else { return nil }
        var last = ranges[index].upperBound
        for next in ranges[(index + 1)...] {
            guard next.lowerBound > last, next.lowerBound - last <= gapBytes else { break }
            last = next.upperBound
        }
        return last.addingSaturated(1)
    }

    /// The delimiter and fields before a part's bytes.
    package func header(of index: Int) -> [UInt8] {
        let range = ranges[index]
        let lineEnd = index == 0 ? "" : "\r\n"
        return Array(
            """
            \(lineEnd)--\(boundary)\r
            Content-Type: \(partType)\r
            Content-Range: bytes \(range.lowerBound)-\(range.upperBound)/\(sizeBytes)\r
            \r\n
            """.utf8)
    }

    /// The delimiter after the last part.
    package var closingDelimiter: [UInt8] { Array("\r\n--\(boundary)--\r\n".utf8) }
}

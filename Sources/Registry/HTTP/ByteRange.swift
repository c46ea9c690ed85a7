// The requested ranges of a representation: Range and If-Range (RFC 9110 §14), and the entity tags that they and
// If-None-Match contain (§8.8.3). An entity tag is always the digest in quotes, so comparing tags means parsing a
// digest.

package import OCI

package enum ByteRange: Equatable, Sendable {
    /// The whole: no range was requested, or it is invalid (§14.2 lets a server ignore Range).
    case none
    /// These bytes, first to last.
    case some(ClosedRange<Int64>)
    /// Several ranges, in the order of the request; the unsatisfiable ones of the set are left out (§15.3.7.2).
    case several([ClosedRange<Int64>])
    /// More than `maximumRanges`.
    case tooMany
    /// 416.
    case unsatisfiable

    /// Most ranges of one request. containers/image asks for up to 1,023, and for half as many after a 400.
    package static let maximumRanges = 1024

    /// Resolves `header`, the value of a Range field, for a representation of `size` bytes. A set with an invalid
    /// range is ignored, and so is one whose ranges have more bytes than the whole (§14.2).
    package static func resolve(_ header: UnsafeRawBufferPointer, size: Int64) -> ByteRange {
        guard header.startsIgnoringCase(with: "bytes=") else { return .none }
        let spec = header.part(6, header.count)
        return spec.contains(0x2C) ? resolveSet(spec, size: size) : resolveOne(spec, size: size)
    }

    /// Whether one of the ranges of `header` has no end (`bytes=500-`).
    package static func isOpenEnded(_ header: UnsafeRawBufferPointer) -> Bool {
        CommaList(header).contains { $0.last == 0x2D }
    }

    private static func resolveSet(_ set: UnsafeRawBufferPointer, size: Int64) -> ByteRange {
        var ranges: [ClosedRange<Int64>] = []
        var total: Int64 = 0
        var count = 0
        for spec in CommaList(set) {
            count += 1
            guard count <= maximumRanges else { return .tooMany }
            switch resolveOne(spec, size: size) {
            case .unsatisfiable: continue
            case .some(let range):
                ranges.append(range)
                total = total.addingSaturated(range.upperBound - range.lowerBound).addingSaturated(1)
            case .none, .several, .tooMany: return .none
            }
        }
        guard count > 0, total <= size else { return .none }
        guard let first = ranges.first else { return .unsatisfiable }
        return count == 1 ? .some(first) : .several(ranges)
    }

    private static func resolveOne(_ spec: UnsafeRawBufferPointer, size: Int64) -> ByteRange {
        guard let dash = spec.firstIndex(of: 0x2D) else { return .none }
        let first = spec.part(0, dash)
        let last = spec.part(dash + 1, spec.count)
        if first.isEmpty { return suffix(last, size: size) }
        guard let first = number(first) else { return .none }
        guard let last = last.isEmpty ? Int64.max : number(last), first <= last else { return .none }
        guard first < size else { return .unsatisfiable }
        return .some(first...min(last, size - 1))
    }

    /// The last bytes (`-500`). For an empty representation this is the whole, which Content-Range cannot express.
    private static func suffix(_ digits: UnsafeRawBufferPointer, size: Int64) -> ByteRange {
        guard let length = number(digits) else { return .none }
        guard length > 0 else { return .unsatisfiable }
        return size > 0 ? .some(max(0, size - length)...(size - 1)) : .none
    }

    /// One or more digits; a number above `Int64.max` is clamped to it.
    private static func number(_ digits: UnsafeRawBufferPointer) -> Int64? {
        guard !digits.isEmpty else { return nil }
        var value: Int64 = 0
        for byte in digits {
            guard byte &- 0x30 < 10 else { return nil }
            let (tens, overflow) = value.multipliedReportingOverflow(by: 10)
            let (sum, carry) = tens.addingReportingOverflow(Int64(byte &- 0x30))
            value = overflow || carry ? .max : sum
        }
        return value
    }
}

/// Compares the entity tags of a request with a digest.
package enum EntityTag {
    /// Whether `ifRange`, the value of If-Range, enables a Range: only a strong tag of the digest does. A date does not
    /// (no Last-Modified is sent), nor does a weak tag (§13.1.5).
    package static func allowsRange(ifRange: UnsafeRawBufferPointer, digest: Digest) -> Bool {
        opaqueDigest(ifRange) == digest
    }

    /// Whether `ifNoneMatch`, the value of If-None-Match, contains the digest, so that the response is 304 (§13.1.2).
    package static func matches(ifNoneMatch: UnsafeRawBufferPointer, digest: Digest) -> Bool {
        if ifNoneMatch.count == 1, ifNoneMatch[0] == 0x2A { return true }
        // Splitting at commas inside a quoted tag is harmless: a tag with a comma is not a digest.
        for element in CommaList(ifNoneMatch) {
            let isWeak = element.count > 2 && element[0] == 0x57 && element[1] == 0x2F
            let tag = isWeak ? element.part(2, element.count) : element
            if opaqueDigest(tag) == digest { return true }
        }
        return false
    }

    private static func opaqueDigest(_ tag: UnsafeRawBufferPointer) -> Digest? {
        guard tag.count > 2, tag[0] == 0x22, tag[tag.count - 1] == 0x22 else { return nil }
        return Digest(ascii: tag.part(1, tag.count - 1))
    }
}

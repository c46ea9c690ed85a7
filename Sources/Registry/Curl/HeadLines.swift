// Reads an upstream's response head: builds it from the header lines that curl passes one by one, and reads the one
// field that needs curl, `Retry-After`.

internal import CCurl
internal import OCI

/// Collects the header lines of one response.
package struct HeadLines {
    /// Largest head accepted, in bytes, interim responses included: many times what registries send.
    static let maximumBytes = 64 * 1024

    package enum Outcome {
        case more
        case head(UpstreamHead)
        case refused(String)
    }

    private let url: UpstreamURL
    private let isHead: Bool
    private var status = 0
    private var fields = UpstreamFields()
    private var byteCount = 0
    /// Whether the final head is complete; further lines are trailers.
    private(set) var isComplete = false
    var hasBegun: Bool { byteCount > 0 }

    package init(url: UpstreamURL, isHead: Bool) {
        self.url = url
        self.isHead = isHead
    }

    /// Reads one line, with its line end. The empty line ends the head; 1xx heads are skipped.
    package mutating func read(_ bytes: UnsafeRawBufferPointer) -> Outcome {
        byteCount += bytes.count
        guard byteCount <= HeadLines.maximumBytes else { return .refused("its answer's head is too long") }
        if isComplete { return .more }
        let line = String(decoding: bytes, as: UTF8.self).withoutLineEnd
        if line.isEmpty { return end() }
        if line.hasPrefix("HTTP/") { return begin(line) }
        guard let colon = line.utf8.firstIndex(of: 0x3A) else { return .more }
        fields.append(
            name: String(line[..<colon]).trimmed, value: String(line[line.utf8.index(after: colon)...]).trimmed)
        return .more
    }

    private mutating func begin(_ line: String) -> Outcome {
        let words = line.split(separator: " ", maxSplits: 2)
        guard words.count >= 2, let status = OutsideNumber.decimal(words[1], in: 100...999) else {
            return .refused("its answer's first line is not HTTP")
        }
        self.status = status
        fields = UpstreamFields()
        return .more
    }

    private mutating func end() -> Outcome {
        guard status >= 200 else { return .more }
        isComplete = true
        guard let head = UpstreamHead(status: status, fields: fields, isHead: isHead, url: url) else {
            return .refused("its answer gives contradicting lengths")
        }
        return .head(head)
    }
}

extension String {
    fileprivate var withoutLineEnd: String {
        var bytes = utf8[...]
        while let last = bytes.last, last == 0x0D || last == 0x0A { bytes.removeLast() }
        return String(bytes) ?? ""
    }
}

/// `Retry-After` (RFC 9110 §10.2.3): when an upstream allows the next request.
package enum RetryAfter {
    /// Seconds from now; nil when the value is neither a number nor a date. A date in the past is 0.
    package static func seconds(_ value: String, unixSeconds: Int64) -> Int? {
        let text = value.trimmed
        if let seconds = OutsideNumber.decimal(text, clampedTo: 0...Int(Int32.max)) { return seconds }
        return date(text).map { Int(clamping: max(0, $0.subtractingSaturated(unixSeconds))) }
    }

    /// Any of the three forms of a date (RFC 9110 §5.6.7), as seconds since 1970. Source: curl_getdate(3).
    static func date(_ text: String) -> Int64? {
        let seconds = Int64(curl_getdate(text, nil))
        return seconds < 0 ? nil : seconds
    }
}

extension UpstreamHead {
    /// Its `Retry-After` in seconds from now.
    package func retryAfter(unixSeconds: Int64) -> Int? {
        fields.first("retry-after").flatMap { RetryAfter.seconds($0, unixSeconds: unixSeconds) }
    }
}

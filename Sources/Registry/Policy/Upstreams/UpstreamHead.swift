// An upstream's answer, up to its body, and what its fields mean.

internal import OCI

/// Response header fields in the order received; names are compared without case, repeated ones are all kept.
package struct UpstreamFields: Sendable, Equatable {
    /// Names in lower case.
    package private(set) var all: [(name: String, value: String)] = []

    package init() {}

    package mutating func append(name: String, value: String) { all.append((name.asciiLowercased, value)) }

    /// - Parameter name: lower case.
    package func values(_ name: String) -> [String] { all.filter { $0.name == name }.map(\.value) }

    /// The first value of that name; `name` in lower case.
    package func first(_ name: String) -> String? { all.first { $0.name == name }?.value }

    package static func == (one: UpstreamFields, other: UpstreamFields) -> Bool {
        one.all.elementsEqual(other.all) { $0 == $1 }
    }
}

/// The head of an upstream's answer.
package struct UpstreamHead: Sendable {
    package let status: Int
    package let fields: UpstreamFields
    /// Nil also for chunked bodies, whose length is unknown before the end, and where `refusedSize` is set.
    package let contentLength: Int64?
    /// For error messages: a field that states a size above `ContentSize.maximum`, with its value.
    package let refusedSize: String?
    /// Whether the body ends with the connection, so that its end does not prove that it is complete.
    package let isCloseDelimited: Bool
    /// The URL that gave the answer, after redirects.
    package let url: UpstreamURL
    /// For a 401 or 403: the configuration key that an operator could set.
    package var deniedHint: String?
    /// For a 429 or 503: the `Retry-After` for the client, in seconds.
    package var retryAfterSeconds: Int?

    /// Nil when the lengths contradict each other (RFC 9112 §6.3: such a message cannot be delimited).
    package init?(status: Int, fields: UpstreamFields, isHead: Bool, url: UpstreamURL) {
        let isChunked = fields.values("transfer-encoding").contains { $0.asciiLowercased.contains("chunked") }
        let lengths = Set(
            fields.values("content-length").flatMap { $0.split(separator: ",") }.map { String($0).trimmed })
        guard lengths.count <= 1 else { return nil }
        var length: Int64?
        var refused: String?
        if let text = lengths.first {
            switch ContentSize.read(text) {
            case .bytes(let number): length = number
            // Transfer-Encoding overrides Content-Length (RFC 9112 §6.3).
            case .tooLarge: refused = isChunked ? nil : UpstreamHead.stated("Content-Length", text)
            case .malformed: return nil
            }
        }
        if refused == nil, status == 206 || status == 416, let range = fields.first("content-range"),
            UpstreamHead.hasTooLarge(range)
        {
            refused = UpstreamHead.stated("Content-Range", range)
        }
        self.status = status
        self.fields = fields
        self.url = url
        contentLength = isChunked ? nil : length
        refusedSize = refused
        let hasBody = !isHead && status != 204 && status != 304
        isCloseDelimited = hasBody && !isChunked && lengths.isEmpty
    }

    /// A field and its value for an error message, cut since a value can be as long as a head.
    private static func stated(_ name: String, _ value: String) -> String {
        "\(name): \(value.prefix(80))\(value.count > 80 ? "…" : "")"
    }

    /// Whether one of the numbers in a field's value is too large for a size.
    private static func hasTooLarge(_ value: String) -> Bool {
        value.split { !($0.isASCII && $0.isNumber) }.contains { ContentSize.read($0) == .tooLarge }
    }

    /// The `Content-Encoding`, where it is not `identity`: the length that is stated is that of the encoded body.
    package var encoding: String? {
        let names = fields.values("content-encoding").flatMap { $0.split(separator: ",") }.map { String($0).trimmed }
        let others = names.filter { !$0.isEmpty && $0.asciiLowercased != "identity" }
        return others.isEmpty ? nil : others.joined(separator: ", ")
    }

    /// The length of the content itself, as far as it is stated.
    package var decodedLength: Int64? { encoding == nil ? contentLength : nil }

    /// The limit that the registry states, in Docker Hub's form: `ratelimit-limit: 100;w=21600`. Nil without a number.
    package var rateLimit: StatedRateLimit? {
        func number(_ text: Substring?) -> Int? {
            text.flatMap { OutsideNumber.decimal(String($0).trimmed, in: 0...UpstreamHead.maximumRateLimit) }
        }
        /// The first number counts; a period, and other limits behind a comma, may follow.
        func stated(_ name: String) -> (number: Int?, seconds: Int?) {
            let parts = (fields.first(name) ?? "").prefix { $0 != "," }.split(
                separator: ";", omittingEmptySubsequences: false)
            let periods = parts.dropFirst().map { String($0).trimmed }.filter { $0.hasPrefix("w=") }
            return (number(parts.first), periods.lazy.compactMap { number($0.dropFirst(2)) }.first)
        }
        let (limit, remaining) = (stated("ratelimit-limit"), stated("ratelimit-remaining"))
        guard limit.number != nil || remaining.number != nil else { return nil }
        return StatedRateLimit(
            limit: limit.number, remaining: remaining.number, windowSeconds: remaining.seconds ?? limit.seconds)
    }

    /// No registry allows more requests; a larger number is not shown.
    private static let maximumRateLimit = 1_000_000_000

    package var contentType: String? { fields.first("content-type") }
    package var dockerContentDigest: String? { fields.first("docker-content-digest") }

    /// The target of the first link with `rel="next"`, as written between the angle brackets.
    package var nextLink: String? {
        for value in fields.values("link") {
            if let target = LinkField.next(value) { return target }
        }
        return nil
    }

    /// `bytes first-last/total` (RFC 9110 §14.4); total nil for `*`. Nil when absent or malformed.
    package var contentRange: (first: Int64, last: Int64, total: Int64?)? {
        guard let text = fields.first("content-range"), text.asciiLowercased.hasPrefix("bytes ") else { return nil }
        let parts = text.dropFirst(6).split(separator: "/", omittingEmptySubsequences: false)
        guard parts.count == 2 else { return nil }
        let ends = parts[0].split(separator: "-", omittingEmptySubsequences: false)
        guard ends.count == 2, case .bytes(let first) = ContentSize.read(ends[0]),
            case .bytes(let last) = ContentSize.read(ends[1]), first <= last
        else { return nil }
        if parts[1] == "*" { return (first, last, nil) }
        guard case .bytes(let total) = ContentSize.read(parts[1]), last < total else { return nil }
        return (first, last, total)
    }
}

extension String {
    /// The text without spaces and tabs at both ends.
    var trimmed: String {
        let bytes = Array(utf8)
        let isSpace: (UInt8) -> Bool = { $0 == 0x20 || $0 == 0x09 }
        guard let first = bytes.firstIndex(where: { !isSpace($0) }), let last = bytes.lastIndex(where: { !isSpace($0) })
        else { return "" }
        return String(decoding: bytes[first...last], as: UTF8.self)
    }
}

/// The `Link` field (RFC 8288 §3): several links in one value, each with parameters.
enum LinkField {
    /// The target of the first link whose relation types include `next`; nil where there is none, and behind what is no
    /// link.
    static func next(_ value: String) -> String? {
        let bytes = Array(value.utf8)
        var at = 0
        while at < bytes.count {
            guard bytes[at] != 0x20, bytes[at] != 0x09, bytes[at] != 0x2C else {
                at += 1
                continue
            }
            guard bytes[at] == 0x3C, let end = bytes[at...].firstIndex(of: 0x3E) else { return nil }
            let target = bytes[(at + 1)..<end]
            let parameters = part(of: bytes, from: end + 1, endingIn: 0x2C)
            if isNext(Array(parameters)) { return String(decoding: target, as: UTF8.self) }
            at = parameters.endIndex
        }
        return nil
    }

    private static func isNext(_ parameters: [UInt8]) -> Bool {
        var at = 0
        while at < parameters.count {
            let parameter = part(of: parameters, from: at, endingIn: 0x3B)
            at = parameter.endIndex + 1
            guard let equals = parameter.firstIndex(of: 0x3D) else { continue }
            let name = String(decoding: parameter[..<equals], as: UTF8.self).trimmed.asciiLowercased
            let text = String(decoding: parameter[(equals + 1)...], as: UTF8.self).trimmed.filter { $0 != "\"" }
            if name == "rel" { return text.asciiLowercased.split(separator: " ").contains("next") }
        }
        return false
    }

    /// The bytes up to a separator outside quotes.
    private static func part(of bytes: [UInt8], from start: Int, endingIn separator: UInt8) -> ArraySlice<UInt8> {
        var at = start
        var isQuoted = false
        while at < bytes.count, isQuoted || bytes[at] != separator {
            if isQuoted, bytes[at] == 0x5C { at += 1 } else if bytes[at] == 0x22 { isQuoted.toggle() }
            at += 1
        }
        return bytes[min(start, bytes.count)..<min(at, bytes.count)]
    }
}

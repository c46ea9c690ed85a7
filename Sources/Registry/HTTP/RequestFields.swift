// Parses the field lines of a request head: their syntax, and the dozen fields that the server uses. Fields that state
// where a message ends (Content-Length, Transfer-Encoding) or its host (Host) are either plain or refused: request
// smuggling relies on two parsers that read such a line differently.

/// The state of fields that may occur only once, or that are checked together.
struct Framing {
    var fieldCount = 0
    var seenHost = false
    var seenLength = false
    var seenCoding = false
    var seenRange = false
    var seenIfRange = false
    var closes = false
    var keepsAlive = false
}

extension HeadReader {
    /// Parses all field lines and the empty line after them, then checks them together.
    mutating func readFields() throws(Stop) {
        let start = at
        while try peek() != 0x0D { try readField() }
        head.fields = Slice(start, at)
        at &+= 1
        try endLine()
        head.length = at
        try finish()
    }

    @inline(__always)
    private mutating func readField() throws(Stop) {
        framing.fieldCount &+= 1
        guard framing.fieldCount <= RequestParser.maximumFields else { throw .failure(.tooManyFields) }
        let nameStart = at
        at = ByteScan.endOfToken(base, from: nameStart, end: end)
        let nameEnd = at
        guard try peek() == 0x3A, nameEnd > nameStart else { throw .failure(nameFault(nameStart)) }
        at &+= 1
        let value = try readValue()
        try note(nameStart, nameEnd, value)
    }

    /// The failure of a line without a name: a folded line (RFC 9112 §5.2) begins with white space.
    private func nameFault(_ start: Int) -> ParseFailure {
        byte(start) == 0x20 || byte(start) == 0x09 ? .foldedField : .fieldName
    }

    /// Parses the rest of a field line with its end; returns the trimmed value.
    @inline(__always)
    private mutating func readValue() throws(Stop) -> Slice {
        while at < end, byte(at) == 0x20 || byte(at) == 0x09 { at &+= 1 }
        let start = at
        var stop = ByteScan.firstControl(base, from: start, end: end)
        while stop < end, byte(stop) == 0x09 { stop = ByteScan.firstControl(base, from: stop &+ 1, end: end) }
        guard stop < end else { throw .incomplete }
        guard byte(stop) == 0x0D else { throw .failure(byte(stop) == 0x0A ? .bareLineEnd : .fieldValue) }
        at = stop &+ 1
        try endLine()
        while stop > start, byte(stop &- 1) == 0x20 || byte(stop &- 1) == 0x09 { stop &-= 1 }
        return Slice(start, stop)
    }

    /// Records a field that the server uses; the length of its name excludes nearly all others.
    @inline(__always)
    private mutating func note(_ start: Int, _ end: Int, _ value: Slice) throws(Stop) {
        let name = part(start, end)
        switch name.count {
        case 3: if name.equalsIgnoringCase("via") { head.hasVia = true }
        case 4: if name.equalsIgnoringCase("host") { try noteHost(value) }
        case 5: if name.equalsIgnoringCase("range") { noteRange(value) }
        case 6: if name.equalsIgnoringCase("expect") { noteExpect(value) }
        case 8: if name.equalsIgnoringCase("if-range") { noteIfRange(value) }
        case 10:
            if name.equalsIgnoringCase("connection") { noteConnection(value) }
            if name.equalsIgnoringCase("x-registry") { try noteRegistry(value) }
        case 12: if name.equalsIgnoringCase("x-request-id") { head.requestID = head.requestID ?? value }
        case 13:
            if name.equalsIgnoringCase("if-none-match") { head.ifNoneMatch = head.ifNoneMatch ?? value }
            if name.equalsIgnoringCase("cache-control") { noteCacheControl(value) }
        case 14: if name.equalsIgnoringCase("content-length") { try noteLength(value) }
        case 17: if name.equalsIgnoringCase("transfer-encoding") { try noteCoding(value) }
        default: break
        }
    }

    /// Whether the bytes of a head without an end have a long Range field, whole or cut off.
    var isRangeLong: Bool {
        var start = Int(head.target.end)
        while let lineEnd = part(start, end).firstIndex(of: 0x0A) {
            let rest = part(start + lineEnd + 1, end)
            let length = rest.firstIndex(of: 0x0A) ?? rest.count
            if length >= RequestParser.longRangeBytes, rest.startsIgnoringCase(with: "range:") { return true }
            start += lineEnd + 1
        }
        return false
    }

    private func bytes(of value: Slice) -> UnsafeRawBufferPointer {
        part(Int(value.start), Int(value.end))
    }

    /// Records Host, which must be valid; an absolute target's host takes precedence (RFC 9112 §3.2.2).
    private mutating func noteHost(_ value: Slice) throws(Stop) {
        guard !framing.seenHost else { throw .failure(.repeatedHost) }
        guard HostSyntax.isValid(bytes(of: value)) else { throw .failure(.invalidHost) }
        framing.seenHost = true
        if head.host.isEmpty { head.host = value }
    }

    private mutating func noteRange(_ value: Slice) {
        head.range = framing.seenRange ? nil : value
        framing.seenRange = true
    }

    private mutating func noteIfRange(_ value: Slice) {
        if framing.seenIfRange {
            head.range = nil
            framing.seenRange = true
        }
        head.ifRange = value
        framing.seenIfRange = true
    }

    private mutating func noteExpect(_ value: Slice) {
        for expectation in CommaList(bytes(of: value)) where expectation.equalsIgnoringCase("100-continue") {
            head.expectContinue = head.minorVersion == 1
        }
    }

    private mutating func noteCacheControl(_ value: Slice) {
        for directive in CommaList(bytes(of: value)) where directive.equalsIgnoringCase("no-cache") {
            head.refusesCached = true
        }
    }

    private mutating func noteRegistry(_ value: Slice) throws(Stop) {
        guard head.registryHeader == nil else { throw .failure(.repeatedRegistry) }
        head.registryHeader = value
    }

    private mutating func noteConnection(_ value: Slice) {
        for option in CommaList(bytes(of: value)) {
            if option.equalsIgnoringCase("close") { framing.closes = true }
            if option.equalsIgnoringCase("keep-alive") { framing.keepsAlive = true }
        }
    }

    /// Accepts digits only, once (RFC 9110 §8.6 permits, but does not require, accepting repeated equal values).
    private mutating func noteLength(_ value: Slice) throws(Stop) {
        guard !framing.seenLength else { throw .failure(.repeatedContentLength) }
        framing.seenLength = true
        guard !value.isEmpty else { throw .failure(.contentLength) }
        var length: UInt64 = 0
        for byte in bytes(of: value) {
            let (tens, overflow) = length.multipliedReportingOverflow(by: 10)
            let (sum, carry) = tens.addingReportingOverflow(UInt64(byte &- 0x30))
            guard byte &- 0x30 < 10, !overflow, !carry else { throw .failure(.contentLength) }
            length = sum
        }
        if length > 0 { head.body = .length(length) }
    }

    /// Accepts `chunked`, once, and not in HTTP/1.0 (RFC 9112 §6.1). A single other coding fails as unknown, anything
    /// else as invalid.
    private mutating func noteCoding(_ value: Slice) throws(Stop) {
        guard !framing.seenCoding, head.minorVersion == 1 else { throw .failure(.transferEncoding) }
        framing.seenCoding = true
        let coding = bytes(of: value)
        guard !coding.isEmpty, coding.allSatisfy(ASCIISet.token.contains) else { throw .failure(.transferEncoding) }
        guard coding.equalsIgnoringCase("chunked") else { throw .failure(.unknownCoding) }
    }

    private mutating func finish() throws(Stop) {
        guard framing.seenHost || head.minorVersion == 0 else { throw .failure(.missingHost) }
        guard !(framing.seenLength && framing.seenCoding) else { throw .failure(.bothLengths) }
        if framing.seenCoding { head.body = .chunked }
        head.keepAlive = !framing.closes && (head.minorVersion == 1 || framing.keepsAlive)
    }
}

/// `host[:port]` of a Host field or an absolute target: no user, no spaces, not empty.
enum HostSyntax {
    static func isValid(_ text: UnsafeRawBufferPointer) -> Bool {
        guard let first = text.first, let hostEnd = first == 0x5B ? endOfLiteral(text) : endOfName(text) else {
            return false
        }
        return hostEnd == text.count || isPort(text.part(hostEnd, text.count))
    }

    /// The end of the name or IPv4 address; nil when there is none.
    private static func endOfName(_ text: UnsafeRawBufferPointer) -> Int? {
        let end = text.firstIndex { !ASCIISet.hostName.contains($0) } ?? text.count
        return end > 0 ? end : nil
    }

    /// The end of `[::1]`; nil for an invalid literal (RFC 3986 §3.2.2; a zone is not valid in a request).
    private static func endOfLiteral(_ text: UnsafeRawBufferPointer) -> Int? {
        guard let bracket = text.firstIndex(of: 0x5D), bracket > 1 else { return nil }
        let isAddress = text[1..<bracket].allSatisfy { byte in
            byte &- 0x30 < 10 || (byte | 0x20) &- 0x61 < 6 || byte == 0x3A || byte == 0x2E
        }
        return isAddress ? bracket + 1 : nil
    }

    /// Whether it is `:` and a port up to 65535 of at most five digits, or `:` alone (RFC 3986 §3.2.3).
    private static func isPort(_ text: UnsafeRawBufferPointer) -> Bool {
        guard text[0] == 0x3A, text.count <= 6 else { return false }
        var port = 0
        for byte in text.dropFirst() {
            guard byte &- 0x30 < 10 else { return false }
            port = port * 10 + Int(byte &- 0x30)
        }
        return port <= 65535
    }
}

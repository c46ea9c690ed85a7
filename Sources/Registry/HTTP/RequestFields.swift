// The field lines of a request head: their syntax, and the meaning of the dozen fields the server acts on. Whatever
// says where a message ends (Content-Length, Transfer-Encoding), or who it is for (Host), is either plain or refused:
// two readers that understand such a line differently are what request smuggling is made of.

/// What has been seen of the fields that may come only once, or whose lines have to be weighed together.
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
    /// Reads all field lines and the empty line behind them, then weighs them together.
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

    /// Why the line at `start` has no name: a fold (RFC 9112 §5.2) begins with white space.
    private func nameFault(_ start: Int) -> ParseFailure {
        byte(start) == 0x20 || byte(start) == 0x09 ? .foldedField : .fieldName
    }

    /// Reads the rest of a field line with its end; returns the value, without the white space around it.
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

    /// Takes note of a field the server acts on; the length of its name rules out nearly all others.
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
        case 13: if name.equalsIgnoringCase("if-none-match") { head.ifNoneMatch = head.ifNoneMatch ?? value }
        case 14: if name.equalsIgnoringCase("content-length") { try noteLength(value) }
        case 17: if name.equalsIgnoringCase("transfer-encoding") { try noteCoding(value) }
        default: break
        }
    }

    private func bytes(of value: Slice) -> UnsafeRawBufferPointer {
        part(Int(value.start), Int(value.end))
    }

    /// An absolute target's host stands (RFC 9112 §3.2.2); the field has to be valid all the same.
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

    /// Digits and nothing else, once (RFC 9110 §8.6 lets equal values repeat; it need not be believed).
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

    /// `chunked`, once, and not in HTTP/1.0 (RFC 9112 §6.1). One other coding is unknown; anything else is a trick.
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

/// `host[:port]` as it may stand in a Host field or an absolute target: no user, no spaces, not empty.
enum HostSyntax {
    static func isValid(_ text: UnsafeRawBufferPointer) -> Bool {
        guard let first = text.first, let hostEnd = first == 0x5B ? endOfLiteral(text) : endOfName(text) else {
            return false
        }
        return hostEnd == text.count || isPort(text.part(hostEnd, text.count))
    }

    /// Behind the name or IPv4 address; nil where there is none.
    private static func endOfName(_ text: UnsafeRawBufferPointer) -> Int? {
        let end = text.firstIndex { !ASCIISet.hostName.contains($0) } ?? text.count
        return end > 0 ? end : nil
    }

    /// Behind the `]` of `[::1]`; nil where that is no address literal (RFC 3986 §3.2.2; its zone is not for the wire).
    private static func endOfLiteral(_ text: UnsafeRawBufferPointer) -> Int? {
        guard let bracket = text.firstIndex(of: 0x5D), bracket > 1 else { return nil }
        let isAddress = text[1..<bracket].allSatisfy { byte in
            byte &- 0x30 < 10 || (byte | 0x20) &- 0x61 < 6 || byte == 0x3A || byte == 0x2E
        }
        return isAddress ? bracket + 1 : nil
    }

    /// `:` and at most five digits up to 65535; none at all is allowed (RFC 3986 §3.2.3).
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

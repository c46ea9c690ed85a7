// Parses a request head to a `RequestHead`: strictly where leniency has permitted request smuggling (RFC 9112 §11.2),
// and fast, since every request pays for it. It reads from left to right and stops at the first fault or at the end of
// the bytes, so the result for a prefix is either "incomplete" or the result for the whole. It keeps no state: the
// caller parses again with more bytes (`ServerConnectionMachine` makes this rare). The request line is parsed here; the
// fields in RequestFields.swift.

package enum RequestParser {
    /// Enough for a bearer token of several KiB with the longest `Accept` lists of clients, and for the longest Range
    /// fields: containers/image sends up to 1,023 ranges, some 18 KiB, in one.
    package static let maximumHeadBytes = 32 * 1024
    /// In a head that is too large, a Range field from this length on is the reason: a client of partial pulls then
    /// asks for fewer ranges.
    static let longRangeBytes = 16 * 1024

    /// Clients send about ten fields; proxies add as many again.
    package static let maximumFields = 128

    package enum Outcome: Equatable, Sendable {
        /// Valid so far; parse again with more bytes.
        case incomplete
        case head(RequestHead)
        case failure(ParseFailure)
    }

    /// Parses the head at the beginning of `bytes`; later bytes are ignored.
    package static func parse(_ bytes: UnsafeRawBufferPointer) -> Outcome {
        var memory: FieldsMemory?
        return parse(bytes, &memory)
    }

    /// Parses the head, and reuses the parsed field lines that `memory` has.
    package static func parse(_ bytes: UnsafeRawBufferPointer, _ memory: inout FieldsMemory?) -> Outcome {
        guard let base = bytes.baseAddress else { return .incomplete }
        var reader = HeadReader(base: base, end: min(bytes.count, maximumHeadBytes))
        do throws(HeadReader.Stop) {
            try reader.readRequestLine()
            if reader.recallFields(memory) { return .head(reader.head) }
            try reader.readFields()
            memory?.note(reader)
            return .head(reader.head)
        } catch {
            switch error {
            case .failure(let failure): return .failure(failure)
            case .incomplete where bytes.count < maximumHeadBytes: return .incomplete
            case .incomplete: return .failure(reader.isRangeLong ? .rangeTooLong : .headTooLarge)
            }
        }
    }
}

/// A cursor over the bytes of one head, and the head parsed so far.
struct HeadReader {
    enum Stop: Error {
        case incomplete
        case failure(ParseFailure)
    }

    /// RFC 9112 §2.2 asks servers to accept an empty line before the request (old clients end a body with one).
    static let maximumEmptyLines = 1

    let base: UnsafeRawPointer
    let end: Int
    var at = 0
    var head = RequestHead()
    var framing = Framing()

    init(base: UnsafeRawPointer, end: Int) {
        self.base = base
        self.end = end
    }

    @inline(__always)
    func byte(_ offset: Int) -> UInt8 {
        base.load(fromByteOffset: offset, as: UInt8.self)
    }

    /// The bytes at `offset`, all before `end`, as a little-endian number.
    @inline(__always)
    private func word<Word: FixedWidthInteger & BitwiseCopyable>(_ offset: Int, as _: Word.Type) -> Word {
        Word(littleEndian: base.loadUnaligned(fromByteOffset: offset, as: Word.self))
    }

    /// The byte at the cursor, without advancing.
    @inline(__always)
    func peek() throws(Stop) -> UInt8 {
        guard at < end else { throw .incomplete }
        return byte(at)
    }

    @inline(__always)
    func part(_ start: Int, _ end: Int) -> UnsafeRawBufferPointer {
        UnsafeRawBufferPointer(start: base + start, count: end - start)
    }

    /// Skips the LF that has to follow the CR before the cursor.
    @inline(__always)
    mutating func endLine() throws(Stop) {
        guard try peek() == 0x0A else { throw .failure(.bareLineEnd) }
        at &+= 1
    }

    mutating func readRequestLine() throws(Stop) {
        try skipEmptyLines()
        try readMethod()
        let queryMark = try readTarget()
        try readVersion()
        try pointIntoTarget(queryMark: queryMark)
    }

    private mutating func skipEmptyLines() throws(Stop) {
        for _ in 0..<Self.maximumEmptyLines {
            guard try peek() == 0x0D else { return }
            at += 1
            try endLine()
        }
    }

    private mutating func readMethod() throws(Stop) {
        let start = at
        // The common case.
        if at &+ 4 <= end, word(at, as: UInt32.self) == 0x2054_4547 {  // "GET "
            head.methodName = Slice(start, start &+ 3)
            head.method = .get
            at &+= 4
            return
        }
        at = ByteScan.endOfToken(base, from: start, end: end)
        guard try peek() == 0x20, at > start else { throw .failure(.requestLine) }
        head.methodName = Slice(start, at)
        head.method = Self.method(named: part(start, at))
        at &+= 1
    }

    /// Methods are case-sensitive (RFC 9110 §9.1).
    private static func method(named name: UnsafeRawBufferPointer) -> RequestHead.Method {
        switch (name.count, name[0]) {
        case (3, 0x47) where equal(name, "GET"): .get
        case (4, 0x48) where equal(name, "HEAD"): .head
        case (4, 0x50) where equal(name, "POST"): .post
        case (3, 0x50) where equal(name, "PUT"): .put
        case (5, 0x50) where equal(name, "PATCH"): .patch
        case (6, 0x44) where equal(name, "DELETE"): .delete
        case (7, 0x4F) where equal(name, "OPTIONS"): .options
        default: .other
        }
    }

    @inline(__always)
    private static func equal(_ name: UnsafeRawBufferPointer, _ text: StaticString) -> Bool {
        for index in 0..<text.utf8CodeUnitCount where name[index] != text.utf8Start[index] { return false }
        return true
    }

    /// Parses up to the space after the target. Returns the position of its first `?`, or its end.
    private mutating func readTarget() throws(Stop) -> Int {
        let start = at
        var queryMark: Int?
        var stop = ByteScan.firstTargetStop(base, from: start, end: end)
        while stop < end, byte(stop) == 0x3F {
            queryMark = queryMark ?? stop
            stop = ByteScan.firstTargetStop(base, from: stop &+ 1, end: end)
        }
        guard stop < end else { throw .incomplete }
        guard byte(stop) == 0x20, stop > start else { throw .failure(.target) }
        head.target = Slice(start, stop)
        at = stop &+ 1
        return queryMark ?? stop
    }

    private mutating func readVersion() throws(Stop) {
        let start = at
        // The common case: "HTTP/1.1" and the line end.
        if at &+ 10 <= end, word(at, as: UInt64.self) == 0x312E_312F_5054_5448,
            word(at &+ 8, as: UInt16.self) == 0x0A0D
        {
            head.minorVersion = 1
            at &+= 10
            return
        }
        var expected: UInt64 = 0x2E31_2F50_5454_48  // "HTTP/1." and room for a digit
        var supported = true
        while at < start + 8 {
            let byte = try peek()
            let isDigitPlace = at == start + 5 || at == start + 7
            guard isDigitPlace ? byte &- 0x30 < 10 : byte == UInt8(truncatingIfNeeded: expected) else {
                throw .failure(.requestLine)
            }
            if at == start + 5, byte != 0x31 { supported = false }
            if at == start + 7 {
                head.minorVersion = byte &- 0x30
                supported = supported && byte <= 0x31
            }
            expected >>= 8
            at += 1
        }
        guard try peek() == 0x0D else { throw .failure(.requestLine) }
        at += 1
        try endLine()
        guard supported else { throw .failure(.version) }
    }

    /// Locates path and query in the target, by its form (RFC 9112 §3.2).
    private mutating func pointIntoTarget(queryMark: Int) throws(Stop) {
        let start = Int(head.target.start)
        let targetEnd = Int(head.target.end)
        var pathStart = start
        if byte(start) != 0x2F {
            let isAsterisk = byte(start) == 0x2A && targetEnd == start + 1 && head.method == .options
            if !isAsterisk { pathStart = try readAuthority(from: start, to: queryMark) }
        }
        head.path = Slice(pathStart, queryMark)
        if queryMark < targetEnd { head.query = Slice(queryMark + 1, targetEnd) }
    }

    /// Parses scheme and authority of an absolute target; returns the start of its path.
    private mutating func readAuthority(from start: Int, to end: Int) throws(Stop) -> Int {
        let text = part(start, end)
        let schemeLength = text.startsIgnoringCase(with: "http://") ? 7 : 8
        guard schemeLength == 7 || text.startsIgnoringCase(with: "https://") else { throw .failure(.target) }
        let authorityStart = start + schemeLength
        let pathStart = part(authorityStart, end).firstIndex(of: 0x2F).map { authorityStart + $0 } ?? end
        guard HostSyntax.isValid(part(authorityStart, pathStart)) else { throw .failure(.target) }
        head.host = Slice(authorityStart, pathStart)
        return pathStart
    }
}

// Reads TOML 1.0 (toml.io/en/v1.0.0): keys, headers and tables. A library would have to keep order and places for the
// insertions of `setup`, and do without the full Foundation.

internal import OCI

/// Reads a document by recursive descent.
struct TOMLReader {
    /// containerd's whole default configuration has some 10 KiB.
    static let maximumBytes = 1024 * 1024
    /// Nested arrays, inline tables and parts of a key; deeper ones can only exhaust a stack.
    static let maximumDepth = 32

    /// Tables of one `[[name]]`: a registry has one, and each that is added copies the list.
    static let maximumTables = 4096

    /// One 0 is behind the text, so that looking one byte ahead needs no check. A NUL in the text itself is refused.
    let bytes: [UInt8]
    var at = 0
    private var line = 1
    private var lineStart = 0
    private var depth = 0
    private var headers: [TOMLDocument.Header] = []

    static func read(_ text: [UInt8]) throws(TOMLFailure) -> TOMLDocument {
        guard text.count <= maximumBytes else {
            throw TOMLFailure(line: 1, column: 1, reason: "larger than \(maximumBytes) bytes")
        }
        var reader = TOMLReader(bytes: text + [0])
        if let bad = invalidByte(of: text) {
            reader.at = bad
            reader.countLines()
            throw reader.failure("a control character, or not UTF-8")
        }
        return try reader.readDocument()
    }

    private init(bytes: [UInt8]) { self.bytes = bytes }

    /// The first byte that no TOML has: of a control character, or behind valid UTF-8.
    private static func invalidByte(of text: [UInt8]) -> Int? {
        let control = text.indices.first {
            (text[$0] < 0x20 && ![0x09, 0x0A, 0x0D].contains(text[$0])) || text[$0] == 0x7F
                || (text[$0] == 0x0D && ($0 + 1 == text.count || text[$0 + 1] != 0x0A))
        }
        if control != nil || String(validating: text, as: UTF8.self) != nil { return control }
        let valid = String(decoding: text, as: UTF8.self).utf8
        return zip(valid, text).enumerated().first { $0.element.0 != $0.element.1 }?.offset ?? text.count
    }

    private mutating func countLines() {
        for index in 0..<at where bytes[index] == 0x0A {
            line += 1
            lineStart = index + 1
        }
    }

    private mutating func readDocument() throws(TOMLFailure) -> TOMLDocument {
        // A byte-order mark, which some editors write.
        if bytes.starts(with: [0xEF, 0xBB, 0xBF]) { at = 3 }
        let root = TOMLTable(.header)
        var section = root
        while true {
            skipBlank()
            guard !isAtEnd else { return TOMLDocument(root: root, headers: headers) }
            if byte == 0x5B {
                section = try readHeader(from: root)
            } else if byte != 0x0A, byte != 0x0D, byte != 0x23 {
                try readPair(into: section, isInline: false)
            }
            try endLine()
        }
    }

    // MARK: Headers

    private mutating func readHeader(from root: TOMLTable) throws(TOMLFailure) -> TOMLTable {
        let start = lineStart
        let place = TOMLTable.Place(line: line, key: at, value: at..<at, isInline: false)
        at += 1
        let isArray = byte == 0x5B
        if isArray { at += 1 }
        skipBlank()
        let path = try readKey()
        for _ in 0..<(isArray ? 2 : 1) {
            guard byte == 0x5D else { throw failure("a header must end with ]") }
            at += 1
        }
        var end = at
        while end < bytes.count - 1, bytes[end] != 0x0A { end += 1 }
        headers.append(
            .init(path: path.map(\.text), line: line, start: start, end: min(end + 1, bytes.count - 1)))
        var table = root
        for part in path.dropLast() { table = try descend(into: part.text, of: table, place) }
        // A key has one part at least.
        guard let last = path.last?.text else { return table }
        return try isArray ? append(last, to: table, place) : open(last, in: table, place)
    }

    private func descend(
        into key: String, of table: TOMLTable, _ place: TOMLTable.Place
    ) throws(TOMLFailure) -> TOMLTable {
        switch table[key] {
        case nil:
            let made = TOMLTable(.implicit)
            table.set(key, .table(made), place)
            return made
        case .table(let next) where next.origin != .inline: return next
        case .tables(let tables):
            if let last = tables.last { return last }
        default: break
        }
        throw failure("\(key) is no table that a header can add to")
    }

    private func open(
        _ key: String, in table: TOMLTable, _ place: TOMLTable.Place
    ) throws(TOMLFailure) -> TOMLTable {
        switch table[key] {
        case nil:
            let made = TOMLTable(.header)
            table.set(key, .table(made), place)
            return made
        case .table(let known) where known.origin == .implicit:
            known.origin = .header
            return known
        default: throw failure("\(key) is defined twice\(first(key, in: table))")
        }
    }

    private func append(
        _ key: String, to table: TOMLTable, _ place: TOMLTable.Place
    ) throws(TOMLFailure) -> TOMLTable {
        let made = TOMLTable(.header)
        switch table[key] {
        case nil: table.set(key, .tables([made]), place)
        case .tables(let tables):
            guard tables.count < Self.maximumTables else { throw failure("more than \(Self.maximumTables) of \(key)") }
            table.set(key, .tables(tables + [made]), place)
        default: throw failure("\(key) is defined twice\(first(key, in: table))")
        }
        return made
    }

    private func first(_ key: String, in table: TOMLTable) -> String {
        table.place(of: key).map { ", first on line \($0.line)" } ?? ""
    }

    // MARK: Keys and values

    private mutating func readPair(into section: TOMLTable, isInline: Bool) throws(TOMLFailure) {
        let path = try readKey()
        guard byte == 0x3D else { throw failure("a key must be followed by = and a value") }
        at += 1
        skipBlank()
        guard let last = path.last else { return }
        var table = section
        for part in path.dropLast() {
            let place = TOMLTable.Place(line: line, key: part.at, value: part.at..<part.at, isInline: isInline)
            switch table[part.text] {
            case nil:
                let made = TOMLTable(.dottedKey)
                table.set(part.text, .table(made), place)
                table = made
            case .table(let next) where next.origin == .dottedKey || next.origin == .implicit: table = next
            default: throw failure("\(part.text) is defined twice\(first(part.text, in: table))")
            }
        }
        guard table[last.text] == nil else {
            throw failure("\(last.text) is defined twice\(first(last.text, in: table))")
        }
        let keyLine = line
        let start = at
        let value = try readValue()
        table.set(
            last.text, value, .init(line: keyLine, key: last.at, value: start..<at, isInline: isInline))
    }

    /// A dotted key, up to what follows it.
    private mutating func readKey() throws(TOMLFailure) -> [(text: String, at: Int)] {
        var parts: [(text: String, at: Int)] = []
        while true {
            let start = at
            var text: String
            if byte == 0x22 || byte == 0x27 {
                guard bytes[at + 1] != byte || bytes[min(at + 2, bytes.count - 1)] != byte else {
                    throw failure("a key must be on one line")
                }
                text = try readQuoted()
            } else {
                while ASCII.isLetter(byte) || ASCII.isDigit(byte) || byte == 0x2D || byte == 0x5F { at += 1 }
                guard at > start else { throw failure("a key, a header or a comment is expected") }
                text = String(decoding: bytes[start..<at], as: UTF8.self)
            }
            parts.append((text, start))
            guard parts.count <= Self.maximumDepth else { throw failure("a key of too many parts") }
            skipBlank()
            guard byte == 0x2E else { return parts }
            at += 1
            skipBlank()
        }
    }

    mutating func readValue() throws(TOMLFailure) -> TOMLValue {
        depth += 1
        defer { depth -= 1 }
        guard depth <= Self.maximumDepth else { throw failure("nested more than \(Self.maximumDepth) deep") }
        switch byte {
        case 0x22, 0x27: return .string(try readString())
        case 0x5B: return .array(try readArray())
        case 0x7B: return .table(try readInlineTable())
        default: return try readScalar()
        }
    }

    private mutating func readArray() throws(TOMLFailure) -> [TOMLValue] {
        var items: [TOMLValue] = []
        at += 1
        while true {
            skipLines()
            if byte == 0x5D { break }
            items.append(try readValue())
            skipLines()
            if byte == 0x2C { at += 1 } else if byte != 0x5D { throw failure("an array goes on with , or ends with ]") }
        }
        at += 1
        return items
    }

    private mutating func readInlineTable() throws(TOMLFailure) -> TOMLTable {
        let table = TOMLTable(.inline)
        at += 1
        skipBlank()
        if byte != 0x7D {
            while true {
                skipBlank()
                try readPair(into: table, isInline: true)
                skipBlank()
                if byte == 0x7D { break }
                guard byte == 0x2C else { throw failure("an inline table goes on with , or ends with }") }
                at += 1
            }
        }
        at += 1
        return table
    }
}

// MARK: - Bytes

extension TOMLReader {
    var byte: UInt8 { bytes[at] }
    var isAtEnd: Bool { at == bytes.count - 1 }

    func failure(_ reason: String) -> TOMLFailure {
        TOMLFailure(line: line, column: at - lineStart + 1, reason: reason)
    }

    mutating func skipBlank() { while byte == 0x20 || byte == 0x09 { at += 1 } }

    /// Blanks, ends of lines and comments, as an array may have them.
    private mutating func skipLines() {
        while true {
            skipBlank()
            if byte == 0x23 { skipComment() }
            if byte == 0x0D { at += 1 }
            guard byte == 0x0A else { return }
            passNewline()
        }
    }

    private mutating func skipComment() { while !isAtEnd, byte != 0x0A, byte != 0x0D { at += 1 } }

    /// - Precondition: at a line feed.
    mutating func passNewline() {
        at += 1
        line += 1
        lineStart = at
    }

    /// What may stand behind a header or a pair.
    private mutating func endLine() throws(TOMLFailure) {
        skipBlank()
        if byte == 0x23 { skipComment() }
        if byte == 0x0D { at += 1 }
        if isAtEnd { return }
        guard byte == 0x0A else { throw failure("the line should end here") }
        passNewline()
    }
}

// A lexer for Swift source, for the lint rules. It leaves out comments and the text of strings, so that rules do not
// match prose. It is much less than a parser, and enough to see names, punctuation and nesting.

/// One identifier, number or punctuation character, with its position.
package struct SwiftToken {
    /// An identifier or number, or a single character of punctuation.
    package let text: String
    /// Counted from 1.
    package let line: Int
    /// Whether it directly follows the previous token.
    package let touchesPrevious: Bool

    package var isName: Bool { text.utf8.first.map(SwiftLexer.isNameByte) ?? false }
    package var isTypeName: Bool { text.utf8.first.map { (0x41...0x5A).contains($0) } ?? false }
}

package struct SwiftLexer {
    package private(set) var tokens: [SwiftToken] = []
    /// Lines that contain a comment, including lines inside a block comment.
    package private(set) var commentLines: Set<Int> = []
    private let bytes: [UInt8]
    private var index = 0
    private var line = 1
    private var previousEnd = -1

    package init(_ text: String) {
        bytes = Array(text.utf8)
        code(endsAtParenthesis: false)
    }

    package static func isNameByte(_ byte: UInt8) -> Bool {
        (0x30...0x39).contains(byte) || (0x41...0x5A).contains(byte) || (0x61...0x7A).contains(byte) || byte == 0x5F
            || byte >= 0x80
    }

    /// Reads code up to the end, or to the parenthesis that closes an interpolation.
    private mutating func code(endsAtParenthesis: Bool) {
        var depth = 0
        while index < bytes.count {
            let byte = bytes[index]
            if starts("//") {
                comment()
            } else if starts("/*") {
                blockComment()
            } else if let hashes = stringStart() {
                string(hashes: hashes)
            } else if Self.isNameByte(byte) {
                let start = index
                while index < bytes.count, Self.isNameByte(bytes[index]) { index += 1 }
                add(from: start)
            } else if byte == 0x20 || byte == 0x09 || byte == 0x0A {
                advance()
            } else {
                if byte == 0x28 { depth += 1 }
                if byte == 0x29 { depth -= 1 }
                index += 1
                if endsAtParenthesis, depth < 0 { return }
                add(from: index - 1)
            }
        }
    }

    private mutating func add(from start: Int) {
        let text = String(decoding: bytes[start..<index], as: UTF8.self)
        tokens.append(SwiftToken(text: text, line: line, touchesPrevious: start == previousEnd))
        previousEnd = index
    }

    private mutating func advance() {
        if bytes[index] == 0x0A { line += 1 }
        index += 1
    }

    private func starts(_ text: StaticString) -> Bool {
        guard index + text.utf8CodeUnitCount <= bytes.count else { return false }
        return (0..<text.utf8CodeUnitCount).allSatisfy { bytes[index + $0] == text.utf8Start[$0] }
    }

    private mutating func comment() {
        commentLines.insert(line)
        while index < bytes.count, bytes[index] != 0x0A { index += 1 }
    }

    private mutating func blockComment() {
        var depth = 0
        repeat {
            commentLines.insert(line)
            if starts("/*") {
                depth += 1
                index += 2
            } else if starts("*/") {
                depth -= 1
                index += 2
            } else {
                advance()
            }
        } while depth > 0 && index < bytes.count
    }

    /// The number of `#` before a quotation mark that opens a string here; nil if no string begins here.
    private func stringStart() -> Int? {
        var end = index
        while end < bytes.count, bytes[end] == 0x23 { end += 1 }
        return end < bytes.count && bytes[end] == 0x22 ? end - index : nil
    }

    /// Skips a string, but reads the code in its interpolations. It leaves one token, `"`, so that the next token has a
    /// neighbour.
    private mutating func string(hashes: Int) {
        let start = index
        index += hashes
        let quotes = starts("\"\"\"") ? 3 : 1
        index += quotes
        let end = [UInt8](repeating: 0x22, count: quotes) + [UInt8](repeating: 0x23, count: hashes)
        let escape = [0x5C] + [UInt8](repeating: 0x23, count: hashes)
        while index < bytes.count, !bytes[index...].starts(with: end) {
            guard bytes[index...].starts(with: escape) else {
                advance()
                continue
            }
            index += escape.count
            if index < bytes.count, bytes[index] == 0x28 {
                index += 1
                code(endsAtParenthesis: true)
            } else if index < bytes.count {
                advance()
            }
        }
        index += end.count
        tokens.append(SwiftToken(text: "\"", line: line, touchesPrevious: start == previousEnd))
        previousEnd = index
    }
}

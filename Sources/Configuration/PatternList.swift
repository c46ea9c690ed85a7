// Splits `REGEX[,REGEX]` at the commas that separate expressions.

internal import OCI

/// The comma-separated expressions of a pattern.
///
/// The reference splits at every comma, so that `a{1,2}` is two broken expressions there. Here a comma stays inside its
/// expression where splitting could only break it: after a backslash, in `[…]`, in `(…)`, in `\Q…\E`, and in a
/// quantifier `{n,m}`. Every pattern that works in the reference has the same meaning here.
struct PatternList {
    private let bytes: [UInt8]
    private var index = 0
    private var parentheses = 0

    static func split(_ text: String) -> [String] {
        var list = PatternList(bytes: Array(text.utf8))
        return list.pieces()
    }

    private init(bytes: [UInt8]) { self.bytes = bytes }

    private mutating func pieces() -> [String] {
        var pieces: [String] = []
        var start = 0
        while index < bytes.count {
            let byte = bytes[index]
            if byte == UInt8(ascii: ","), parentheses == 0 {
                pieces.append(String(decoding: bytes[start..<index], as: UTF8.self))
                start = index + 1
            }
            skip(byte)
        }
        pieces.append(String(decoding: bytes[start...], as: UTF8.self))
        return pieces
    }

    /// Skips one unit: a character, an escape, a class, a quotation or a quantifier.
    private mutating func skip(_ byte: UInt8) {
        switch byte {
        case UInt8(ascii: "\\") where starts("\\Q"): index = end(of: "\\E", from: index + 2)
        case UInt8(ascii: "\\"): index = min(index + 2, bytes.count)
        case UInt8(ascii: "["): skipClass()
        case UInt8(ascii: "{"): index = quantifierEnd() ?? index + 1
        case UInt8(ascii: "("):
            parentheses += 1
            index += 1
        case UInt8(ascii: ")"):
            // PCRE2 refuses an expression with a surplus `)`; the expressions after it are still split correctly.
            parentheses = max(0, parentheses - 1)
            index += 1
        default: index += 1
        }
    }

    private func starts(_ text: String) -> Bool { bytes[index...].starts(with: text.utf8) }

    /// The position after the next `text`, or the end.
    private func end(of text: String, from start: Int) -> Int {
        let wanted = Array(text.utf8)
        var position = start
        while position < bytes.count {
            if bytes[position...].starts(with: wanted) { return position + wanted.count }
            position += 1
        }
        return bytes.count
    }

    /// Skips `[…]`, in which a leading `]` is literal and `[:alpha:]` may occur.
    private mutating func skipClass() {
        var position = index + 1
        if position < bytes.count, bytes[position] == UInt8(ascii: "^") { position += 1 }
        if position < bytes.count, bytes[position] == UInt8(ascii: "]") { position += 1 }
        while position < bytes.count, bytes[position] != UInt8(ascii: "]") {
            if bytes[position] == UInt8(ascii: "\\") {
                position += 2
            } else if bytes[position...].starts(with: "[:".utf8) {
                position = end(of: ":]", from: position + 2)
            } else {
                position += 1
            }
        }
        index = min(position + 1, bytes.count)
    }

    /// The position after `{n,m}`, `{n,}` or `{,m}`; nil when the brace opens no quantifier.
    private func quantifierEnd() -> Int? {
        var position = index + 1
        while position < bytes.count, ASCII.isDigit(bytes[position]) || bytes[position] == UInt8(ascii: ",") {
            position += 1
        }
        guard position < bytes.count, bytes[position] == UInt8(ascii: "}") else { return nil }
        return position + 1
    }
}

// Strings, numbers and dates of TOML 1.0.

internal import OCI

extension TOMLReader {
    /// - Precondition: at a quotation mark.
    mutating func readString() throws(TOMLFailure) -> String {
        let quote = byte
        guard bytes[at + 1] == quote, bytes[min(at + 2, bytes.count - 1)] == quote else { return try readQuoted() }
        at += 3
        if byte == 0x0D { at += 1 }
        if byte == 0x0A { passNewline() }
        var text: [UInt8] = []
        while true {
            if isAtEnd { throw failure("a text has no end") }
            if byte == quote {
                var count = 0
                while byte == quote, count < 5 {
                    at += 1
                    count += 1
                }
                // Up to two quotation marks may stand before the three that end it.
                text += Array(repeating: quote, count: count < 3 ? count : count - 3)
                if count >= 3 { return String(decoding: text, as: UTF8.self) }
            } else if byte == 0x5C, quote == 0x22 {
                try readEscape(into: &text, isMultiline: true)
            } else {
                text.append(byte)
                if byte == 0x0A { passNewline() } else { at += 1 }
            }
        }
    }

    /// A string or a key on one line.
    mutating func readQuoted() throws(TOMLFailure) -> String {
        let quote = byte
        at += 1
        var text: [UInt8] = []
        while byte != quote {
            guard !isAtEnd, byte != 0x0A, byte != 0x0D else { throw failure("a text has no end on its line") }
            if byte == 0x5C, quote == 0x22 {
                try readEscape(into: &text, isMultiline: false)
            } else {
                text.append(byte)
                at += 1
            }
        }
        at += 1
        return String(decoding: text, as: UTF8.self)
    }

    private static let escapes: [UInt8: UInt8] = [
        0x62: 0x08, 0x74: 0x09, 0x6E: 0x0A, 0x66: 0x0C, 0x72: 0x0D, 0x22: 0x22, 0x5C: 0x5C,
    ]

    private mutating func readEscape(into text: inout [UInt8], isMultiline: Bool) throws(TOMLFailure) {
        at += 1
        let kind = byte
        if let plain = Self.escapes[kind] {
            text.append(plain)
            at += 1
        } else if kind == 0x75 || kind == 0x55 {
            at += 1
            let end = min(at + (kind == 0x75 ? 4 : 8), bytes.count - 1)
            let digits = String(decoding: bytes[at..<end], as: UTF8.self)
            guard digits.utf8.count == (kind == 0x75 ? 4 : 8),
                let value = OutsideNumber.hexadecimal(digits, atMost: 0x10FFFF),
                let scalar = Unicode.Scalar(UInt32(clamping: value))
            else { throw failure("an escape of no character") }
            text += Array(String(Character(scalar)).utf8)
            at = end
        } else if isMultiline {
            // A backslash at the end of a line: white space is left out up to the next text.
            skipBlank()
            if byte == 0x0D { at += 1 }
            guard byte == 0x0A else { throw failure("an unknown escape") }
            while [0x20, 0x09, 0x0A, 0x0D].contains(byte) {
                if byte == 0x0A { passNewline() } else { at += 1 }
            }
        } else {
            throw failure("an unknown escape")
        }
    }

    // MARK: Numbers, dates, true and false

    mutating func readScalar() throws(TOMLFailure) -> TOMLValue {
        let start = at
        skipWord()
        // A blank may stand between a date and a time.
        if at - start == 10, byte == 0x20, bytes[start + 4] == 0x2D, ASCII.isDigit(bytes[at + 1]) {
            at += 1
            skipWord()
        }
        let word = Array(bytes[start..<at])
        guard let value = Self.value(of: word) else {
            let shown = String(decoding: word.prefix(40), as: UTF8.self)
            at = start
            throw failure(word.isEmpty ? "a value is missing" : "\(shown) is no value; a text needs quotation marks")
        }
        return value
    }

    private mutating func skipWord() {
        while ASCII.isLetter(byte) || ASCII.isDigit(byte) || [0x2B, 0x2D, 0x2E, 0x3A, 0x5F].contains(byte) { at += 1 }
    }

    private static func value(of word: [UInt8]) -> TOMLValue? {
        let text = String(decoding: word, as: UTF8.self)
        if text == "true" || text == "false" { return .boolean(text == "true") }
        if let integer = integer(text) { return .integer(integer) }
        return isFloat(text) || isDateOrTime(word) ? .other(text) : nil
    }

    /// Digits with single underscores between them; nil for anything else.
    private static func digits(_ text: some StringProtocol, _ isDigit: (UInt8) -> Bool = ASCII.isDigit) -> String? {
        let parts = text.split(separator: "_", omittingEmptySubsequences: false)
        guard parts.allSatisfy({ !$0.isEmpty && $0.utf8.allSatisfy(isDigit) }) else { return nil }
        return parts.joined()
    }

    private static func decimal(_ text: some StringProtocol) -> String? {
        guard let digits = digits(text), digits == "0" || !digits.hasPrefix("0") else { return nil }
        return digits
    }

    private static func integer(_ text: String) -> Int? {
        if text.hasPrefix("0x") {
            return digits(text.dropFirst(2), ASCII.isHexadecimal).flatMap {
                OutsideNumber.hexadecimal($0, atMost: .max)
            }
        }
        for (prefix, radix) in [("0o", 8), ("0b", 2)] where text.hasPrefix(prefix) {
            guard let digits = digits(text.dropFirst(2), { $0 >= 0x30 && Int($0) < 0x30 + radix }) else { return nil }
            return digits.utf8.reduce(0 as Int?) { sum, digit in
                guard let sum else { return nil }
                let (product, overflow) = sum.multipliedReportingOverflow(by: radix)
                return overflow ? nil : product + (Int(digit) - 0x30)
            }
        }
        let isNegative = text.hasPrefix("-")
        let digits = decimal(isNegative || text.hasPrefix("+") ? text.dropFirst() : text[...])
        guard let digits else { return nil }
        return OutsideNumber.signedDecimal((isNegative ? "-" : "") + digits, in: -Int64.max...Int64.max)
            .map { Int($0) }
    }

    private static func isFloat(_ text: String) -> Bool {
        var rest = text.hasPrefix("-") || text.hasPrefix("+") ? text.dropFirst() : text[...]
        if rest == "inf" || rest == "nan" { return true }
        let marks = rest.split(omittingEmptySubsequences: false) { $0 == "e" || $0 == "E" }
        guard marks.count <= 2 else { return false }
        if marks.count == 2 {
            let exponent = marks[1]
            guard digits(exponent.hasPrefix("-") || exponent.hasPrefix("+") ? exponent.dropFirst() : exponent) != nil
            else { return false }
        }
        rest = marks[0]
        let parts = rest.split(separator: ".", omittingEmptySubsequences: false)
        guard parts.count == 2 || (parts.count == 1 && marks.count == 2), decimal(parts[0]) != nil else { return false }
        return parts.count == 1 || digits(parts[1]) != nil
    }

    /// `2006-01-02`, `15:04:05.999`, or both with a `T` or a blank between them and with or without an offset. The
    /// days of a month are not counted.
    private static func isDateOrTime(_ word: [UInt8]) -> Bool {
        func has(_ shape: String, at offset: Int) -> Bool {
            let shape = Array(shape.utf8)
            guard word.count >= offset + shape.count else { return false }
            return shape.indices.allSatisfy {
                shape[$0] == 0x39 ? ASCII.isDigit(word[offset + $0]) : shape[$0] == word[offset + $0]
            }
        }
        var end = 0
        if has("9999-99-99", at: 0) {
            if word.count == 10 { return true }
            guard [0x54, 0x74, 0x20].contains(word[10]) else { return false }
            end = 11
        }
        guard has("99:99:99", at: end) else { return false }
        let isLocalTime = end == 0
        end += 8
        if end < word.count, word[end] == 0x2E {
            let start = end + 1
            end = start
            while end < word.count, ASCII.isDigit(word[end]) { end += 1 }
            guard end > start else { return false }
        }
        if end == word.count { return true }
        guard !isLocalTime else { return false }
        if word.count == end + 1 { return word[end] == 0x5A || word[end] == 0x7A }
        return word.count == end + 6 && (has("+99:99", at: end) || has("-99:99", at: end))
    }
}

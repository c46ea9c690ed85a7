// The lint rules for numbers from outside. In Swift an overflow and a conversion that does not fit end the process. So
// integers are parsed in one file, conversions that can lose something say what happens then, and stated sizes are
// added by saturating functions.

import TestSupport
import Testing

@testable import OCI

@Suite struct NumberRuleTests {
    /// The one file that makes integers of text.
    private static let parser = "Sources/OCI/OutsideNumber.swift"

    private static let sources = Result { try SourceTree.swiftFiles(under: "Sources") }

    private static let integers: Set<String> = [
        "Int", "Int8", "Int16", "Int32", "Int64", "UInt", "UInt8", "UInt16", "UInt32", "UInt64",
    ]

    /// Those that a usual number, an `Int`, may not fit in.
    private static let narrow = integers.subtracting(["Int", "Int64"])

    /// Labels of initializers that cannot trap.
    private static let labels: Set<String> = [
        "clamping", "truncatingIfNeeded", "exactly", "saturating", "bitPattern", "bigEndian", "littleEndian", "ascii",
    ]

    /// Numbers that an upstream, a client, a file or the kernel states, and sums of such.
    private static let stated: Set<String> = [
        "sizeBytes", "contentLength", "totalBytes", "usedBytes", "freeBytes", "reservedBytes", "wantedBytes",
        "freedBytes", "rangeFirst", "rangeTotal", "expiresInSeconds", "createdSeconds", "pulledSeconds",
        "modifiedSeconds", "resolvedAtSeconds", "f_blocks", "f_bavail", "f_bfree", "f_frsize", "st_size",
    ]

    // MARK: Parsing

    @Test("integers are parsed from text in one file only")
    func parsing() throws {
        expectNone(Self.parseFindings(in: try Self.sources.get()))
    }

    @Test("the parsing rule finds optional results and radixes, and nothing else")
    func parseRule() {
        let text = """
            guard let a = Int64(b), let c = UInt16(d) else { return }
            let e = Int(f) ?? 0
            let g = h.flatMap { UInt16($0) }
            let i = Int(j, radix: 16)
            let k = Int(l)
            guard let m = Int(exactly: n) else { return }
            let o = String(p, radix: 16)
            while let q = Int(r) {}
            """
        let lines = Self.parseFindings(in: [SourceFile(path: "Sources/App/A.swift", text: text)]).map(Self.line)
        #expect(lines == [1, 1, 2, 3, 4, 8])
        #expect(Self.parseFindings(in: [SourceFile(path: Self.parser, text: text)]).isEmpty)
    }

    /// An integer's initializer without a label whose result is optional: it has been given text.
    private static func parseFindings(in files: [SourceFile]) -> [String] {
        var findings: [String] = []
        for file in files where file.path != parser {
            for call in calls(in: file) {
                let before = file.tokens[..<call.name].suffix(4).map(\.text)
                let isBound =
                    before.count == 4 && before[1] == "let" && before[3] == "="
                    && ["guard", "if", ",", "while"].contains(before[0])
                let isMapped = before.suffix(2) == ["flatMap", "{"] || before.suffix(2) == ["compactMap", "{"]
                let after = file.tokens[(call.end + 1)...].prefix(2).map(\.text)
                let hasDefault = after == ["?", "?"]
                let hasRadix = call.arguments.contains { $0.text == "radix" }
                guard call.label == nil, isBound || isMapped || hasDefault || hasRadix else { continue }
                findings.append(
                    "\(file.path):\(file.tokens[call.name].line): \(file.tokens[call.name].text)(…) of a text: "
                        + "OutsideNumber reads numbers within a range")
            }
        }
        return findings
    }

    // MARK: Conversions

    @Test("a conversion to a narrow or unsigned integer defines what happens to a value out of range")
    func conversions() throws {
        expectNone(Self.conversionFindings(in: try Self.sources.get()))
    }

    @Test("the conversion rule recognises labels, constants, counts, bytes and comments")
    func conversionRule() {
        let text = """
            let a = UInt64(b)
            let c = UInt64(clamping: d)
            let e = Int32(MSG_MORE)
            let f = UInt64(g.count)
            let h = UInt64(byte &- 0x30)
            // Below 100.
            let i = UInt8(j)
            let k = UInt8(l / 10)

            let m = UInt32(n.rawValue)
            let o = Int32(some.port)
            let p = UInt32(0)
            """
        let findings = Self.conversionFindings(in: [SourceFile(path: "Sources/App/A.swift", text: text)])
        #expect(findings.map(Self.line) == [1, 8, 11])
    }

    private static func conversionFindings(in files: [SourceFile]) -> [String] {
        var findings: [String] = []
        for file in files {
            for call in calls(in: file) where call.label == nil && narrow.contains(file.tokens[call.name].text) {
                let line = file.tokens[call.name].line
                guard file.commentLines.isDisjoint(with: [line, line - 1]), !isHarmless(call.arguments) else {
                    continue
                }
                findings.append(
                    "\(file.path):\(line): \(file.tokens[call.name].text)(…) traps on what does not fit: clamping:, "
                        + "truncatingIfNeeded:, exactly:, or a comment that says why it fits")
            }
        }
        return findings
    }

    /// Constants of C and literals are what they are, a collection's count fits in any 64 bits, and a `byte` is one.
    private static func isHarmless(_ arguments: ArraySlice<SwiftToken>) -> Bool {
        let names = arguments.filter(\.isName).map(\.text)
        if names.last == "rawValue" || (names.last == "count" && arguments.last?.text == "count") { return true }
        return names.allSatisfy { name in
            name == "byte" || name.allSatisfy { $0.isUppercase || $0.isNumber || $0 == "_" }
                || name.first?.isNumber == true
        }
    }

    // MARK: Sums

    @Test("sizes and times from outside are added and multiplied by saturating functions")
    func sums() throws {
        expectNone(Self.sumFindings(in: try Self.sources.get()))
    }

    @Test("the sum rule finds operators on either side of a number from outside")
    func sumRule() {
        let text = """
            let a = b + c.sizeBytes
            let d = sizeBytes * 2
            totalBytes += e
            let f = g.reduce(0) { $0 + $1.sizeBytes }
            let h = i.addingSaturated(sizeBytes)
            let j = (k.sizeBytes ?? 0)
            let l = -sizeBytes
            let m = n?.freeBytes - 1
            let o = sizeBytes > 0
            let p: (Int) -> sizeBytes
            let q = "r" + "\\(sizeBytes)" + "\\(s.sizeBytes.map { $0 } ?? 0)"
            """
        let findings = Self.sumFindings(in: [SourceFile(path: "Sources/App/A.swift", text: text)])
        #expect(findings.map(Self.line) == [1, 2, 3, 4, 7, 8])
    }

    private static func sumFindings(in files: [SourceFile]) -> [String] {
        var findings: [String] = []
        for file in files {
            for (index, token) in file.tokens.enumerated() where stated.contains(token.text) {
                let first = beginning(of: index, in: file.tokens)
                // The end of an interpolation, and what a closure makes of a number, are not operands.
                let after = file.tokens[(index + 1)...].prefix(2).map(\.text)
                if after.first == "\"" || after == [".", "map"] { continue }
                guard isOperator(file.tokens, index + 1) || isOperator(file.tokens, first - 1) else { continue }
                findings.append(
                    "\(file.path):\(token.line): arithmetic on \(token.text): addingSaturated, subtractingSaturated or "
                        + "multipliedSaturated")
            }
        }
        return findings
    }

    /// Where the expression `a?.b.name` that ends at `index` begins.
    private static func beginning(of index: Int, in tokens: [SwiftToken]) -> Int {
        var first = index
        while first > 1, tokens[first - 1].text == ".", tokens[first - 1].touchesPrevious {
            first -= 1
            while first > 0, [".", "?", "!"].contains(tokens[first].text) { first -= 1 }
        }
        // `$0` is two tokens.
        if first > 0, tokens[first - 1].text == "$" { first -= 1 }
        return first
    }

    /// Whether a `+`, `-` or `*` that can overflow stands there: neither `&+` nor `->`.
    private static func isOperator(_ tokens: [SwiftToken], _ index: Int) -> Bool {
        guard tokens.indices.contains(index), ["+", "-", "*"].contains(tokens[index].text) else { return false }
        let isWrapping = index > 0 && tokens[index - 1].text == "&" && tokens[index].touchesPrevious
        let isArrow = index + 1 < tokens.count && tokens[index + 1].text == ">" && tokens[index + 1].touchesPrevious
        return !isWrapping && !isArrow
    }

    // MARK: Calls

    /// A call of an integer's initializer: the places of its name and of its closing parenthesis.
    private struct Call {
        let name: Int
        let end: Int
        let label: String?
        let arguments: ArraySlice<SwiftToken>
    }

    private static func calls(in file: SourceFile) -> [Call] {
        let tokens = file.tokens
        return tokens.indices.compactMap { index in
            guard integers.contains(tokens[index].text), index + 1 < tokens.count, tokens[index + 1].text == "(",
                tokens[index + 1].touchesPrevious
            else { return nil }
            var depth = 1
            var end = index + 2
            while end < tokens.count {
                if tokens[end].text == "(" { depth += 1 }
                if tokens[end].text == ")" { depth -= 1 }
                if depth == 0 { break }
                end += 1
            }
            guard end < tokens.count else { return nil }
            let hasLabel = end > index + 3 && labels.contains(tokens[index + 2].text) && tokens[index + 3].text == ":"
            return Call(
                name: index, end: end, label: hasLabel ? tokens[index + 2].text : nil,
                arguments: tokens[(index + 2)..<end])
        }
    }

    private static func line(_ finding: String) -> Int? {
        finding.split(separator: ":").dropFirst().first.flatMap { Int($0) }
    }

    private func expectNone(_ findings: [String], sourceLocation: SourceLocation = #_sourceLocation) {
        if !findings.isEmpty { Issue.record("\n\(findings.joined(separator: "\n"))", sourceLocation: sourceLocation) }
    }
}

// Patterns are what operators type to say which images they mean.

import TestSupport
import Testing

@testable import Configuration
@testable import Registry

@Suite struct PatternTests {
    private func matches(_ pattern: String, _ text: String) throws -> Bool { try Pattern(pattern).matches(text) }

    @Test("a pattern list matches where any expression is found anywhere in the text") func matching() throws {
        #expect(try matches("library/", "docker.io/library/alpine:3.20"))
        #expect(try matches("^quay,alpine", "docker.io/library/alpine:3.20"))
        #expect(try !matches("^quay,busybox$", "docker.io/library/alpine:3.20"))
        #expect(try matches("(?i)ALPINE:3\\.2[01]$", "docker.io/library/alpine:3.20"))
    }

    private static let cuts: [(String, [String])] = [
        ("a{1,2},b", ["a{1,2}", "b"]), ("[a,b],c", ["[a,b]", "c"]), ("[],],c", ["[],]", "c"]),
        ("[^],],c", ["[^],]", "c"]), ("[[:alpha:],],c", ["[[:alpha:],]", "c"]), ("a\\,b,c", ["a\\,b", "c"]),
        ("(a,b),c", ["(a,b)", "c"]), ("\\Qa,b(\\E,c", ["\\Qa,b(\\E", "c"]), ("a{,b", ["a{", "b"]),
        ("a{1,},b", ["a{1,}", "b"]), ("[\\],],b", ["[\\],]", "b"]), ("a),b", ["a)", "b"]), ("a,", ["a", ""]),
        ("", [""]), ("a\\", ["a\\"]), ("[a,b", ["[a,b"]), ("\\Qa,b", ["\\Qa,b"]), ("ü,b", ["ü", "b"]),
    ]

    @Test("a pattern list is split at commas outside groups, classes and quantifiers", arguments: cuts)
    func commas(_ text: String, _ pieces: [String]) {
        #expect(PatternList.split(text) == pieces)
    }

    @Test("a comma inside a quantifier does not split the pattern") func quantifiers() throws {
        #expect(try matches("^a{2,3}$", "aa"))
        #expect(try !matches("^a{2,3}$", "aaaa"))
    }

    /// Where Go and PCRE2 would differ and an option makes them the same.
    @Test("patterns follow Go's rules for $, ., ASCII classes and named groups") func goSyntax() throws {
        #expect(try !matches("a$", "a\n"))
        #expect(try matches("^.$", "ü"))
        #expect(try !matches("\\d", "٣"))
        #expect(try !matches("\\w", "ü"))
        #expect(try matches("(?P<name>a)", "a"))
        #expect(throws: PatternError.self) { try Pattern("\\C") }
    }

    @Test("an empty expression in a pattern list is refused", arguments: ["", "a,", ",a", "a,,b"])
    func emptyExpressions(_ text: String) {
        #expect(throws: PatternError.empty(pattern: text)) { try Pattern(text) }
    }

    @Test("a syntax error names the expression, the offset and the reason") func syntaxErrors() {
        #expect(throws: PatternError.syntax(expression: "b(c", offset: 3, reason: "missing closing parenthesis")) {
            try Pattern("a,b(c")
        }
        #expect("\(PatternError.syntax(expression: "b(c", offset: 3, reason: "no"))" == "pattern 'b(c', at 3: no")
    }

    @Test("a pattern's length, number of expressions, nesting and compiled size are bounded") func bounds() {
        let long = String(repeating: "a", count: Pattern.maximumBytes + 1)
        #expect(throws: PatternError.tooLong(limit: "16384 bytes")) { try Pattern(long) }
        let many = [String](repeating: "a", count: Pattern.maximumExpressions + 1).joined(separator: ",")
        #expect(throws: PatternError.tooLong(limit: "64 expressions")) { try Pattern(many) }
        let deep = String(repeating: "(", count: 1000) + String(repeating: ")", count: 1000)
        #expect(throws: PatternError.self) { try Pattern(deep) }
        #expect(throws: PatternError.self) { try Pattern("(((((a{1,1000}){1,1000}){1,1000}){1,1000}){1,1000})") }
    }

    /// Each of these takes exponential time where nothing stops it.
    @Test(
        "an expression with catastrophic backtracking ends with a limit error",
        arguments: [
            "(a+)+$", "(a|aa)+$", "^(([a-z])+.)+[A-Z]([a-z])+$", "^(.*)*\\1[xy]$", "(?:a*)*(?:a*)*(?:a*)*[bc]",
        ])
    func backtracking(_ expression: String) throws {
        let text = String(repeating: "a", count: 60) + "!"
        let pattern = try Pattern(expression)
        let error = #expect(throws: PatternError.self) { try pattern.matches(text) }
        guard case .limit(expression, text, _) = error else {
            Issue.record("\(expression): \(String(describing: error))")
            return
        }
    }

    /// Recursion that consumes nothing, and recursion without end on a long text.
    @Test("recursive expressions end on a long text", arguments: ["(?R)", "(a(?1)?)+b", "(?:(?=(a+))a)+b"])
    func recursion(_ expression: String) {
        let text = String(repeating: "a", count: 2000)
        _ = try? Pattern(expression).matches(text)
    }

    @Test("bytes that are not UTF-8 are matched without an error") func invalidText() throws {
        let bytes: [UInt8] = [0x61, 0xFF, 0x62, 0x00, 0x63]
        let pattern = try Pattern("^ab")
        #expect(try bytes.withUnsafeBytes { try !pattern.matches($0) })
        #expect(try bytes.withUnsafeBytes { try Pattern("c$").matches($0) })
    }

    @Test("an empty text is matched like any other") func emptyText() throws {
        #expect(try matches("^$", ""))
        #expect(try !matches("a", ""))
    }
}

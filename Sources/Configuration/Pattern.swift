// Selects images by regular expressions. Compiling and matching are bounded, since operators may type anything, and run
// off the loop: see `Expression` for the limits.

/// Comma-separated regular expressions, in the form of `--pattern REGEX[,REGEX]`. A text matches when any of them
/// matches anywhere in it.
///
/// The syntax is PCRE2's (pcre2pattern(3)); the reference's is Go's (RE2). The usual patterns for image names are the
/// same in both. The differences:
/// - more is accepted here: look-around `(?=…)`, `(?<!…)`, back-references `\1`, atomic and possessive groups (`a*+`,
///   an error in Go), repetitions up to 65535 (Go: 1000);
/// - `\1` to `\9` refer back to a group (in Go, an error), `\v` is any vertical space (in Go, the vertical tab alone),
///   `\s` includes the vertical tab;
/// - Go matches in linear time, PCRE2 backtracks: an expression such as `(a+)+$` can meet the limit, which is an
///   error;
/// - a comma inside `{…}`, `[…]`, `(…)`, `\Q…\E` or after `\` belongs to its expression (`PatternList`), and an empty
///   expression is refused; in the reference it matches everything.
///
/// Options keep these the same: `.` is a whole character and not a line end, `$` is the end of the text, `^` its
/// start, `\d` and `\w` are ASCII.
package struct Pattern: Sendable {
    /// Longest pattern: room for dozens of whole image references.
    package static let maximumBytes = 16 * 1024
    /// Most expressions in a pattern; each is matched against each text.
    package static let maximumExpressions = 64

    private let expressions: [Expression]

    /// Compiles the expressions.
    package init(_ text: String) throws(PatternError) {
        guard text.utf8.count <= Pattern.maximumBytes else { throw .tooLong(limit: "\(Pattern.maximumBytes) bytes") }
        let sources = PatternList.split(text)
        guard sources.count <= Pattern.maximumExpressions else {
            throw .tooLong(limit: "\(Pattern.maximumExpressions) expressions")
        }
        var expressions: [Expression] = []
        for source in sources {
            if source.isEmpty { throw .empty(pattern: text) }
            expressions.append(try Expression(source))
        }
        self.expressions = expressions
    }

    /// Whether any of the expressions matches in the text.
    /// - Throws: `limit` when a match reaches a limit.
    package func matches(_ text: String) throws(PatternError) -> Bool {
        var copy = text
        let result = copy.withUTF8 { bytes in
            Result { () throws(PatternError) in try matches(UnsafeRawBufferPointer(bytes)) }
        }
        return try result.get()
    }

    /// Whether any of the expressions matches in UTF-8 bytes.
    package func matches(_ text: UnsafeRawBufferPointer) throws(PatternError) -> Bool {
        for expression in expressions where try expression.matches(text) { return true }
        return false
    }
}

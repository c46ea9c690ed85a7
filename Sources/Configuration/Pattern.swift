// Which images a command means, by regular expressions. Patterns come from operators, who may slip; so compiling and
// matching are bounded whatever is typed, and this is run off the loop: see `Expression` for the limits.

/// Comma-separated regular expressions, as `--pattern REGEX[,REGEX]` takes them. A text matches when any of them is
/// found anywhere in it.
///
/// The syntax is PCRE2's (pcre2pattern(3)); the reference's is Go's (RE2). What is usual in image names is the same in
/// both. What differs:
/// - more is accepted here: look-around `(?=…)`, `(?<!…)`, back-references `\1`, atomic and possessive groups (`a*+`,
///   an error in Go), repetitions up to 65535 (Go: 1000);
/// - `\1` to `\9` refer back to a group (in Go, an error), `\v` is any vertical space (in Go, the vertical tab alone),
///   `\s` includes the vertical tab;
/// - Go matches in linear time, PCRE2 backtracks: an expression such as `(a+)+$` can meet the limit, which is an
///   error;
/// - a comma inside `{…}`, `[…]`, `(…)`, `\Q…\E` or after `\` belongs to its expression (`PatternList`), and an empty
///   expression is refused; in the reference it matches everything.
///
/// The same by options: `.` is a whole character and not a line's end, `$` is the very end of the text, `^` its start,
/// `\d` and `\w` are ASCII.
package struct Pattern: Sendable {
    /// Longest pattern: room for dozens of whole image references.
    package static let maximumBytes = 16 * 1024
    /// Most expressions in a pattern; each is tried on each text.
    package static let maximumExpressions = 64

    private let expressions: [Expression]

    /// Compiles it.
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

    /// Whether any of the expressions is found in the text.
    /// - Throws: `limit` when that could not be decided within bounds.
    package func matches(_ text: String) throws(PatternError) -> Bool {
        var copy = text
        let result = copy.withUTF8 { bytes in
            Result { () throws(PatternError) in try matches(UnsafeRawBufferPointer(bytes)) }
        }
        return try result.get()
    }

    /// The same of UTF-8 bytes.
    package func matches(_ text: UnsafeRawBufferPointer) throws(PatternError) -> Bool {
        for expression in expressions where try expression.matches(text) { return true }
        return false
    }
}

// Selects images by regular expressions, and says why a pattern is refused. Compiling and matching are bounded, since
// operators may type anything, and run off the loop: see `Expression` for the limits.

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

/// A pattern that does not compile, or a match that failed. Each case contains the pattern or expression, so that its
/// author can find it.
package enum PatternError: Error, Sendable, Equatable, CustomStringConvertible {
    /// An empty expression. The reference lets it match everything, so that a typing error (`prune --pattern old,`)
    /// empties the cache.
    case empty(pattern: String)
    /// Longer than `Pattern.maximumBytes`, or more than `Pattern.maximumExpressions` expressions.
    case tooLong(limit: String)
    /// PCRE2 refuses the expression. The offset is in bytes from the start of this one expression.
    case syntax(expression: String, offset: Int, reason: String)
    /// The match needs more steps, depth or memory than allowed, so that its result is unknown.
    case limit(expression: String, text: String, reason: String)
    /// Any other PCRE2 error.
    case failed(expression: String, reason: String)

    package var description: String {
        switch self {
        case .empty(let pattern): "pattern '\(pattern)': an empty expression would match everything"
        case .tooLong(let limit): "the pattern is longer than \(limit)"
        case .syntax(let expression, let offset, let reason): "pattern '\(expression)', at \(offset): \(reason)"
        case .limit(let expression, let text, let reason):
            "pattern '\(expression)' on '\(text)': \(reason); it backtracks too much to be used"
        case .failed(let expression, let reason): "pattern '\(expression)': \(reason)"
        }
    }
}

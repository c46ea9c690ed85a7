// Why a pattern is refused, or could not be decided: always with the pattern, so that its author finds it again.

/// A pattern that does not compile, or a match that was given up.
package enum PatternError: Error, Sendable, Equatable, CustomStringConvertible {
    /// Nothing between two commas, or nothing at all. The reference takes it for "matches everything", which turns a
    /// slip (`prune --pattern old,`) into an empty cache.
    case empty(pattern: String)
    /// More than `Pattern.maximumBytes`, or more than `Pattern.maximumExpressions` in it.
    case tooLong(limit: String)
    /// PCRE2 does not accept it. The offset is in bytes from the start of this one expression.
    case syntax(expression: String, offset: Int, reason: String)
    /// The expression needs more steps, depth or memory for this text than one match may take. Neither yes nor no.
    case limit(expression: String, text: String, reason: String)
    /// Anything else that PCRE2 answers.
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

// Why a pattern is refused, or a match has no result. Each error contains the pattern, so that its author can find it.

/// A pattern that does not compile, or a match that failed.
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

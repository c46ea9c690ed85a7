// One compiled PCRE2 expression. PCRE2 backtracks, so some expressions take exponential time on some texts; every match
// has limits on steps, depth and memory, and reaching a limit is an error, never "no match".
//
// Source: pcre2api(3), "The match context", "Multithreading": compiled code is read-only and may be used by several
// threads at once; match data is created per match. JIT is not used: its limits differ from these.

internal import CPCRE2

final class Expression: @unchecked Sendable {
    // @unchecked: `code` and `context` are written once here and only read afterwards; PCRE2 lets threads share them.

    /// Internal steps from one starting position, about a millisecond: a hundred-byte image name needs a few hundred.
    /// PCRE2 counts anew at each starting position, so that a text of n bytes costs at most n + 1 times this.
    static let matchLimit: UInt32 = 100_000
    /// Nested backtracking points: more than the bytes of the longest text.
    static let depthLimit: UInt32 = 10_000
    /// Memory for backtracking points, in KiB.
    static let heapLimitKiB: UInt32 = 8 * 1024
    /// Nested parentheses; PCRE2's compiler recurses for each level.
    static let nestingLimit: UInt32 = 50

    /// The part of a text that has to match.
    enum Extent {
        /// Any part.
        case anywhere
        /// The whole text, from its first byte to its last.
        case whole
    }

    let source: String
    let extent: Extent
    private let code: OpaquePointer
    private let context: OpaquePointer

    init(_ source: String, _ extent: Extent = .anywhere) throws(PatternError) {
        self.source = source
        self.extent = extent
        guard let compiling = pcre2_compile_context_create_8(nil) else { throw Expression.noMemory(source) }
        defer { pcre2_compile_context_free_8(compiling) }
        pcre2_set_parens_nest_limit_8(compiling, Expression.nestingLimit)
        var number: Int32 = 0
        var offset = 0
        var copy = source
        let options = extent == .whole ? Expression.options | Expression.wholeOptions : Expression.options
        let code = copy.withUTF8 {
            pcre2_compile_8($0.baseAddress, $0.count, options, &number, &offset, compiling)
        }
        guard let code else {
            throw .syntax(expression: source, offset: offset, reason: Expression.message(number))
        }
        guard let context = pcre2_match_context_create_8(nil) else {
            pcre2_code_free_8(code)
            throw Expression.noMemory(source)
        }
        self.code = code
        self.context = context
        pcre2_set_match_limit_8(context, Expression.matchLimit)
        pcre2_set_depth_limit_8(context, Expression.depthLimit)
        pcre2_set_heap_limit_8(context, Expression.heapLimitKiB)
    }

    deinit {
        pcre2_match_context_free_8(context)
        pcre2_code_free_8(code)
    }

    /// Whether the expression matches the text, in the part of it that `extent` says.
    func matches(_ text: UnsafeRawBufferPointer) throws(PatternError) -> Bool {
        // One pair: the range of the whole match, without groups.
        guard let data = pcre2_match_data_create_8(1, nil) else { throw Expression.noMemory(source) }
        defer { pcre2_match_data_free_8(data) }
        let bytes = text.bindMemory(to: UInt8.self)
        let result = pcre2_match_8(code, bytes.baseAddress, bytes.count, 0, 0, data, context)
        // 0 means a match with more groups than the match data has room for.
        if result >= 0 { return true }
        switch result {
        case PCRE2_ERROR_NOMATCH: return false
        case PCRE2_ERROR_MATCHLIMIT, PCRE2_ERROR_DEPTHLIMIT, PCRE2_ERROR_HEAPLIMIT:
            throw .limit(
                expression: source, text: String(decoding: bytes, as: UTF8.self), reason: Expression.message(result))
        default: throw .failed(expression: source, reason: Expression.message(result))
        }
    }

    /// The options closest to Go's syntax: text is UTF-8 (`.` is a character), `$` is the end of the text, classes such
    /// as `\d` and `\w` are ASCII. Bytes that are not UTF-8 match nothing and cause no error. `\C`, which would split
    /// characters, is refused, since Go does not have it.
    private static let options = PCRE2_UTF | PCRE2_MATCH_INVALID_UTF | PCRE2_DOLLAR_ENDONLY | PCRE2_NEVER_BACKSLASH_C

    /// Unlike `^(?:…)$` around the source, these cannot be undone by anything in it, such as a comment or a `)`.
    private static let wholeOptions = PCRE2_ANCHORED | PCRE2_ENDANCHORED

    private static func noMemory(_ source: String) -> PatternError {
        .failed(expression: source, reason: "no memory to compile it")
    }

    /// PCRE2's error message. Source: pcre2_get_error_message(3), whose longest text fits 120 bytes.
    private static func message(_ number: Int32) -> String {
        withUnsafeTemporaryAllocation(of: UInt8.self, capacity: 256) { buffer in
            let count = pcre2_get_error_message_8(number, buffer.baseAddress, buffer.count)
            guard count >= 0 else { return "PCRE2 error \(number)" }
            return String(decoding: buffer[..<Int(count)], as: UTF8.self)
        }
    }
}

// FILES on the command line and in the configuration: a file name, a quoted glob, or several of them with commas
// between.

internal import Glibc

/// The files that such a text means.
package enum FileNames {
    /// Why a text means no files.
    package enum Failure: Error, Sendable, Equatable, CustomStringConvertible {
        /// Nothing at all, or nothing between two commas.
        case empty(text: String)
        /// No file is called so, and no file matches.
        case noMatch(pattern: String)
        /// A directory could not be read, or there was no memory.
        case unreadable(pattern: String)

        package var description: String {
            switch self {
            case .empty(let text): "'\(text)': a file name is empty"
            case .noMatch(let pattern): "'\(pattern)': there is no such file, and none matches"
            case .unreadable(let pattern): "'\(pattern)': its directories cannot be searched"
            }
        }
    }

    /// The files, in the order of the text and sorted within a glob, each once. What exists under the very name given
    /// is that file, even if it has a comma, `*`, `?` or `[` in its name. May block.
    package static func expand(_ text: String) throws(Failure) -> [String] {
        if FileAccess.exists(text) { return [text] }
        var names: [String] = []
        for piece in text.split(separator: ",", omittingEmptySubsequences: false) {
            let pattern = trimmed(piece)
            if pattern.isEmpty { throw .empty(text: text) }
            for name in FileAccess.exists(pattern) ? [pattern] : try matches(pattern) where !names.contains(name) {
                names.append(name)
            }
        }
        return names
    }

    /// glob(3). An unreadable directory is an error: the files that the pattern means may be in it.
    private static func matches(_ pattern: String) throws(Failure) -> [String] {
        var found = glob_t()
        defer { globfree(&found) }
        switch glob(pattern, GLOB_ERR, nil, &found) {
        case 0: break
        case GLOB_NOMATCH: throw .noMatch(pattern: pattern)
        default: throw .unreadable(pattern: pattern)
        }
        return (0..<Int(found.gl_pathc)).compactMap { index in found.gl_pathv[index].map { String(cString: $0) } }
    }

    private static func trimmed(_ piece: Substring) -> String {
        let start = piece.drop { $0 == " " }
        guard let last = start.lastIndex(where: { $0 != " " }) else { return "" }
        return String(start[...last])
    }
}

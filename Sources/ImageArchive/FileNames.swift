// The FILES value of the command line and the configuration: a file name, a quoted glob, or several of them separated
// by commas.

internal import Glibc

/// Expands a FILES value to file names.
package enum FileNames {
    /// Why a value names no files.
    package enum Failure: Error, Sendable, Equatable, CustomStringConvertible {
        /// The value, or a part between commas, is empty.
        case empty(text: String)
        /// No file has this name or matches the pattern.
        case noMatch(pattern: String)
        /// A directory could not be read, or memory ran out.
        case unreadable(pattern: String)

        package var description: String {
            switch self {
            case .empty(let text): "'\(text)': a file name is empty"
            case .noMatch(let pattern): "'\(pattern)': there is no such file, and none matches"
            case .unreadable(let pattern): "'\(pattern)': its directories cannot be searched"
            }
        }
    }

    /// The files, in the order of the text and sorted within a glob, each once. A text that is itself an existing name
    /// is that one file, even with a comma, `*`, `?` or `[` in it. May block.
    /// - Parameter directory: the base of relative names; nil: the working directory.
    package static func expand(_ text: String, in directory: String? = nil) throws(Failure) -> [String] {
        if FileAccess.exists(path(text, in: directory)) { return [text] }
        var names: [String] = []
        for piece in text.split(separator: ",", omittingEmptySubsequences: false) {
            let pattern = trimmed(piece)
            if pattern.isEmpty { throw .empty(text: text) }
            let isFile = FileAccess.exists(path(pattern, in: directory))
            for name in isFile ? [pattern] : try matches(pattern, in: directory) where !names.contains(name) {
                names.append(name)
            }
        }
        return names
    }

    /// The path to open for a name.
    package static func path(_ name: String, in directory: String?) -> String {
        guard let directory, !name.hasPrefix("/") else { return name }
        return "\(directory)/\(name)"
    }

    /// Expands a glob(3) pattern. An unreadable directory is an error, since matching files may be in it.
    private static func matches(_ pattern: String, in directory: String?) throws(Failure) -> [String] {
        // Wildcard characters in the directory's own name are escaped.
        let literal = directory.map { String($0.flatMap { "\\*?[".contains($0) ? ["\\", $0] : [$0] }) }
        let prefixBytes = pattern.hasPrefix("/") ? 0 : directory.map { $0.utf8.count + 1 } ?? 0
        var found = glob_t()
        defer { globfree(&found) }
        switch glob(path(pattern, in: literal), GLOB_ERR, nil, &found) {
        case 0: break
        case GLOB_NOMATCH: throw .noMatch(pattern: pattern)
        default: throw .unreadable(pattern: pattern)
        }
        return (0..<Int(found.gl_pathc)).compactMap { index in
            found.gl_pathv[index].map { path in
                String(decoding: String(cString: path).utf8.dropFirst(prefixBytes), as: UTF8.self)
            }
        }
    }

    private static func trimmed(_ piece: Substring) -> String {
        let start = piece.drop { $0 == " " }
        guard let last = start.lastIndex(where: { $0 != " " }) else { return "" }
        return String(start[...last])
    }
}

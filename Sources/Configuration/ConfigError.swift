// The problems of a configuration: all are reported at once with their places, so that one edit can fix the file.

/// One or more problems, in the order of the file.
package struct ConfigError: Error, Equatable, CustomStringConvertible {
    package struct Problem: Equatable, Sendable, CustomStringConvertible {
        package let file: String
        /// From 1; nil when the problem concerns the whole file.
        package let line: Int?
        /// A dotted path, such as `registries[0].auth.user`; empty where no key is involved.
        package let key: String
        package let reason: String

        package init(file: String, line: Int?, key: String, reason: String) {
            self.file = file
            self.line = line
            self.key = key
            self.reason = reason
        }

        /// `file:line: key: reason`
        package var description: String {
            file + (line.map { ":\($0)" } ?? "") + ": " + (key.isEmpty ? "" : "\(key): ") + reason
        }
    }

    package let problems: [Problem]

    package init(problems: [Problem]) { self.problems = problems }

    /// One line per problem.
    package var description: String { problems.map(\.description).joined(separator: "\n") }
}

/// Why a single value is refused; the caller adds the place (a line, a flag).
package struct Refusal: Error, Equatable, CustomStringConvertible {
    package let reason: String

    package init(_ reason: String) { self.reason = reason }

    package var description: String { reason }
}

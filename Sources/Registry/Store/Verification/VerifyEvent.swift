// The events of a verification. They can be encoded as JSON, since the caller may be another process. Paths are
// relative to the store's directory, which may have another path in that process.

/// The progress of a verification.
package struct VerifyProgress: Sendable, Equatable, Codable {
    package var files = 0
    package var bytes: Int64 = 0
    /// The totals, as found at the beginning.
    package var allFiles = 0
    package var allBytes: Int64 = 0
}

/// A damaged file.
package struct VerifyFinding: Sendable, Equatable, Codable {
    package let path: String
    package let reason: String
    /// Its new path; nil when it was not moved.
    package let setAsideTo: String?

    /// - Parameter root: the store's directory.
    package func text(root: String) -> String {
        "\(root)/\(path): \(reason)" + (setAsideTo.map { "; set aside as \(root)/\($0)" } ?? "; left where it is")
    }
}

/// The result of a verification.
package struct VerifyReport: Sendable, Equatable, Codable {
    package let progress: VerifyProgress
    package let wrongCount: Int
    /// Files that could not be read or set aside, as text.
    package let unreadable: [String]
    /// Why damaged files were only reported; nil when they were set aside.
    package let obstacle: String?
    /// Whether it was stopped before its end.
    package let isStopped: Bool

    /// Whether everything was checked and is correct.
    package var isSound: Bool { wrongCount == 0 && unreadable.isEmpty && !isStopped }
}

/// The events of a run, in order; `ended` is the last.
package enum VerifyEvent: Sendable, Equatable, Codable {
    case wrong(VerifyFinding)
    case progress(VerifyProgress)
    case ended(VerifyReport)
}

// What verifying says of itself. All of it can be written as JSON, since who asked for it may be another process; paths
// begin in the store's own directory, which that process may call something else.

/// How far it is.
package struct VerifyProgress: Sendable, Equatable, Codable {
    package var files = 0
    package var bytes: Int64 = 0
    /// What the walk found when it began.
    package var allFiles = 0
    package var allBytes: Int64 = 0
}

/// Something wrong.
package struct VerifyFinding: Sendable, Equatable, Codable {
    package let path: String
    package let reason: String
    /// Where it is now; nil when it was left where it is.
    package let setAsideTo: String?

    /// - Parameter root: the store's directory.
    package func text(root: String) -> String {
        "\(root)/\(path): \(reason)" + (setAsideTo.map { "; set aside as \(root)/\($0)" } ?? "; left where it is")
    }
}

/// What has come of it.
package struct VerifyReport: Sendable, Equatable, Codable {
    package let progress: VerifyProgress
    package let wrongCount: Int
    /// What could not be read, or not be set aside, in words.
    package let unreadable: [String]
    /// Why a fault was only reported; nil when it was set aside.
    package let obstacle: String?
    /// It was stopped before it was through.
    package let isStopped: Bool

    /// Whether all of it was looked at and is right.
    package var isSound: Bool { wrongCount == 0 && unreadable.isEmpty && !isStopped }
}

/// The events of a run, in order; `ended` is the last.
package enum VerifyEvent: Sendable, Equatable, Codable {
    case wrong(VerifyFinding)
    case progress(VerifyProgress)
    case ended(VerifyReport)
}

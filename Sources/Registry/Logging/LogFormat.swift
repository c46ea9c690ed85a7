// The formats of a log line, and the function that makes lines of both. In both, one event is one line, whatever text
// from outside it contains, and a line is at most 8 KiB.

internal import Configuration
package import Logging

extension LogFormat {
    /// Longer lines are shortened: a request line may be 16 KiB, more than a person reads. It also limits one line's
    /// share of the writer's buffer.
    static let maximumBytes = 8 * 1024

    /// One line with its line feed; metadata is sorted by key.
    /// - Parameter milliseconds: since 1970, UTC.
    package func line(
        milliseconds: Int64, level: Logger.Level, message: String, metadata: Logger.Metadata = [:]
    ) -> [UInt8] {
        switch self {
        case .text: TextLine.make(milliseconds: milliseconds, level: level, message: message, metadata: metadata)
        case .json: JSONLine.make(milliseconds: milliseconds, level: level, message: message, metadata: metadata)
        }
    }
}

extension Unicode.Scalar {
    /// False for control characters, for format characters (they include direction marks, which reorder text), for the
    /// Unicode line and paragraph separators, and for characters that no font shows.
    var isVisible: Bool {
        switch properties.generalCategory {
        case .control, .format, .lineSeparator, .paragraphSeparator, .surrogate, .privateUse, .unassigned: false
        default: true
        }
    }
}

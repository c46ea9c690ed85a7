// The forms a log line can have, and the one place that makes lines of either. What both hold to: one event is one line
// whatever strangers have put into it, and it is at most 8 KiB.

internal import Configuration
package import Logging

extension LogFormat {
    /// Longer lines are cut: a request line may be 16 KiB, and nobody reads that. It also bounds what one line takes
    /// of the writer's buffer.
    static let maximumBytes = 8 * 1024

    /// One line with its line feed; metadata in the order of its keys.
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
    /// False for controls, for format characters (direction marks, which reorder what is read, are among them), for
    /// the Unicode line and paragraph separators, and for what no font shows.
    var isVisible: Bool {
        switch properties.generalCategory {
        case .control, .format, .lineSeparator, .paragraphSeparator, .surrogate, .privateUse, .unassigned: false
        default: true
        }
    }
}

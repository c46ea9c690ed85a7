// How much is logged. The four names are the reference's; the type lives beside the writer, so that the
// configuration and the command line can speak of levels without knowing swift-log.

package import Logging

/// The least severe level that is still written.
package enum LogLevel: String, CaseIterable, Sendable {
    case debug, info, warn, error

    /// The same level in swift-log's words.
    package var threshold: Logger.Level {
        switch self {
        case .debug: .debug
        case .info: .info
        case .warn: .warning
        case .error: .error
        }
    }
}

extension Logger.Level {
    /// Five characters wide, so that messages stand in one column.
    var column: StaticString {
        switch self {
        case .trace: "TRACE"
        case .debug: "DEBUG"
        case .info: "INFO "
        case .notice: "NOTE "
        case .warning: "WARN "
        case .error: "ERROR"
        case .critical: "FATAL"
        }
    }
}

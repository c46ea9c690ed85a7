// swift-log's back end: the configuration's levels and formats as swift-log sees them, and the handler, which formats
// the line on the logging thread and passes it to the LogWriter. swift-log evaluates the message only when its level is
// enabled, so a disabled level costs one comparison.

package import Configuration
package import Logging

/// Writes the events of a logger to the log.
package struct LineLogHandler: LogHandler {
    /// The writer's level, unless this copy has been given its own: a reload changes the level of all loggers at once.
    package var logLevel: Logger.Level {
        get { ownLevel ?? writer.level.threshold }
        set { ownLevel = newValue }
    }
    private var ownLevel: Logger.Level?
    package var metadata: Logger.Metadata = [:]
    package var metadataProvider: Logger.MetadataProvider?
    private let writer: LogWriter
    private let now: @Sendable () -> Int64

    /// - Parameter now: milliseconds since 1970.
    package init(
        writer: LogWriter, now: @escaping @Sendable () -> Int64 = LogTimestamp.now
    ) {
        self.writer = writer
        self.now = now
    }

    package subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }

    package func log(event: LogEvent) {
        var all = metadata
        if let more = event.metadata { all.merge(more) { _, new in new } }
        if let error = event.error { all["error"] = "\(error)" }
        let line = writer.format.line(
            milliseconds: now(), level: event.level, message: event.message.description, metadata: all)
        writer.append(line)
    }
}

extension LogLevel {
    /// The same level in swift-log.
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
    /// Five characters wide, so that messages are aligned.
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

/// In both formats, one event is one line, whatever text from outside it contains, and a line is at most 8 KiB.
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

// swift-log's back end: formats the line on the logging thread and passes it to the LogWriter. swift-log evaluates the
// message only when its level is enabled, so a disabled level costs one comparison.

package import Configuration
package import Logging

package struct LineLogHandler: LogHandler {
    package var logLevel: Logger.Level
    package var metadata: Logger.Metadata = [:]
    package var metadataProvider: Logger.MetadataProvider?
    private let writer: LogWriter
    private let now: @Sendable () -> Int64

    /// - Parameter now: milliseconds since 1970.
    package init(
        writer: LogWriter, level: LogLevel, now: @escaping @Sendable () -> Int64 = LogTimestamp.now
    ) {
        self.writer = writer
        self.now = now
        logLevel = level.threshold
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

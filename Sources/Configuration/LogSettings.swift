// Settings of the log: its level and format.

/// The least severe level that is written. The names are the reference's.
package enum LogLevel: String, CaseIterable, Sendable {
    case debug, info, warn, error
}

/// The format of a log line.
package enum LogFormat: String, CaseIterable, Sendable {
    /// `2026-11-22T16:00:00.123Z INFO  message key=value`
    case text
    /// `{"time":"2026-11-22T16:00:00.123Z","level":"info","msg":"message","key":"value"}`
    case json
}

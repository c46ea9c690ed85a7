// How much is logged, and in what form.

/// The least severe level that is still written. The names are the reference's.
package enum LogLevel: String, CaseIterable, Sendable {
    case debug, info, warn, error
}

/// The form of a log line.
package enum LogFormat: String, CaseIterable, Sendable {
    /// `2026-11-22T16:00:00.123Z INFO  message key=value`
    case text
    /// `{"time":"2026-11-22T16:00:00.123Z","level":"info","msg":"message","key":"value"}`
    case json
}

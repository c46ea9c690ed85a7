// A logger whose lines a test can read.

import Foundation
package import Logging

/// What was logged. Written on the test's own thread only, but a log handler has to be Sendable.
package final class LogRecorder: @unchecked Sendable {
    package struct Entry: Sendable {
        package let level: Logger.Level
        package let message: String
        package let metadata: Logger.Metadata

        /// A value as it would be written.
        package subscript(_ key: String) -> String? { metadata[key]?.description }
    }

    private let lock = NSLock()
    private var recorded: [Entry] = []

    package func add(_ entry: Entry) { lock.withLock { recorded.append(entry) } }
    package var entries: [Entry] { lock.withLock { recorded } }
    package var text: String { entries.map { "\($0.level): \($0.message)" }.joined(separator: "\n") }
    /// The lines of requests.
    package var requests: [Entry] { entries.filter { $0.metadata["cache"] != nil } }

    package init() {}

    package var logger: Logger { Logger(label: "test") { _ in Handler(recorder: self) } }

    private struct Handler: LogHandler {
        let recorder: LogRecorder
        var metadata: Logger.Metadata = [:]
        var logLevel: Logger.Level = .trace
        subscript(metadataKey key: String) -> Logger.Metadata.Value? {
            get { metadata[key] }
            set { metadata[key] = newValue }
        }
        func log(event: LogEvent) {
            recorder.add(
                Entry(level: event.level, message: event.message.description, metadata: event.metadata ?? [:]))
        }
    }
}

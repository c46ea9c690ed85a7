// Long admin jobs of a running server: load and verify, run by the same code as without a server, and refresh; and the
// lines that report on them. A job stops when its client disconnects.

internal import Configuration
internal import FoundationEssentials
package import Logging
internal import OCI

/// The running admin jobs.
package final class AdminJobs {
    private let context: LoadContext
    /// Whether this server makes no upstream requests, not even for an admin job.
    package var isAirGapped: Bool
    private let logger: Logger
    private var running: [ObjectIdentifier: () -> Void] = [:]
    private var whenQuiet: (() -> Void)?

    package init(_ context: LoadContext, isAirGapped: Bool, logger: Logger) {
        self.context = context
        self.isAirGapped = isAirGapped
        self.logger = logger
    }

    /// Starts a job.
    /// - Returns: the feed of its events; the job stops when the client leaves the feed.
    /// - Throws: when the command is invalid, or not possible on this server.
    func start(_ command: AdminCommand) throws(RegistryError) -> LineFeed {
        let feed = LineFeed()
        switch command {
        case .load(let load): start(load, feed)
        case .verify: verify(feed)
        case .refresh(let pattern): try refresh(pattern, feed)
        default: feed.end()
        }
        return feed
    }

    private func start(_ load: AdminCommand.Load, _ feed: LineFeed) {
        var choices = LoadChoices(
            platforms: load.platforms, resolveAs: load.resolveAs, isAirGapped: load.isAirGapped || isAirGapped,
            directory: load.directory)
        choices.includesReferrers = load.includesReferrers
        let run = LoadRun(context, choices) { [self] event in
            switch event {
            case .event: feed.add(NDJSONLine.encode(event))
            case .progress: emitIfDrained(event, feed)
            case .ended(let report):
                logger.info("load ended", metadata: report.counts)
                end(event, feed)
            }
        }
        begins(feed) { run.stop() }
        run.start(load.files)
    }

    private func verify(_ feed: LineFeed) {
        let run = StoreVerification(context.store) { [self] event in
            switch event {
            case .wrong: feed.add(NDJSONLine.encode(event))
            case .progress: emitIfDrained(event, feed)
            case .ended(let report):
                logger.info(
                    "verification ended",
                    metadata: ["files": "\(report.progress.files)", "wrong": "\(report.wrongCount)"])
                end(event, feed)
            }
        }
        begins(feed) { run.stop() }
        run.start()
    }

    private func refresh(_ text: String, _ feed: LineFeed) throws(RegistryError) {
        guard !isAirGapped else {
            throw RegistryError(status: 403, code: .denied, message: "nothing may be asked upstream (airGapped)")
        }
        let pattern = try AdminQueries.compile(text).get()
        let run = TagRefresh(context) { [self] event in
            guard case .ended(let report) = event else { return feed.add(NDJSONLine.encode(event)) }
            logger.info(
                "refresh ended",
                metadata: [
                    "moved": "\(report.moved)", "unchanged": "\(report.unchanged)", "deleted": "\(report.deleted)",
                    "failed": "\(report.failed)",
                ])
            end(event, feed)
        }
        begins(feed) { run.stop() }
        run.start { try pattern?.matches($0.name) ?? false }
    }

    /// Emits a progress event only if the previous one has been sent: a slow client skips stale progress.
    private func emitIfDrained(_ event: some Encodable, _ feed: LineFeed) {
        if feed.isDrained { feed.add(NDJSONLine.encode(event)) }
    }

    private func begins(_ feed: LineFeed, _ stop: @escaping () -> Void) {
        running[ObjectIdentifier(feed)] = stop
        feed.onLeave = stop
        if whenQuiet != nil { stop() }
    }

    private func end(_ event: some Encodable, _ feed: LineFeed) {
        feed.add(NDJSONLine.encode(event))
        feed.end()
        running[ObjectIdentifier(feed)] = nil
        checkQuiet()
    }

    // MARK: The end

    /// Stops all jobs, and calls `then` after their last events have been sent.
    package func stop(then: @escaping () -> Void) {
        whenQuiet = then
        for stop in Array(running.values) { stop() }
        checkQuiet()
    }

    private func checkQuiet() {
        guard running.isEmpty, let then = whenQuiet else { return }
        whenQuiet = nil
        then()
    }
}

extension LoadReport {
    /// The counts for the log.
    package var counts: Logger.Metadata {
        [
            "loaded": "\(progress.loaded)", "present": "\(progress.present)", "failed": "\(failures.count)",
            "bytes": "\(progress.arrivedBytes)",
        ]
    }
}

/// One event of a job as a line of JSON (NDJSON). Both ends are this program; the keys are plain words, since people
/// read them with curl.
package enum NDJSONLine {
    package static func encode(_ event: some Encodable) -> [UInt8] {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        // Strings and whole numbers, the only contents of events, can always be encoded.
        guard let data = try? encoder.encode(event) else { return [] }
        return Array(data) + [0x0A]
    }

    /// Nil when the line is not such an event.
    package static func decode<Event: Decodable>(_ line: some Sequence<UInt8>, as type: Event.Type) -> Event? {
        try? JSONDecoder().decode(type, from: Data(line))
    }
}

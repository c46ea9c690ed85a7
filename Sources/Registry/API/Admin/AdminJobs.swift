// What an operator has a running server do that takes its time, and watches: filling the cache, and hashing it again.
// It is done by the same code as without a server. When the operator leaves, it is stopped.

package import Logging

/// The running admin jobs.
package final class AdminJobs {
    private let context: LoadContext
    /// Whether this server asks no upstream, whatever an operator says.
    private let isAirGapped: Bool
    private let logger: Logger
    private var running: [ObjectIdentifier: () -> Void] = [:]
    private var whenQuiet: (() -> Void)?

    package init(_ context: LoadContext, isAirGapped: Bool, logger: Logger) {
        self.context = context
        self.isAirGapped = isAirGapped
        self.logger = logger
    }

    /// Starts what is asked for.
    /// - Returns: what it says of itself; leaving that stops it.
    func start(_ command: AdminCommand) -> LineFeed {
        let feed = LineFeed()
        switch command {
        case .load(let load): start(load, feed)
        case .verify: verify(feed)
        default: feed.end()
        }
        return feed
    }

    private func start(_ load: AdminCommand.Load, _ feed: LineFeed) {
        let choices = LoadChoices(
            platforms: load.platforms, resolveAs: load.resolveAs, isAirGapped: load.isAirGapped || isAirGapped,
            directory: load.directory)
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

    /// How far it is matters only as long as it is new: a slow reader misses some of it.
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

    /// Stops everything, and calls `then` when it has ended and its last event is out.
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
    /// For the log.
    package var counts: Logger.Metadata {
        [
            "loaded": "\(progress.loaded)", "present": "\(progress.present)", "failed": "\(failures.count)",
            "bytes": "\(progress.arrivedBytes)",
        ]
    }
}
